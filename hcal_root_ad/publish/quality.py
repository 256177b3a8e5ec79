"""Quality results on the maps that the shift layout shows first.

ERROR where a unit of the readout is lost in 5 % of the assessed LS or more, or is lost now. WARNING where one was lost
for shorter, or where one in five hundred (channel, LS) pairs or more is flagged: never for one warm channel in one LS.
A half of which no LS could be assessed gets INSUFFICIENT_STATISTICS, never OK.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hcal_root_ad.detector import N_RBX, SUBDET_PM
from hcal_root_ad.judge.aggregate import boxes_of, count_by_channel, flagged, has_boxes, judged
from hcal_root_ad.judge.verdict import RunVerdict, State
from hcal_root_ad.publish.axes import LumiAxis
from hcal_root_ad.publish.elements import CLIENT, TASK, QualityResult, QualityStatus
from hcal_root_ad.publish.fault_elements import FaultRow, fault_rows
from hcal_root_ad.publish.state_elements import (
    AGAINST_LS,
    FOLDER,
    NOW,
    judgements,
    newest,
    run_box_states,
    subdetector_states,
)
from hcal_root_ad.publish.summary import BAD_FROM, bad_share

RATE = 0.002
"""Share of flagged (channel, LS) pairs from which a half is worth a warning: some nine channels of HB all run long."""
_ALGORITHM = "HcalRootAd"


def quality_results(run: RunVerdict, axis: LumiAxis) -> Iterator[QualityResult]:
    """Results on the states of each half and of the run, and on whether there were events enough."""
    boxes, rates = run_box_states(run, axis), _rates(run)
    faults = fault_rows(run)
    # Run totals alone have no elements against LS.
    against_ls = run.strips is not None or any(verdict.granularity == "lumisection" for verdict in run.verdicts)
    for index, half in enumerate(SUBDET_PM):
        rows = boxes[:, index * N_RBX : (index + 1) * N_RBX]
        if rows.any() and against_ls:
            own = [fault for fault in faults if fault.unit.startswith(half) or _reaches(fault, half)]
            path = f"{AGAINST_LS}/SubdetPM/{half}"
            yield _result(path, "HcalADLostUnits", rows.max(axis=1), float(rates[index]), own)
    states = list(subdetector_states(run, axis).values())
    worst = np.max(states, axis=0) if states else np.zeros(axis.length, dtype=np.uint8)
    for path in (f"{FOLDER}/RBXNow", f"{CLIENT}/EventInfo/runSummary"):
        yield _result(path, "HcalADLostUnits", worst, float(rates.max(initial=0.0)), faults)
    if run.maps.events.any():
        yield _events(run)


def _result(path: str, qtest: str, states: np.ndarray, rate: float, faults: list[FaultRow]) -> QualityResult:
    """The result is the share of assessed lumisections without a lost unit; ``states``: (LS,) of the worst unit."""
    share = bad_share(states)
    if share is None:
        message = "no LS could be judged: too few events or no data"
        return QualityResult(path, qtest, QualityStatus.INSUFFICIENT_STATISTICS, 0.0, _ALGORITHM, message)
    now = bool((newest(states[:, None]) == State.BAD).any())
    lost = f"a unit is lost in {share:.1%} of the assessed LS" if share else "no unit is lost"
    message = lost + (f", also in the last {NOW}" if now else "") + f", {rate:.2%} of channels flagged"
    if faults:
        message += f", strongest: {faults[0].title}"
    if share >= BAD_FROM or now:
        return QualityResult(path, qtest, QualityStatus.ERROR, 1 - share, _ALGORITHM, message)
    status = QualityStatus.WARNING if share or rate >= RATE else QualityStatus.OK
    return QualityResult(path, qtest, status, 1 - share, _ALGORITHM, message)


def _reaches(fault: FaultRow, half: str) -> bool:
    """Whether a fault that is named after its sub-detector lies on the side of a half: ``HE +20/5/3`` in HEP."""
    name, _, place = fault.unit.partition(" ")
    return name == half[:2] and place[:1] in (("-",) if half.endswith("M") else ("+",))


def _rates(run: RunVerdict) -> np.ndarray:
    """(4,) share of the judged (channel, LS) pairs of each half that are flagged."""
    flags, pairs = np.zeros((2, len(SUBDET_PM)))
    for source in judgements(run):
        if has_boxes(source):
            half = boxes_of(source) // N_RBX
            for counts, which in ((flags, flagged), (pairs, judged)):
                counts += np.bincount(half, count_by_channel(source.states, which), minlength=len(SUBDET_PM))
    return np.asarray(flags / np.maximum(pairs, 1))


def _events(run: RunVerdict) -> QualityResult:
    assessed = np.zeros(len(run.maps.lumisections), dtype=np.bool_)
    for source in judgements(run):
        assessed |= np.isin(run.maps.lumisections, source.lumisections[source.assessed])
    status = QualityStatus.OK if assessed.any() else QualityStatus.INSUFFICIENT_STATISTICS
    message = f"{int(assessed.sum())} of {len(assessed)} LS had enough events and data to be judged"
    path = f"{TASK}/EventsvsLS/EventsvsLS"
    return QualityResult(path, "HcalADEnoughEvents", status, float(assessed.mean()), _ALGORITHM, message)
