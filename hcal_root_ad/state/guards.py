"""What keeps a state from learning faults: open findings, the gate, and the test for creeping.

A unit with any line in a run teaches nothing, nor does what is in it. A line that reaches the run's end opens a
finding: level and variance of all that it touches are frozen (a growing variance would make the fault health by and
by) until it was below half of its size in two runs, or a person says so. What is far off without a line is not learned
at first. And what moved slowly is compared with the level of many runs ago, and rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.verdict import Finding, Level, Verdict
from hcal_root_ad.lumi_maps import within
from hcal_root_ad.state.detector_state import AcceptedChange, DetectorState, OpenFinding, SubdetectorState
from hcal_root_ad.state.layers import FACTORS, LEVEL, Innovation, Layer, Mask
from hcal_root_ad.stats.binomial import Floats

NEAR_THE_END = 2
"""A line that ends at most so many assessed LS before the run does is still there."""
DEAREST = 0.02
"""Rates below this share of the expected one are all the same."""
SHIFTS = (-6.0, 3.0)
"""Shifts of log rate that a finding may have."""
CLOSED_AFTER = 2
"""Runs in a row below half of its size that close a finding."""
ASKED_AFTER = (2, 4, 8, 16, 32, 64)
"""Runs in which a finding was there after which a person is asked what it is: what was a fault may be one no more."""
GROWS = 1.5
"""A finding's size grows by this factor in one run at most."""
TELLING = 0.25
"""A shift that is known worse than this share of a finding's size does not say whether it is still there."""
GATE, GATED_RUNS = 3.5, 2
"""Innovations beyond this many standard deviations are not learned, but for so many runs in a row only."""
ACCEPTED_ERROR = 0.3
"""Share of an accepted change by which its size may be wrong: the next runs tell."""
STEPPED = 5.0
"""Log odds by which an accepted change speaks for a restless channel; modules and boxes step without being restless."""
HIGHEST_LEVEL = 1.4
"""Log rate beyond which a channel has a digi in 98 % of the events, and more is not seen."""
SILENT = -1.5
"""A channel below this log rate without a line is masked for the time being."""
CREEP = {"channel": 6.0, "module": 5.5, "box": 5.5, "half": 5.0, "ring": 5.0}
"""Standard deviations of the walk that a level may move over many runs."""
CREEP_SIZE = {"channel": 0.06, "module": 0.025, "box": 0.04, "half": 0.03, "ring": 0.05}
"""Smallest shift of log rate that is creeping."""
CREEP_GAIN = 0.15
"""Smallest gain of a channel that is."""
SEEMS_RESTLESS = 2.0
"""Most that a unit may have become more restless, in variance, while it is tested for creeping."""
CREEP_AGES = (2, 4, 8, 16, 32)
LEVEL_NAMES = {"channel": Level.CHANNEL, "module": Level.RM, "box": Level.RBX, "half": Level.HALF, "ring": Level.RING}
_OF_CONDITIONS = (Level.RING, Level.DEPTH, Level.SUBDETECTOR)
"""Faults that show in the rings, where conditions do as well."""
_UNIT_LAYERS = {str(name): level for level, name in LEVEL_NAMES.items() if level != "channel"}


@dataclass(frozen=True)
class Guards:
    """Which guards stand; all, but in a study of what each is worth."""

    findings: bool = True
    gate: bool = True
    creep: bool = True


ALL_GUARDS = Guards()


def lined(part: SubdetectorState, findings: Sequence[Finding]) -> dict[str, Mask]:
    """(units,) by level: units with any line in a run."""
    out = {level: np.zeros(len(layer), dtype=bool) for level, layer in part.layers.items()}
    for finding in findings:
        for level, mask in part.touched(finding.rows).items():
            out[level] |= mask
    return out


def moved_with_all(finding: Finding, part: SubdetectorState, off: Mapping[str, Innovation], changed: set[str]) -> bool:
    """Whether a line is of units that are off no farther than all may be since the settings changed.

    ``off``: innovations that allow for the change. ``changed``: levels on which it was seen.
    """
    touched = part.touched(finding.rows)
    level = next((level for level in ("ring", "half", "box", "module", "channel") if touched[level].any()), "channel")
    return level in changed and bool((np.abs(off[level].pull[touched[level]]) < GATE).all())


def reaching_the_end(verdict: Verdict) -> list[Finding]:
    """Lines that are still there in the last assessed LS."""
    assessed = verdict.lumisections[verdict.assessed]
    if not len(assessed):
        return []
    last = int(assessed[max(0, len(assessed) - 1 - NEAR_THE_END)])
    return [finding for finding in verdict.findings if finding.last >= last]


def shift_of(finding: OpenFinding, part: SubdetectorState, off: Mapping[str, Innovation]) -> tuple[float, float] | None:
    """Shift of what a finding is about against the frozen level, and its error by chance; None if not measured."""
    if finding.level in _UNIT_LAYERS and (unit := _unit(finding, part)) is not None:
        layer = off[_UNIT_LAYERS[finding.level]]
        if not layer.measured[unit]:
            return None
        return float(layer.shift[unit]), float(np.sqrt(layer.chance[unit]))
    rows = np.array(finding.rows, dtype=np.intp)
    rows = rows[off["channel"].measured[rows]]
    if not len(rows):
        return None
    above = ("module", "box", "half", "ring") if finding.level in _OF_CONDITIONS else ("module", "box")
    whole = off["channel"].shift[rows] + sum(off[level].shift[part.of(level)[rows]] for level in above)
    weight = 1 / off["channel"].chance[rows]
    return float(weight @ whole / weight.sum()), float(1 / np.sqrt(weight.sum()))


def _unit(finding: OpenFinding, part: SubdetectorState) -> int | None:
    names = part.units(_UNIT_LAYERS[finding.level]).names
    return names.index(finding.unit) if finding.unit in names else None


@dataclass(frozen=True)
class FindingChanges:
    """Open findings after a run, and what became of them in it."""

    open: tuple[OpenFinding, ...]
    opened: tuple[OpenFinding, ...] = ()
    closed: tuple[OpenFinding, ...] = ()
    asked: tuple[OpenFinding, ...] = ()


def follow_findings(
    findings: Sequence[OpenFinding], name: str, part: SubdetectorState, verdict: Verdict,
    off: Mapping[str, Innovation], run: int, first_number: int,
) -> FindingChanges:  # fmt: skip
    """Findings of one sub-detector after a run: those before it measured again, and new ones of its lines.

    ``first_number``: of the new ones.
    """
    kept: list[OpenFinding] = []
    closed: list[OpenFinding] = []
    asked: list[OpenFinding] = []
    at_the_end = reaching_the_end(verdict)
    for finding in findings:
        if finding.subdetector != name:
            kept.append(finding)
            continue
        now = _measured(finding, part, off, at_the_end, run)
        if now.below >= CLOSED_AFTER:
            closed.append(now)
            continue
        if now.runs in ASKED_AFTER and now.runs > finding.runs:
            now = replace(now, asked=True)
            asked.append(now)
        kept.append(now)
    opened = [
        _opened(finding, f"{run}-{first_number + k}", run, log_rate_shift(finding, verdict))
        for k, finding in enumerate(f for f in at_the_end if not any(_same(f, known) for known in kept))
    ]
    return FindingChanges((*kept, *opened), tuple(opened), tuple(closed), tuple(asked))


def _measured(
    finding: OpenFinding, part: SubdetectorState, off: Mapping[str, Innovation], lines: Sequence[Finding], run: int
) -> OpenFinding:
    again = any(_same(line, finding) for line in lines)
    shift = shift_of(finding, part, off)
    if again and finding.level == Level.SUBDETECTOR:
        shift = None  # what is measured are the LS in which it is sound
    if shift is not None and shift[1] < TELLING * abs(finding.size):
        if shift[0] * finding.sign < abs(finding.size) / 2:
            return replace(finding, below=finding.below + 1)
        # A fault that grows closes at half of what it grew to; one run alone, saturated perhaps, does not say it all.
        size = finding.sign * max(abs(finding.size), min(shift[0] * finding.sign, GROWS * abs(finding.size)))
        return replace(finding, below=0, runs=finding.runs + 1, last_run=run, size=size)
    if again:
        return replace(finding, below=0, runs=finding.runs + 1, last_run=run)
    return finding


def _same(line: Finding, known: OpenFinding) -> bool:
    """Whether a line is about what is known already: most of the smaller one's channels, and the same sign."""
    if line.subdetector != known.subdetector or (line.size > 1) != (known.size > 0):
        return False
    mine, theirs = set(line.rows), set(known.rows)
    return 2 * len(mine & theirs) > len(mine)


def _opened(finding: Finding, identifier: str, run: int, size: float) -> OpenFinding:
    unit = finding.subdetector, str(finding.level), finding.unit, str(finding.kind)
    return OpenFinding(identifier, *unit, size, finding.rows, run, run)


def log_rate_shift(finding: Finding, verdict: Verdict) -> float:
    """Shift of log rate that makes the expected digis of a finding's channels those that were observed.

    Where digis are likely, a loss of a tenth of them is a larger loss of rate: p = 1 − exp(−λ).
    """
    rows = np.flatnonzero(verdict.assessed & within(verdict.lumisections, finding.ranges))
    size, events = max(finding.size, DEAREST), verdict.events[rows].sum()
    expected = verdict.expected[np.ix_(rows, np.array(finding.rows))].sum(axis=0, dtype=np.float64)
    if not expected.any():
        return float(np.log(size))
    rate = -np.log1p(-np.minimum(expected / events, 0.999))
    low, high = SHIFTS
    for _ in range(40):
        middle = (low + high) / 2
        fewer = -np.expm1(-rate * np.exp(middle)).sum() < size * -np.expm1(-rate).sum()
        low, high = (middle, high) if fewer else (low, middle)
    return high


def released(
    layers: Mapping[str, Layer], part: SubdetectorState, finding: OpenFinding, held: Mapping[str, Mask]
) -> dict[str, Layer]:
    """Layers after a finding was closed: what it touched walked unseen, but for what others still hold (``held``)."""
    touched = part.touched(finding.rows)
    steps = finding.runs + finding.below
    return {level: _less_sure(layer, touched[level] & ~held[level], steps) for level, layer in layers.items()}


def _less_sure(layer: Layer, units: Mask, steps: int) -> Layer:
    if not units.any():
        return layer
    covariance = layer.covariance.copy()
    covariance[units, LEVEL, LEVEL] += layer.walked(steps)[units]
    return replace(layer, covariance=covariance)


def accept(state: DetectorState, identifier: str) -> DetectorState:
    """The state with an open finding accepted as a change: what it touches does what it was last seen to do.

    Raises:
        UsageError: no such finding is open.
    """
    finding = state.finding(identifier)
    part = state.subdetectors[finding.subdetector]
    touched = part.touched(finding.rows)
    whole = (k for k in ("ring", "half", "box", "module") if touched[k].sum() == 1 and _is(finding, part, k))
    level = next(whole, "channel")
    highest = float(state.reference(finding.subdetector).level[list(finding.rows)].max())
    shift = finding.size if level != "channel" else min(finding.size, max(0.0, HIGHEST_LEVEL - highest))
    moved = _shifted(part.layers[level], touched[level], shift)
    if level == "channel":
        moved = replace(moved, restless=moved.restless + STEPPED * np.multiply.outer(touched[level], FACTORS > 1))
    layers = {**part.layers, level: moved}
    parts = {**state.subdetectors, finding.subdetector: replace(part, layers=layers)}
    accepted = (*state.recently_accepted, AcceptedChange(level, finding.size, state.update))
    return replace(state, subdetectors=parts, findings=_without(state, identifier), accepted=accepted)


def close(state: DetectorState, identifier: str) -> DetectorState:
    """The state without an open finding, which is over: what it touched is as it was before, and learns again.

    Raises:
        UsageError: no such finding is open.
    """
    finding = state.finding(identifier)
    state = replace(state, findings=_without(state, identifier))
    part = state.subdetectors[finding.subdetector]
    layers = released(part.layers, part, finding, state.frozen(finding.subdetector))
    parts = {**state.subdetectors, finding.subdetector: replace(part, layers=layers)}
    return replace(state, subdetectors=parts)


def _is(finding: OpenFinding, part: SubdetectorState, level: str) -> bool:
    return finding.unit in part.units(level).names


def _without(state: DetectorState, identifier: str) -> tuple[OpenFinding, ...]:
    return tuple(finding for finding in state.findings if finding.identifier != identifier)


def _shifted(layer: Layer, mask: Mask, shift: float) -> Layer:
    """The layer with some units moved, and that much less sure; their past moves along, for it was no creeping."""
    mean, covariance = layer.mean.copy(), layer.covariance.copy()
    mean[mask, LEVEL] += shift
    covariance[mask, LEVEL, LEVEL] += layer.noise[layer.group[mask]] + (ACCEPTED_ERROR * shift) ** 2
    level = layer.past.level.copy()
    level[:, mask] += np.float32(shift)
    position = layer.window.position.copy()
    position[:, mask[layer.window.rows]] += np.float32(shift)
    window = replace(layer.window, position=position)
    return replace(layer, mean=mean, covariance=covariance, past=replace(layer.past, level=level), window=window)


def gate(layer: Layer, off: Innovation) -> tuple[Layer, Mask]:
    """The layer with its count of runs too far off, and (units,) what may be learned."""
    beyond = off.measured & (np.abs(off.pull) > GATE)
    held = beyond & (layer.gated < GATED_RUNS)
    count = np.where(held, layer.gated + 1, np.where(off.measured, 0, layer.gated)).astype(np.int8)
    return replace(layer, gated=count), ~held


def silent(off: Innovation, digis: NDArray[np.int64]) -> Mask:
    """(channels,) without a digi, or nearly so: masked, not slow. Never learned."""
    return np.asarray((digis == 0) | (off.measured & (off.shift < SILENT)))


@dataclass(frozen=True, eq=False)
class Creep:
    """Units that moved by more than they walk: which, by how much, and the level and variance of long ago."""

    units: NDArray[np.intp]
    shift: Floats
    level: Floats
    variance: Floats


def creeping(layer: Layer, level: str, update: int, sound: Mask) -> Creep:
    """Units whose level is off that of many runs ago; ``sound``: (units,) to test.

    A unit that was known to be restless before walks farther. What it did since may be the creeping itself.
    """
    now, variance = layer.mean[:, LEVEL], layer.covariance[:, LEVEL, LEVEL]
    best = np.zeros(len(layer))
    which = np.full(len(layer), -1)
    past, restless = layer.past, np.minimum(layer.multiplier, SEEMS_RESTLESS)
    for k in _entries(past.update, update):
        walked = (layer.clock - past.clock[k])[layer.group] * np.maximum(past.multiplier[k], restless)
        # The later level was learned from the earlier one: what both share is no reason to differ.
        pull = (now - past.level[k]) / np.sqrt(walked + np.maximum(variance, past.variance[k]) + 1e-12)
        better = np.abs(pull) > np.abs(best)
        best, which = np.where(better, pull, best), np.where(better, k, which)
    far = sound & (np.abs(best) > CREEP[level]) & (which >= 0)
    units = np.flatnonzero(far)
    entry = which[units]
    shift = now[units] - past.level[entry, units]
    large = (np.abs(shift) > CREEP_SIZE[level]) & ((level != "channel") | (shift < 0) | (shift > CREEP_GAIN))
    units, entry, shift = units[large], entry[large], shift[large]
    return Creep(
        units, shift, past.level[entry, units].astype(np.float64), past.variance[entry, units].astype(np.float64)
    )


def _entries(updates: NDArray[np.int64], update: int) -> list[int]:
    """Entries of the past that are nearest to the ages that are looked at."""
    out: list[int] = []
    for age in CREEP_AGES:
        if len(updates) and update - updates[0] >= age // 2:
            k = int(np.abs(update - updates - age).argmin())
            if update - updates[k] >= CREEP_AGES[0] and k not in out:
                out.append(k)
    return out


def rolled_back(layer: Layer, creep: Creep) -> Layer:
    """The layer with the levels of long ago."""
    mean, covariance = layer.mean.copy(), layer.covariance.copy()
    mean[creep.units, LEVEL] = creep.level
    covariance[creep.units, LEVEL, :] = 0
    covariance[creep.units, :, LEVEL] = 0
    covariance[creep.units, LEVEL, LEVEL] = creep.variance
    return replace(layer, mean=mean, covariance=covariance)


def creep_findings(
    creep: Creep, level: str, name: str, part: SubdetectorState, run: int, first_number: int
) -> list[OpenFinding]:
    """An open finding for each unit that crept."""
    units, of = part.units(level), part.of(level)
    out = []
    for k, (unit, shift) in enumerate(zip(creep.units.tolist(), creep.shift.tolist(), strict=True)):
        rows = tuple(np.flatnonzero((of == unit) & part.live).tolist())
        identifier, named = f"{run}-{first_number + k}", str(LEVEL_NAMES[level])
        out.append(OpenFinding(identifier, name, named, units.names[unit], "creeping", shift, rows, run, run))
    return out
