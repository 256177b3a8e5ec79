"""Quality results on the elements against LS: OK, WARNING with any flag, ERROR where a readout box is bad.

A sub-detector of which no lumisection could be assessed gets INSUFFICIENT_STATISTICS, never OK.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.verdict import Finding, Kind, State, StripVerdict, Verdict
from hcal_root_ad.publish.elements import CLIENT, TASK, QualityResult, QualityStatus
from hcal_root_ad.publish.reductions import (
    BAD_SHARE,
    N_BOXES,
    box_states,
    boxes_of,
    count_by_lumi,
    flagged,
    kind_counts,
    unit_states,
)

_ALGORITHM = "HcalRootAd"


def channel_results(verdict: Verdict) -> Iterator[QualityResult]:
    """Results on events, flagged channels and each kind of one sub-detector."""
    name, boxes = verdict.subdetector, boxes_of(verdict)
    assessed = verdict.assessed
    yield _events(f"{TASK}/EventsvsLS/Subdet/{name}", assessed)
    per_lumi = count_by_lumi(verdict.states, flagged)
    lost = box_states(verdict) == State.BAD
    path = f"{TASK}/MLBadFlagedChannelsvsLS/Subdet/{name}"
    yield _flags(path, "MLFlaggedChannels", per_lumi, bool(lost.any()), assessed, verdict.findings)
    columns = np.bincount(boxes, minlength=N_BOXES)
    for kind, counts in kind_counts(verdict).items():
        lost_boxes = (counts >= BAD_SHARE * columns) & (counts > 0)
        error = kind.state == State.BAD and bool(lost_boxes.any())
        path = f"{CLIENT}/{kind.capitalize()}ChannelsvsLS/Subdet/{name}"
        findings = tuple(finding for finding in verdict.findings if finding.kind == kind)
        yield _flags(path, f"ML{kind.capitalize()}Channels", counts.sum(axis=1), error, assessed, findings)


def strip_results(strips: StripVerdict) -> Iterator[QualityResult]:
    """Results on events and flagged strips of HB and HE; ERROR where a box has lost a quarter, which is one strip."""
    boxes = boxes_of(strips)
    for name, columns in (("HB", boxes < N_BOXES // 2), ("HE", boxes >= N_BOXES // 2)):
        states = strips.states[:, columns]
        yield _events(f"{TASK}/EventsvsLS/Subdet/{name}", strips.assessed)
        path = f"{CLIENT}/FlaggedStripsvsLS/Subdet/{name}"
        findings = tuple(finding for finding in strips.findings if finding.subdetector == name)
        lost = bool((unit_states(states, boxes[columns]) == State.BAD).any())
        yield _flags(path, "MLFlaggedStrips", flagged(states).sum(axis=1), lost, strips.assessed, findings)


def _events(path: str, assessed: NDArray[np.bool_]) -> QualityResult:
    status = QualityStatus.OK if assessed.any() else QualityStatus.INSUFFICIENT_STATISTICS
    message = f"{int(assessed.sum())} of {len(assessed)} LS had enough events and data to be judged"
    share = float(assessed.mean()) if len(assessed) else 0.0
    return QualityResult(path, "MLEnoughEvents", status, share, _ALGORITHM, message)


def _flags(
    path: str,
    qtest: str,
    per_lumi: NDArray[np.integer],
    error: bool,
    assessed: NDArray[np.bool_],
    findings: tuple[Finding, ...],
) -> QualityResult:
    """The result is the share of assessed lumisections without a flag."""
    if not assessed.any():
        message = "no LS could be judged: too few events or no data"
        return QualityResult(path, qtest, QualityStatus.INSUFFICIENT_STATISTICS, 0.0, _ALGORITHM, message)
    found = per_lumi[assessed]
    share = float((found == 0).mean())
    if not found.any():
        return QualityResult(path, qtest, QualityStatus.OK, share, _ALGORITHM, "nothing flagged")
    status = QualityStatus.ERROR if error else QualityStatus.WARNING
    message = (
        f"up to {int(found.max())} flagged in one LS, {int((found > 0).sum())} of {len(found)} LS{_strongest(findings)}"
    )
    return QualityResult(path, qtest, status, share, _ALGORITHM, message)


def _strongest(findings: tuple[Finding, ...]) -> str:
    if not findings:
        return ""
    finding = max(findings, key=lambda f: f.significance)
    return f"; strongest: {finding.unit} {Kind(finding.kind)}, LS {finding.first}-{finding.last}"
