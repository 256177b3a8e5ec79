"""Faults: the list of the strongest, counts by kind and uHTR, what is missing and in excess, and quality results.

Maps are 0 (white) where nothing is flagged and never signed: the GUIs draw from the smallest to the largest content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hcal_root_ad.detector import N_RBX, N_UHTR_SLOTS, SUBDET_PM, box_name, uhtr_name
from hcal_root_ad.judge import aggregate
from hcal_root_ad.judge.aggregate import LOSSES, N_BOXES, Floats, States, judged
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Kind, State, StripVerdict, Verdict
from hcal_root_ad.lumi_maps import Range
from hcal_root_ad.machine import iter_chunks
from hcal_root_ad.publish import elements, state_elements
from hcal_root_ad.publish.elements import CLIENT, TASK, LumiAxis, MonitorElement, QualityResult, QualityStatus
from hcal_root_ad.publish.state_elements import AGAINST_LS, BAD_FROM, FOLDER, N_UHTRS, NOW

ROWS = 16
"""Rows of the list of faults: with more, two lines of text would not fit into one."""
MOST_EXCESS = 200.0
"""Percent; more is shown as this, so that one wild channel does not take all colours from the others."""
_LABEL, _SCALE = 11, 0.66
"""Characters of a line of a row's label, and its size, with which the GUIs' narrow margin shows it whole."""
_SHORT = {"degraded": "degr"}
_LABELLED_BOXES = tuple(box_name(box) if box % N_RBX == 0 else "" for box in range(N_BOXES))
_LOWEST = 0.1
"""Percent; a flagged channel is never shown as sound."""


def row_label(unit: str, kind: Kind, ranges: Sequence[Range]) -> str:
    """Two lines for TLatex: the unit, and what is wrong since when."""
    lines = unit.replace("-RM", " RM").replace("-card", " c"), f"{_SHORT.get(kind, kind)} {_span(ranges)}"
    scale = _SCALE * min(1, _LABEL / max(map(len, lines)))
    return f"#scale[{scale:.2f}]{{#splitline{{{lines[0]}}}{{{lines[1]}}}}}"


def _span(ranges: Sequence[Range]) -> str:
    first, last = ranges[0][0], ranges[-1][1]
    return f"{first}-{last}" if last > first else f"{first}"


def _faults(run: RunVerdict) -> list[Finding]:
    """All faults, of channels and of strips, the most severe first."""
    findings = [*run.findings, *(run.strips.findings if run.strips else ())]
    return sorted(findings, key=lambda finding: (-finding.state, -finding.channels * finding.lumisections))


def fault_list(run: RunVerdict, axis: LumiAxis) -> MonitorElement:
    """The strongest faults × LS: red or yellow where a fault is, green where its sub-detector was judged."""
    every = _faults(run)
    shown = every[:ROWS]
    states = np.zeros((axis.length, ROWS), dtype=np.uint8)
    labels = [""] * ROWS
    for row, fault in zip(range(ROWS - 1, -1, -1), shown, strict=False):
        states[:, row], labels[row] = _row_states(run, fault, axis), row_label(fault.unit, fault.kind, fault.ranges)
    if not shown:
        states[:, ROWS - 1] = np.max([_assessed(source, axis) for source in run.judged], axis=0, initial=0)
        labels[ROWS - 1] = f"#scale[{_SCALE}]{{#splitline{{nothing}}{{flagged}}}}"
    hidden = len(every) - len(shown)
    title = "strongest faults" + (f", {hidden} more not shown" if hidden else "")
    return elements.lumi_map(f"{FOLDER}/FaultList", axis, states, title, labels)


def _row_states(run: RunVerdict, fault: Finding, axis: LumiAxis) -> States:
    sources = [s for s in run.judged if isinstance(s, StripVerdict) or s.subdetector == fault.subdetector]
    states: States = np.max([_assessed(source, axis) for source in sources], axis=0, initial=0)
    for first, last in fault.ranges:
        inside = states[max(first - axis.first, 0) : last - axis.first + 1]
        inside[inside == State.GOOD] = fault.state
    return states


def _assessed(source: Verdict | StripVerdict, axis: LumiAxis) -> States:
    """(LS,) good where an LS was assessed, else not assessed."""
    if isinstance(source, Verdict) and source.granularity == "run":
        return np.full(axis.length, State.GOOD if source.assessed.any() else State.NOT_ASSESSED, dtype=np.uint8)
    judged: States = np.where(source.assessed, State.GOOD, State.NOT_ASSESSED).astype(np.uint8)
    return np.asarray(axis.spread(judged, source.lumisections, State.NOT_ASSESSED), dtype=np.uint8)


def kind_map(verdicts: Sequence[Verdict], axis: LumiAxis) -> MonitorElement:
    """Number of flagged channels of each sub-detector and kind × LS, the first sub-detector on top."""
    rows, names = [], []
    for verdict in verdicts[::-1]:
        for kind, counts in reversed(aggregate.kinds_by_lumi(verdict).items()):
            rows.append(axis.spread(counts, verdict.lumisections))
            names.append(f"#scale[{_SCALE}]{{{verdict.subdetector} {kind}}}")
    path = f"{CLIENT}/FlaggedKindsvsLS/FlaggedKindsvsLS"
    return elements.lumi_map(path, axis, np.stack(rows, axis=1), "flagged channels by kind", names, log_z=True)


def uhtr_map(verdicts: Sequence[Verdict], axis: LumiAxis) -> MonitorElement | None:
    """Flagged channels by uHTR (crate and slot) × LS, the one view in which a lost uHTR is one line."""
    with_uhtrs = [verdict for verdict in verdicts if (verdict.channels.uhtr >= 0).any()]
    if not with_uhtrs:
        return None
    counts = np.zeros((axis.length, N_UHTRS))
    for verdict in with_uhtrs:
        flags = aggregate.count_by_unit(
            verdict.states, verdict.channels.uhtr.astype(np.intp), N_UHTRS, aggregate.flagged
        )
        counts += axis.spread(flags, verdict.lumisections)
    crates = [uhtr_name(uhtr).partition("-")[0].replace("crate", "crate ") for uhtr in range(N_UHTRS)]
    names = [name if uhtr % N_UHTR_SLOTS == 0 else "" for uhtr, name in enumerate(crates)]
    path, title = f"{CLIENT}/FlaggedChannelsvsLS/uHTR", "flagged channels by uHTR"
    return elements.lumi_map(path, axis, counts, title, names, "uHTR", log_z=True)


def channel_percentages(verdicts: Sequence[Verdict]) -> Iterator[MonitorElement]:
    """Missing and surplus digis of every flagged channel in its flagged LS, on those depths where there are any.

    HO, which would need two maps more, has its states and its kinds alone.
    """
    for name, title, losses in (("Loss", "loss", True), ("Excess", "excess", False)):
        values = [
            (verdict.channels, _channel_percent(verdict, losses)) for verdict in verdicts if verdict.subdetector != "HO"
        ]
        for place, percent in aggregate.by_map(values):
            if percent.any():
                yield elements.depth_map(
                    f"{CLIENT}/{name}/depth/{place}", percent, f"{place}: {title} where flagged [%]"
                )


def _channel_percent(verdict: Verdict, losses: bool) -> Floats:
    """(channels,) percent of the expected digis of the flagged LS; 0 where nothing is flagged."""
    observed, expected = np.zeros((2, len(verdict.channels)))
    for interval in verdict.intervals:
        if (interval.kind in LOSSES) == losses:
            observed[interval.channel] += interval.observed
            expected[interval.channel] += interval.expected
    change = 100 * (observed / np.maximum(expected, 1e-9) - 1) * (-1 if losses else 1)
    return np.where(expected > 0, change.clip(_LOWEST, 100 if losses else MOST_EXCESS), 0.0)


def box_percentages(sources: Sequence[Verdict | StripVerdict], axis: LumiAxis) -> Iterator[MonitorElement]:
    """Digis that flagged channels miss, or have too many, in percent of what their readout box should have × LS."""
    percent = np.zeros((2, axis.length, N_BOXES))
    for source in sources:
        if aggregate.has_boxes(source):
            expected = np.maximum(
                aggregate.sum_by_box(source.expected, aggregate.boxes_of(source), source.states), 1e-9
            )
            for rows, change in zip(percent, box_changes(source), strict=True):
                rows += axis.spread(100 * change / np.maximum(expected, 1e-9), source.lumisections)
    for name, title, values in zip(("Loss", "Excess"), ("loss", "excess"), percent, strict=True):
        shown = np.where(values > 0, values.clip(_LOWEST, MOST_EXCESS), 0.0)
        path = f"{CLIENT}/{name}vsLS/RBX"
        yield elements.lumi_map(path, axis, shown, f"{title} of flagged channels [% of RBX]", _LABELLED_BOXES, "RBX")


_ROWS = 256
"""Lumisections of a run whose counts are in memory together."""


def box_changes(source: Verdict | StripVerdict) -> tuple[Floats, Floats]:
    """(LS, 72) digis that the flagged channels of a box miss, and those that they have too many."""
    boxes, rows = aggregate.boxes_of(source), source.lumisections
    missing, surplus = np.zeros((2, len(rows), N_BOXES))
    starts = np.searchsorted(rows, [interval.first for interval in source.intervals])
    stops = np.searchsorted(rows, [interval.last + 1 for interval in source.intervals])
    channels = np.array([interval.channel for interval in source.intervals], dtype=np.intp)
    losses = np.array([interval.kind in LOSSES for interval in source.intervals], dtype=np.bool_)
    for some in iter_chunks(source.observed, source.states, rows=_ROWS):
        own = np.flatnonzero((starts < some.stop) & (stops > some.start))
        if not len(own):
            continue
        columns, place = np.unique(channels[own], return_inverse=True)
        change = (source.observed[some, columns] - source.expected[some, columns]) * judged(
            source.states[some, columns]
        )
        first, last = (np.clip(edge[own], some.start, some.stop) - some.start for edge in (starts, stops))
        of = np.repeat(np.arange(len(own)), last - first)  # which interval each of the cells is of
        row = np.arange(len(of)) - np.repeat(np.cumsum(last - first) - last, last - first)
        for target, sign, mine in ((missing, -1, losses[own][of]), (surplus, 1, ~losses[own][of])):
            cells = row[mine], place[of[mine]]
            box = boxes[channels[own][of[mine]]]
            np.add.at(target, (some.start + cells[0], box), np.maximum(sign * change[cells], 0))
    return missing, surplus


RATE = 0.002
"""Share of flagged (channel, LS) pairs from which a half is worth a warning: some nine channels of HB all run long."""
_ALGORITHM = "HcalRootAd"


def quality_results(run: RunVerdict, axis: LumiAxis) -> Iterator[QualityResult]:
    """Results on the states of each half and of the run, and on whether there were events enough.

    ERROR where a unit of the readout is lost in 5 % of the assessed LS or more, or is lost now. WARNING where one was
    lost for shorter, or where one in five hundred (channel, LS) pairs or more is flagged: never for one warm channel
    in one LS. A half of which no LS could be assessed gets INSUFFICIENT_STATISTICS, never OK.
    """
    boxes, rates = state_elements.run_box_states(run, axis), _rates(run)
    faults = _faults(run)
    # Run totals alone have no elements against LS.
    against_ls = run.strips is not None or any(verdict.granularity == "lumisection" for verdict in run.verdicts)
    for index, half in enumerate(SUBDET_PM):
        rows = boxes[:, index * N_RBX : (index + 1) * N_RBX]
        if rows.any() and against_ls:
            own = [fault for fault in faults if fault.unit.startswith(half) or _reaches(fault, half)]
            path = f"{AGAINST_LS}/SubdetPM/{half}"
            yield _result(path, "HcalADLostUnits", rows.max(axis=1), float(rates[index]), own)
    states = list(state_elements.subdetector_states(run, axis).values())
    worst = np.max(states, axis=0) if states else np.zeros(axis.length, dtype=np.uint8)
    for path in (f"{FOLDER}/RBXNow", f"{CLIENT}/EventInfo/runSummary"):
        yield _result(path, "HcalADLostUnits", worst, float(rates.max(initial=0.0)), faults)
    if run.maps.events.any():
        yield _events(run)


def _result(path: str, qtest: str, states: np.ndarray, rate: float, faults: list[Finding]) -> QualityResult:
    """The result is the share of assessed lumisections without a lost unit; ``states``: (LS,) of the worst unit."""
    share = state_elements.bad_share(states)
    if share is None:
        message = "no LS could be judged: too few events or no data"
        return QualityResult(path, qtest, QualityStatus.INSUFFICIENT_STATISTICS, 0.0, _ALGORITHM, message)
    now = bool((state_elements.newest(states[:, None]) == State.BAD).any())
    lost = f"a unit is lost in {share:.1%} of the assessed LS" if share else "no unit is lost"
    message = lost + (f", also in the last {NOW}" if now else "") + f", {rate:.2%} of channels flagged"
    if faults:
        message += f", strongest: {faults[0].unit} {faults[0].kind}, LS {_span(faults[0].ranges)}"
    if share >= BAD_FROM or now:
        return QualityResult(path, qtest, QualityStatus.ERROR, 1 - share, _ALGORITHM, message)
    status = QualityStatus.WARNING if share or rate >= RATE else QualityStatus.OK
    return QualityResult(path, qtest, status, 1 - share, _ALGORITHM, message)


def _reaches(fault: Finding, half: str) -> bool:
    """Whether a fault that is named after its sub-detector lies on the side of a half: ``HE +20/5/3`` in HEP."""
    name, _, place = fault.unit.partition(" ")
    return name == half[:2] and place[:1] in (("-",) if half.endswith("M") else ("+",))


def _rates(run: RunVerdict) -> np.ndarray:
    """(4,) share of the judged (channel, LS) pairs of each half that are flagged."""
    flags, pairs = np.zeros((2, len(SUBDET_PM)))
    for source in run.judged:
        if aggregate.has_boxes(source):
            half = aggregate.boxes_of(source) // N_RBX
            for counts, which in ((flags, aggregate.flagged), (pairs, judged)):
                counts += np.bincount(half, aggregate.count_by_channel(source.states, which), minlength=len(SUBDET_PM))
    return np.asarray(flags / np.maximum(pairs, 1))


def _events(run: RunVerdict) -> QualityResult:
    assessed = np.zeros(len(run.maps.lumisections), dtype=np.bool_)
    for source in run.judged:
        assessed |= np.isin(run.maps.lumisections, source.lumisections[source.assessed])
    status = QualityStatus.OK if assessed.any() else QualityStatus.INSUFFICIENT_STATISTICS
    message = f"{int(assessed.sum())} of {len(assessed)} LS had enough events and data to be judged"
    path = f"{TASK}/EventsvsLS/EventsvsLS"
    return QualityResult(path, "HcalADEnoughEvents", status, float(assessed.mean()), _ALGORITHM, message)
