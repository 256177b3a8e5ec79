"""States in hcaldqm's colours, of channels, RBX, FEDs and sub-detectors; and the summary of the run.

Only maps whose contents are states have ``Summary`` in their path: HCAL's render plugin draws those in the colours of
the states (``dqmgui`` ``plugins/HcalRenderPlugin.cc``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, N_RBX, N_UHTR_SLOTS, SUBDET_PM, ChannelTable, box_name
from hcal_root_ad.judge import aggregate
from hcal_root_ad.judge.aggregate import N_BOXES, States
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import State, StripVerdict, Trust, Verdict
from hcal_root_ad.publish import elements
from hcal_root_ad.publish.elements import CLIENT, RBX_LABELS, LumiAxis, MonitorElement, Scalar

FOLDER, AGAINST_LS = f"{CLIENT}/StateSummary", f"{CLIENT}/StateSummaryvsLS"
NOW = 10
"""Assessed lumisections at the end of the run that count as now."""
N_UHTRS = 9 * N_UHTR_SLOTS
"""uHTRs of HB and HE: nine crates."""
_QUADRANTS = 4


def channel_states(verdicts: Sequence[Verdict]) -> Iterator[MonitorElement]:
    """Worst state of every channel, on the maps of its depth (HO on one of its own)."""
    for name, states in aggregate.by_map(
        [(verdict.channels, aggregate.worst_state(verdict.states)) for verdict in verdicts]
    ):
        yield elements.depth_map(f"{FOLDER}/depth/{name}", states, f"{name}: worst state of the run")


def states_against_lumisections(run: RunVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    """States of the readout boxes of each half, of FEDs and of sub-detectors, against LS."""
    boxes = run_box_states(run, axis)
    for index, half in enumerate(SUBDET_PM):
        rows = boxes[:, index * N_RBX : (index + 1) * N_RBX]
        if rows.any():
            path = f"{AGAINST_LS}/SubdetPM/{half}"
            yield elements.lumi_map(path, axis, rows, f"{half}: state of each RBX", RBX_LABELS[half], "RBX")
    outer = [
        verdict for verdict in run.verdicts if not aggregate.has_boxes(verdict) and verdict.granularity == "lumisection"
    ]
    if outer:
        yield outer_map(outer, axis)
    states = subdetector_states(run, axis)
    columns = np.stack(list(states.values()), axis=1)
    yield elements.lumi_map(
        f"{AGAINST_LS}/StateSummaryvsLS", axis, columns, "worst state by sub-detector", tuple(states)
    )
    feds = fed_states(run, axis, boxes)
    if feds:
        columns = np.stack(list(feds.values()), axis=1)
        names = [str(number) for number in feds]
        yield elements.lumi_map(f"{AGAINST_LS}/FED", axis, columns, "HB and HE: worst state by FED", names, "FED")


def outer_map(verdicts: Sequence[Verdict], axis: LumiAxis) -> MonitorElement:
    """States of the units of HO and HF against LS, those of HF on top."""
    names: list[str] = []
    rows = []
    for verdict in verdicts:
        own, states = _outer_states(verdict)
        names += own
        rows.append(_spread(verdict, states, axis))
    path, title = (
        f"{AGAINST_LS}/HOHF",
        f"{' and '.join(verdict.subdetector for verdict in verdicts)}: state of each unit",
    )
    small = [f"#scale[{min(1, 22 / len(names)):.2f}]{{{name}}}" for name in names]
    return elements.lumi_map(path, axis, np.concatenate(rows, axis=1), title, small)


def box_maps(run: RunVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    """Worst state of each readout box: in the last assessed lumisections, and since the run began."""
    states = run_box_states(run, axis)
    for name, rows, title in (
        ("RBXNow", newest(states), f"RBX: worst state of the last {NOW} LS"),
        ("RBXRun", states, "RBX: worst state since the run began"),
    ):
        yield elements.box_summary(
            f"{FOLDER}/{name}", aggregate.worst_state(rows).reshape(len(SUBDET_PM), N_RBX), title
        )


def strip_states(strips: StripVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    """States iphi × LS per half."""
    states = axis.spread(strips.states, strips.lumisections, State.NOT_ASSESSED)
    for index, half in enumerate(SUBDET_PM):
        rows = states[:, index * N_IPHI : (index + 1) * N_IPHI]
        path = f"{CLIENT}/StateSummaryvsiphivsLS/SubdetPM/{half}"
        yield elements.strip_map(path, axis, rows, f"{half}: state of each strip of one iphi")


def newest(states: States) -> States:
    """The last :data:`NOW` rows in which anything was judged (all rows, where nothing ever was)."""
    rows = np.flatnonzero(aggregate.judged(states).any(axis=1))[-NOW:]
    return states[rows] if len(rows) else states


def run_box_states(run: RunVerdict, axis: LumiAxis) -> States:
    """(LS, 72) states of readout boxes: not assessed at LS that are not there, 0 for boxes that were never judged.

    What was judged of the run as a whole says nothing of an LS, where anything else was judged by LS.
    """
    states = np.zeros((axis.length, N_BOXES), dtype=np.uint8)
    for source in per_lumisection(run) or run.judged:
        if aggregate.has_boxes(source):
            np.maximum(states, _spread(source, aggregate.box_states(source), axis), out=states)
    return states


def subdetector_states(run: RunVerdict, axis: LumiAxis) -> dict[str, States]:
    """(LS,) state of each sub-detector that was judged: that of its worst unit."""
    boxes = run_box_states(run, axis)
    states: dict[str, States] = {}
    for name in ("HB", "HE"):
        first = SUBDET_PM.index(f"{name}M") * N_RBX
        rows = boxes[:, first : first + 2 * N_RBX]
        if rows.any():
            states[name] = aggregate.worst_state(rows.T)
    for verdict in run.verdicts:
        if not aggregate.has_boxes(verdict):
            states[verdict.subdetector] = aggregate.worst_state(_spread(verdict, _outer_states(verdict)[1], axis).T)
    return states


def fed_states(run: RunVerdict, axis: LumiAxis, boxes: States) -> dict[int, States]:
    """(LS,) state of each FED of HB and HE: that of its worst box, and bad where one of its uHTRs is lost."""
    states: dict[int, States] = {}
    for verdict in run.verdicts:
        channels = verdict.channels
        if not aggregate.has_boxes(verdict):
            continue
        lost = np.zeros((axis.length, N_UHTRS), dtype=np.uint8)
        if verdict.granularity == "lumisection":
            by_row = aggregate.lost_units(verdict.states, channels.uhtr.astype(np.intp), N_UHTRS)
            lost = _spread(verdict, by_row.astype(np.uint8), axis, 0)
        for number in np.unique(channels.fed[channels.fed > 0]).tolist():
            inside = channels.fed == number
            own = aggregate.worst_state(boxes[:, np.unique(channels.box[inside])].T)
            own[lost[:, np.unique(channels.uhtr[inside])].any(axis=1)] = State.BAD
            states[number] = np.maximum(own, states.get(number, own))
    return dict(sorted(states.items()))


def per_lumisection(run: RunVerdict) -> tuple[Verdict | StripVerdict, ...]:
    """What was judged LS by LS."""
    return tuple(
        source for source in run.judged if isinstance(source, StripVerdict) or source.granularity == "lumisection"
    )


def _spread(source: Verdict | StripVerdict, rows: States, axis: LumiAxis, missing: int = State.NOT_ASSESSED) -> States:
    """(LS, units) on the axis; what was judged of the run as a whole holds for all of it. Unknown units stay 0."""
    if isinstance(source, Verdict) and source.granularity == "run":
        return np.repeat(rows.max(axis=0, keepdims=True), axis.length, axis=0)
    spread: States = axis.spread(rows, source.lumisections, missing)
    spread[:, ~rows.any(axis=0)] = 0
    return spread


def outer_units(channels: ChannelTable) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the units of HO (its boxes) or HF (quadrants of a side, for want of a map of its boxes), and each
    channel's."""
    if (channels.box >= 0).all():
        boxes, units = np.unique(channels.box, return_inverse=True)
        return [box_name(int(box)) for box in boxes], units.astype(np.intp)
    width = N_IPHI // _QUADRANTS
    quadrant = (channels.iphi.astype(np.intp) - 1) // width
    names = [f"HF{side} {first + 1}-{first + width}" for side in "-+" for first in range(0, N_IPHI, width)]
    return names, channels.side.astype(np.intp) * _QUADRANTS + quadrant


_of_outer_units: WeakKeyDictionary[Verdict, tuple[list[str], States]] = WeakKeyDictionary()


def _outer_states(verdict: Verdict) -> tuple[list[str], States]:
    """(LS, units) states of the units of HO or HF: bad where half of one is bad; several elements show them."""
    if verdict not in _of_outer_units:
        _of_outer_units[verdict] = _units_and_states(verdict)
    return _of_outer_units[verdict]


def _units_and_states(verdict: Verdict) -> tuple[list[str], States]:
    states, (names, units) = verdict.states, outer_units(verdict.channels)
    which = (aggregate.flagged, aggregate.judged, aggregate.exactly(State.NOT_CONNECTED))
    faulty, assessed, out = (aggregate.count_by_unit(states, units, len(names), each) for each in which)
    conditions = [
        out == np.bincount(units, minlength=len(names)),
        assessed == 0,
        aggregate.lost_units(states, units, len(names)),
        faulty > 0,
    ]
    choices = [State.NOT_CONNECTED, State.NOT_ASSESSED, State.BAD, State.PROBLEMATIC]
    return names, np.select(conditions, choices, State.GOOD).astype(np.uint8)


SUMMARY_FOLDER = f"{CLIENT}/EventInfo"
BAD_FROM = 0.05
"""Share of bad lumisections from which a run is bad."""
NOT_JUDGED = -1.0
_TRUST_STATES = {
    Trust.ADAPTED: State.GOOD,
    Trust.STATE: State.GOOD,
    Trust.REFERENCE_RUN: State.GOOD,
    Trust.OLD_STATE: State.PROBLEMATIC,
    Trust.OTHER_PERIOD: State.PROBLEMATIC,
    Trust.NONE: State.BAD,
}


def bad_share(states: States) -> float | None:
    """Share of bad ones among the assessed lumisections; None where there are none."""
    assessed = aggregate.judged(states)
    return float((states[assessed] == State.BAD).mean()) if assessed.any() else None


def trusted(run: RunVerdict) -> bool:
    """Whether everything that was judged rests on a trusted reference."""
    return all(_trust(source, run).trusted for source in run.judged) and bool(run.judged)


def run_state(run: RunVerdict, axis: LumiAxis) -> State:
    """State of the run: bad by hcaldqm's rule, else never good without a trusted reference.

    A run is bad from 5 % of bad lumisections on (CMSSW ``DQM/HcalTasks/plugins/HcalOnlineHarvesting.cc``,
    ``thresh_bad_bad``), and an LS is as bad as its worst unit.
    """
    share = bad_share(_worst(run, axis))
    if share is not None and share >= BAD_FROM:
        return State.BAD
    if share is None or not trusted(run):
        return State.NOT_ASSESSED
    return State.PROBLEMATIC if share > 0 else State.GOOD


def summary_elements(run: RunVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    """The one cell of the run, and a cell for the trust in each judgement: green, yellow for another period, or red."""
    yield elements.cells(
        f"{SUMMARY_FOLDER}/runSummary", [run_state(run, axis)], "state of the run", (f"run {run.maps.run}",)
    )
    trusts = {_name(source): _trust(source, run) for source in run.judged} or {"run": Trust.NONE}
    states = [_TRUST_STATES[trust] for trust in trusts.values()]
    yield elements.cells(f"{SUMMARY_FOLDER}/TrustSummary", states, "may the verdict be trusted?", tuple(trusts))


def summary_scalars(run: RunVerdict, axis: LumiAxis) -> Iterator[Scalar]:
    """``reportSummary`` of the run and of each sub-detector, the trust in words, and what identifies the run.

    ``reportSummary`` is the share of LS that are not bad: both GUIs paint it orange below 0.95 and red below 0.85.
    Only ``Hcal/EventInfo`` itself may hold a ``reportSummaryMap``: the classic GUI makes a tile of every one.
    """
    rests = trusted(run)
    yield Scalar(f"{SUMMARY_FOLDER}/reportSummary", _report(_worst(run, axis), rests))
    for name, states in subdetector_states(run, axis).items():
        yield Scalar(f"{SUMMARY_FOLDER}/reportSummaryContents/{name}", _report(states, rests))
    yield Scalar(f"{SUMMARY_FOLDER}/trust", str(Trust.NONE if run.strips else run.trust))
    yield Scalar(f"{SUMMARY_FOLDER}/verdict", verdict_sentence(run, axis))
    for number, reason in enumerate(trust_reasons(run), start=1):
        yield Scalar(f"{SUMMARY_FOLDER}/trustReason{number:02d}", reason)
    yield Scalar(f"{SUMMARY_FOLDER}/iRun", run.maps.run)
    if len(run.maps.lumisections):
        yield Scalar(f"{SUMMARY_FOLDER}/iLumiSection", int(run.maps.lumisections.max()))
    if run.maps.events.any():
        yield Scalar(f"{SUMMARY_FOLDER}/processedEvents", int(run.maps.events.sum()))


def verdict_sentence(run: RunVerdict, axis: LumiAxis) -> str:
    """The outcome for people, short enough for a picture that shows one line of some fifty characters."""
    share = bad_share(_worst(run, axis))
    if share is None:
        return "not judged: no LS could be assessed"
    if not trusted(run):
        return f"not judged (no trust), units lost in {share:.1%} of LS"
    return f"a unit is lost in {share:.1%} of the assessed LS" if share else "no unit of the readout is lost"


def trust_reasons(run: RunVerdict) -> tuple[str, ...]:
    """Why something is not trusted, and by which detector state it was judged, each reason once."""
    told = [part for part in run.verdicts if not part.trust.trusted or part.trust is Trust.STATE]
    reasons = [part.trust_reason or str(part.trust) for part in told]
    return tuple(dict.fromkeys([*reasons, *(["strips are compared with themselves"] if run.strips else [])]))


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
