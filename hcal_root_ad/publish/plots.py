"""The main pictures of a verdict: which numbers go into each, and where they are saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, N_IPHI, N_RBX, SUBDET_PM
from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.aggregate import (
    Array,
    axis_length,
    box_states,
    boxes_of,
    count_by_channel,
    depth_maps,
    judged,
    kind_counts,
    on_axis,
    reconstruction_error,
    run_pull,
    variance,
    worst_state,
)
from hcal_root_ad.judge.verdict import Finding, RunVerdict, State, StripVerdict, Verdict
from hcal_root_ad.judge.wording import how_large, what, when
from hcal_root_ad.lumi_ranges import ranges_of
from hcal_root_ad.publish import figures
from hcal_root_ad.room import picked
from hcal_root_ad.style import run_number

Judgement = Verdict | StripVerdict

_DRAWN = ("HB", "HE")
"""Sub-detectors on the maps, whose readout boxes are known; findings of the others have their histories."""
_MARKS, _HISTORIES = 16, 6
"""Findings outlined on the map of boxes, and findings with a history of their own."""


def draw_plots(verdict: RunVerdict, folder: Path) -> tuple[Path, ...]:
    """Save the pictures that the verdict's granularity allows as PNG files in ``folder``, and return their paths.

    Per lumisection: boxes against LS, trends, histories of the strongest findings. Per channel: states
    and residuals by depth. Strips: states against LS. Raises OutputError if the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(figures.save(figure, folder / f"{name}.png") for name, figure in _figures(verdict))
    except OSError as error:
        raise OutputError(f"{folder}: pictures cannot be written ({error.strerror}); choose another folder.") from error


def _figures(run: RunVerdict) -> Iterator[tuple[str, Figure]]:
    number = _number(run)
    per_lumi = _per_lumisection(run)
    drawn = tuple(verdict for verdict in run.verdicts if verdict.subdetector in _DRAWN)
    with_boxes = tuple(one for one in per_lumi if isinstance(one, StripVerdict) or one.subdetector in _DRAWN)
    if with_boxes:
        yield "flagged_boxes", _boxes(run, with_boxes)
    if drawn:
        states = sum((depth_maps(v.channels, worst_state(v.states)) for v in drawn), _empty_maps())
        yield "states", figures.state_figure(number, states)
        yield "residuals", figures.residual_figure(number, *_pulls(drawn))
    if run.strips:
        yield "strip_states", figures.strip_figure(number, _strip_states(run.strips, axis_length(run)))
    if with_boxes:
        yield "trends", _trends(run, with_boxes)
    if histories := [
        _history(number_of, *pair) for number_of, pair in enumerate(_strongest(per_lumi)[:_HISTORIES], start=1)
    ]:
        yield "strongest_findings", figures.history_figure(number, histories)


def _per_lumisection(run: RunVerdict) -> tuple[Judgement, ...]:
    """What was judged per lumisection: channels where they were, else strips."""
    verdicts = tuple(verdict for verdict in run.verdicts if verdict.granularity == "lumisection")
    return verdicts or ((run.strips,) if run.strips else ())


def _unit(per_lumi: tuple[Judgement, ...]) -> str:
    return "channels" if isinstance(per_lumi[0], Verdict) else "strips"


def _boxes(run: RunVerdict, per_lumi: tuple[Judgement, ...]) -> Figure:
    length = axis_length(run)
    states = np.zeros((length, len(SUBDET_PM) * N_RBX), dtype=np.uint8)
    for verdict in per_lumi:
        own = on_axis(box_states(verdict), verdict.lumisections, length, State.NOT_ASSESSED)
        own[:, ~np.isin(np.arange(own.shape[1]), boxes_of(verdict))] = 0
        np.maximum(states, own, out=states)
    halves = {half: slice(index * N_RBX, (index + 1) * N_RBX) for index, half in enumerate(SUBDET_PM)}
    strongest = _strongest(per_lumi)[:_MARKS]
    return figures.box_figure(
        _number(run),
        {half: states[:, columns] for half, columns in halves.items()},
        [mark for number, pair in enumerate(strongest, start=1) for mark in _marks(number, *pair)],
        [_describe(finding) for _, finding in strongest],
    )


def _number(run: RunVerdict) -> int:
    return run_number(run.maps.run, run.maps.sources)


def _marks(number: int, verdict: Judgement, finding: Finding) -> Iterator[figures.Mark]:
    """Where a finding is on the map of boxes: neighbouring boxes of a half together."""
    boxes = np.unique(boxes_of(verdict)[list(finding.rows)])
    for index, half in enumerate(SUBDET_PM):
        inside = boxes[boxes // N_RBX == index] % N_RBX + 1
        for first, last in ranges_of(inside.tolist()):
            yield figures.Mark(number, half, first, last - first + 1, finding.first, finding.last)


def _describe(finding: Finding) -> str:
    return f"{finding.unit} {finding.kind}, LS {when(finding)}"


def _pulls(verdicts: tuple[Verdict, ...]) -> tuple[Array, Array]:
    """Signed pulls of the run and which cells were judged, both (7, 84, 72)."""
    pulls, use = _empty_maps(), _empty_maps()
    for verdict in verdicts:
        pulls += depth_maps(verdict.channels, run_pull(verdict))
        use += depth_maps(verdict.channels, count_by_channel(verdict.states, judged) > 0)
    return pulls, use > 0


def _strip_states(strips: StripVerdict, length: int) -> dict[str, Array]:
    states = on_axis(strips.states, strips.lumisections, length, State.NOT_ASSESSED)
    return {half: states[:, index * N_IPHI : (index + 1) * N_IPHI] for index, half in enumerate(SUBDET_PM)}


def _trends(run: RunVerdict, per_lumi: tuple[Judgement, ...]) -> Figure:
    length = axis_length(run)
    first = per_lumi[0]
    events = on_axis(first.events, first.lumisections, length)
    assessed = np.zeros(length, dtype=bool)
    kinds: dict[str, dict[str, Array]] = {}
    errors = {}
    for verdict in per_lumi:
        assessed |= on_axis(verdict.assessed, verdict.lumisections, length)
        counts = {kind: on_axis(c, verdict.lumisections, length) for kind, c in kind_counts(verdict).items()}
        for name, boxes in _subdetectors(verdict).items():
            kinds[name] = {str(kind): values[:, boxes].sum(axis=1) for kind, values in counts.items()}
        if isinstance(verdict, Verdict):
            errors[verdict.subdetector] = on_axis(reconstruction_error(verdict), verdict.lumisections, length)
    return figures.trend_figure(_number(run), events, assessed, kinds, errors, _unit(per_lumi))


def _subdetectors(verdict: Judgement) -> dict[str, slice]:
    """Columns of (LS, 72 boxes) of each sub-detector that was judged."""
    columns = {"HB": slice(0, 2 * N_RBX), "HE": slice(2 * N_RBX, 4 * N_RBX)}
    return {verdict.subdetector: columns[verdict.subdetector]} if isinstance(verdict, Verdict) else columns


def _strongest(per_lumi: tuple[Judgement, ...]) -> list[tuple[Judgement, Finding]]:
    """All findings, the strongest first, each with the judgement that it belongs to."""
    pairs = [(verdict, finding) for verdict in per_lumi for finding in verdict.findings]
    return sorted(pairs, key=lambda pair: -pair[1].significance)


def _history(number: int, verdict: Judgement, finding: Finding) -> figures.History:
    """Digis per event of the finding's channels, at the assessed lumisections."""
    channels = np.array(finding.rows, dtype=np.intp)
    rows = np.flatnonzero(verdict.assessed)
    events = np.maximum(verdict.events[rows], 1).astype(np.float64)
    observed, expected = (picked(counts, rows, channels) for counts in (verdict.observed, verdict.expected))
    expected = expected.astype(np.float64)
    spread = variance(expected, verdict.events[rows, None]) if isinstance(verdict, Verdict) else expected
    return figures.History(
        title=f"{number}  {_describe(finding)} ({what(finding, _unit((verdict,))[:-1])}, {how_large(finding)})",
        lumisections=verdict.lumisections[rows],
        observed=observed.sum(axis=1) / events,
        expected=expected.sum(axis=1) / events,
        sigma=np.sqrt(spread.sum(axis=1)) / events,
        first=finding.first,
        last=finding.last,
    )


def _empty_maps() -> Array:
    return np.zeros((N_DEPTH, N_DQM_IETA, N_IPHI))
