"""What the watch says of a run: a line every some lumisections, and one for each change of an alarm."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from hcal_root_ad.harvest.read import granularity
from hcal_root_ad.judge.verdict import RunVerdict, State, StripVerdict, Verdict
from hcal_root_ad.lumi_ranges import ls_ranges
from hcal_root_ad.watch.alarms import CERTAINLY, CLEARED_AFTER, Alarm, Change, Event
from hcal_root_ad.watch.run_in_progress import Step


def status_sentence(step: Step, alarms: Collection[Alarm], latency: float | None) -> str:
    """Run, lumisections, events, what is flagged in the newest, alarms, seconds from file seen to file published."""
    maps = step.verdict.maps
    events = int(maps.events[np.isin(maps.lumisections, step.lumisections)].sum())
    words = [
        f"run {maps.run}",
        ls_ranges(list(step.lumisections)) if step.lumisections else "no new LS",
        f"{events} events",
        _flagged_now(step.verdict),
        f"{len(alarms)} alarm{'s' * (len(alarms) != 1)}",
    ]
    if step.late:
        words.append(f"{ls_ranges(list(step.late))} late")
    if step.anew:
        words.append("judged anew")
    if maps.coarse:
        words.append(f"judged as {granularity(maps.coarse)}")
    if latency is not None:
        words.append(f"{latency:.2f} s")
    return " | ".join(words)


def alarm_sentence(run: int, change: Change) -> str:
    """Such as ``run 370101: ALARM raised: HEP07 dead, RBX, 184 channels, LS 6–8, ×0 [box]``."""
    alarm = change.alarm
    loud = change.event in (Event.RAISED, Event.GROWN)
    about = f"run {run}: {'ALARM' if loud else 'alarm'} {change.event}: {alarm.unit} {alarm.kind}"
    if alarm.reason:
        words = [f"{about}: {alarm.reason}"]
    else:
        words = [about, alarm.what, ls_ranges([*range(alarm.first, alarm.last + 1)]), alarm.rate,
                 alarm.sure if alarm.sure != CERTAINLY else "", *_aside(change)]  # fmt: skip
    return f"{', '.join(filter(None, words))} [{alarm.severity}]"


def _aside(change: Change) -> Iterator[str]:
    if change.event is Event.GROWN:
        more = f" and {len(change.parts) - 1} more" if len(change.parts) > 1 else ""
        yield f"was {change.parts[0]}{more}"
    elif change.event is Event.CLEARED:
        yield f"good for {CLEARED_AFTER} LS"
    elif change.event is Event.WITHDRAWN:
        yield "with more LS it is not found any more"


def _flagged_now(verdict: RunVerdict) -> str:
    """How many channels (or strips) are flagged in the newest lumisection, if it was assessed."""
    judged: list[Verdict | StripVerdict] = [*verdict.verdicts, *([verdict.strips] if verdict.strips else [])]
    newest = [one.states[-1] for one in judged if _newest_assessed(one)]
    if not newest:
        return "not assessed"
    return f"{sum(int((states >= State.PROBLEMATIC).sum()) for states in newest)} flagged"


def _newest_assessed(one: Verdict | StripVerdict) -> bool:
    whole_run = isinstance(one, Verdict) and one.granularity == "run"
    return not whole_run and bool(one.assessed[-1])
