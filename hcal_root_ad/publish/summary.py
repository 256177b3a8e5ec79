"""``Hcal/HcalADClient/EventInfo``: what the run is worth, whether that can be trusted, and who the run is.

hcaldqm's rule: a run is bad from 5 % of bad lumisections on (CMSSW ``DQM/HcalTasks/plugins/HcalOnlineHarvesting.cc``,
``thresh_bad_bad``), and an LS is as bad as its worst unit. So ``reportSummary`` is the share of LS that are not bad:
both GUIs paint it orange below 0.95 and red below 0.85. Only ``Hcal/EventInfo`` itself may hold a
``reportSummaryMap``: the classic GUI makes a tile of every one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hcal_root_ad.judge.aggregate import States, judged
from hcal_root_ad.judge.verdict import RunVerdict, State, StripVerdict, Trust, Verdict
from hcal_root_ad.publish.axes import LumiAxis, cells
from hcal_root_ad.publish.elements import CLIENT, MonitorElement, Scalar
from hcal_root_ad.publish.state_elements import judgements, subdetector_states

FOLDER = f"{CLIENT}/EventInfo"
BAD_FROM = 0.05
"""Share of bad lumisections from which a run is bad."""
NOT_JUDGED = -1.0
_TRUST_STATES = {
    Trust.ADAPTED: State.GOOD,
    Trust.REFERENCE_RUN: State.GOOD,
    Trust.OTHER_PERIOD: State.PROBLEMATIC,
    Trust.NONE: State.BAD,
}


def bad_share(states: States) -> float | None:
    """Share of bad ones among the assessed lumisections; None where there are none."""
    assessed = judged(states)
    return float((states[assessed] == State.BAD).mean()) if assessed.any() else None


def trusted(run: RunVerdict) -> bool:
    """Whether everything that was judged rests on a trusted reference."""
    return all(_trust(source, run).trusted for source in judgements(run)) and bool(judgements(run))


def run_state(run: RunVerdict, axis: LumiAxis) -> State:
    """State of the run: bad by hcaldqm's rule, else never good without a trusted reference."""
    share = bad_share(_worst(run, axis))
    if share is not None and share >= BAD_FROM:
        return State.BAD
    if share is None or not trusted(run):
        return State.NOT_ASSESSED
    return State.PROBLEMATIC if share > 0 else State.GOOD


def summary_elements(run: RunVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    """The one cell of the run, and a cell for the trust in each judgement: green, yellow for another period, or red."""
    yield cells(f"{FOLDER}/runSummary", [run_state(run, axis)], "state of the run", (f"run {run.maps.run}",))
    trusts = {_name(source): _trust(source, run) for source in judgements(run)} or {"run": Trust.NONE}
    states = [_TRUST_STATES[trust] for trust in trusts.values()]
    yield cells(f"{FOLDER}/TrustSummary", states, "may the verdict be trusted?", tuple(trusts))


def summary_scalars(run: RunVerdict, axis: LumiAxis) -> Iterator[Scalar]:
    """``reportSummary`` of the run and of each sub-detector, the trust in words, and what identifies the run."""
    rests = trusted(run)
    yield Scalar(f"{FOLDER}/reportSummary", _report(_worst(run, axis), rests))
    for name, states in subdetector_states(run, axis).items():
        yield Scalar(f"{FOLDER}/reportSummaryContents/{name}", _report(states, rests))
    yield Scalar(f"{FOLDER}/trust", str(Trust.NONE if run.strips else run.trust))
    yield Scalar(f"{FOLDER}/verdict", verdict_sentence(run, axis))
    for number, reason in enumerate(trust_reasons(run), start=1):
        yield Scalar(f"{FOLDER}/trustReason{number:02d}", reason)
    yield Scalar(f"{FOLDER}/iRun", run.maps.run)
    if len(run.maps.lumisections):
        yield Scalar(f"{FOLDER}/iLumiSection", int(run.maps.lumisections.max()))
    if run.maps.events.any():
        yield Scalar(f"{FOLDER}/processedEvents", int(run.maps.events.sum()))


def verdict_sentence(run: RunVerdict, axis: LumiAxis) -> str:
    """The outcome for people, short enough for a picture that shows one line of some fifty characters."""
    share = bad_share(_worst(run, axis))
    if share is None:
        return "not judged: no LS could be assessed"
    if not trusted(run):
        return f"not judged (no trust), units lost in {share:.1%} of LS"
    return f"a unit is lost in {share:.1%} of the assessed LS" if share else "no unit of the readout is lost"


def trust_reasons(run: RunVerdict) -> tuple[str, ...]:
    """Why something is not trusted, each reason once."""
    reasons = [part.trust_reason or str(part.trust) for part in run.verdicts if not part.trust.trusted]
    return tuple(dict.fromkeys([*reasons, *(["strips are held against themselves"] if run.strips else [])]))


def _report(states: States, trusted: bool) -> float:
    share = bad_share(states)
    return NOT_JUDGED if share is None or not trusted else 1 - share


def _worst(run: RunVerdict, axis: LumiAxis) -> States:
    """(LS,) worst state of all sub-detectors."""
    states = list(subdetector_states(run, axis).values())
    return np.max(states, axis=0) if states else np.zeros(axis.length, dtype=np.uint8)


def _name(source: Verdict | StripVerdict) -> str:
    return "strips" if isinstance(source, StripVerdict) else source.subdetector


def _trust(source: Verdict | StripVerdict, run: RunVerdict) -> Trust:
    """Strips are compared with their own share of the run: neither they nor the totals beside them have a reference."""
    return Trust.NONE if isinstance(source, StripVerdict) or run.strips else source.trust
