"""Who judges an era: a fixed model, a model refitted on the last good run, the detector state, and an oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.conditions import UNKNOWN
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import clean_runs, lumisections_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import fit_reference
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.state.detector_state import DetectorState, OpenFinding
from hcal_root_ad.state.era import first_state
from hcal_root_ad.state.guards import ALL_GUARDS, Guards, accept
from hcal_root_ad.state.update import ALL_MOVED, UpdateRecord, advance
from studies.era.world import Era, EraRun

NAMES = ("HB", "HE")
TOGETHER = 3
"""Lumisections that are summed for a refit: rates are as well known, and it takes a third of the time."""
GOOD = 0.02
"""A run with a smaller share of flagged cells is good."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Line:
    """What a person reads: channels, from which to which LS (rows), and whether it was open before the run."""

    rows: NDArray[np.intp]
    inside: Mask
    known: bool
    unit: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What a system says of a run.

    Attributes:
        lines: findings. flagged: (LS, channels).
        reference: (channels,) log rate at u = 0 by which the next run is judged; None for the oracle.
        trust: in words. questions: findings that a person was asked about.
        record: of the update of a state. confirmed: whether a person said that all channels were changed.
    """

    lines: tuple[Line, ...]
    flagged: Mask
    reference: NDArray[np.floating] | None
    trust: str
    questions: tuple[OpenFinding, ...] = ()
    record: UpdateRecord | None = None
    confirmed: bool = False


class System(Protocol):
    """Judges the runs of an era in order; the first one is clean and judged by nobody."""

    def judge(self, run: EraRun) -> Answer:
        """The answer on the next run."""
        ...


def fitted(maps: LumiMaps) -> Reference:
    """The reference of one run, neighbouring LS summed."""
    n = len(maps) // TOGETHER * TOGETHER
    counts = maps.counts[:n].reshape(-1, TOGETHER, len(maps.channels)).sum(axis=1, dtype=np.int32)
    events = maps.events[:n].reshape(-1, TOGETHER).sum(axis=1)
    summed = replace(
        maps.rows(slice(0, n // TOGETHER)), counts=counts, events=events,
        lumisections=np.arange(1, n // TOGETHER + 1, dtype=np.int32),
    )  # fmt: skip
    clean = clean_runs([summed])
    return fit_reference(lumisections_of(clean, NAMES), name=f"run {maps.run}")


def models_of(reference: Reference) -> tuple[Model, ...]:
    """A model of each sub-detector."""
    return tuple(Model(f"era-{name.lower()}", name, reference.select(name)) for name in NAMES)


def _lines(verdict: RunVerdict, known: tuple[OpenFinding, ...]) -> list[Line]:
    maps, out = verdict.maps, []
    for finding in verdict.findings:
        columns = maps.channels.rows_of(finding.subdetector)[list(finding.rows)]
        inside = np.zeros(len(maps), dtype=bool)
        for first, last in finding.ranges:
            inside |= (maps.lumisections >= first) & (maps.lumisections <= last)
        mine = set(finding.rows)
        old = any(
            k.subdetector == finding.subdetector and 2 * len(mine & set(k.rows)) > len(mine)
            and (k.size > 0) == (finding.size > 1)
            for k in known
        )  # fmt: skip
        out.append(Line(columns, inside, old, finding.unit))
    return out


def _flagged(verdict: RunVerdict) -> Mask:
    flagged = np.zeros(verdict.maps.counts.shape, dtype=bool)
    for judged in verdict.verdicts:
        flagged[:, verdict.maps.channels.rows_of(judged.subdetector)] = judged.states >= State.PROBLEMATIC
    return flagged


@dataclass(eq=False)
class Models:
    """A fixed model, or (``refit``) one that is made again of the last good run.

    What was named in a good run keeps its reference, which is more than is done as a rule.
    """

    refit: bool
    reference: Reference | None = None

    def judge(self, run: EraRun) -> Answer:
        if self.reference is None:
            self.reference = fitted(run.maps)
            return Answer((), np.zeros(run.maps.counts.shape, dtype=bool), self.reference.level, "clean run")
        verdict = Judging(models_of(self.reference), mask=run.mask).judge(run.maps)
        flagged = _flagged(verdict)
        if self.refit and verdict.trust.trusted and flagged.mean() < GOOD:
            new = fitted(run.maps)
            named = flagged.any(axis=0) | ~new.live
            self.reference = replace(
                new, live=self.reference.live | new.live,
                **{key: np.where(named, getattr(self.reference, key), getattr(new, key))
                   for key in ("level", "level_error", "power", "power_error")},
            )  # fmt: skip
        return Answer(tuple(_lines(verdict, ())), flagged, self.reference.level, str(verdict.trust))


@dataclass(eq=False)
class Filter:
    """The detector state; ``conditions``: whether it is told the trigger menu and the luminosity.

    A person who is asked answers with the truth.
    """

    era: Era
    guards: Guards = ALL_GUARDS
    conditions: bool = False
    models: tuple[Model, ...] = ()
    state: DetectorState = field(default_factory=lambda: DetectorState({}))

    def judge(self, run: EraRun) -> Answer:
        conditions = run.conditions if self.conditions else UNKNOWN
        if not self.models:
            self.models = models_of(fitted(run.maps))
            self.state = first_state(self.models, conditions=conditions)
            return Answer((), np.zeros(run.maps.counts.shape, dtype=bool), self._level(), "clean run")
        known = self.state.findings
        verdict = Judging(self.models, state=self.state, mask=run.mask).judge(run.maps, conditions=conditions)
        lines, flagged, confirmed = _lines(verdict, known), _flagged(verdict), False
        after, record = advance(self.state, verdict, conditions=conditions, guards=self.guards)
        if any(
            why.startswith(ALL_MOVED) for why in record.refused.values()
        ):  # no fault of this study moves all channels
            after, record = advance(self.state, verdict, conditions=conditions, guards=self.guards, confirmed=True)
            confirmed = True
        self.state = after
        named = {(f.subdetector, row) for f in verdict.findings for row in f.rows}
        for finding in (*record.still, *record.crept):
            rows = run.maps.channels.rows_of(finding.subdetector)[list(finding.rows)]
            mine = {(finding.subdetector, row) for row in finding.rows}
            if 2 * len(mine & named) <= len(mine):
                everywhere = np.ones(len(run.maps), dtype=bool)
                lines.append(Line(rows, everywhere, finding in record.still, finding.unit))
            flagged[:, rows] = True
        for question in record.asked:
            if not self._is_fault(question, run):
                self.state = accept(self.state, question.identifier)
        return Answer(tuple(lines), flagged, self._level(), str(verdict.trust), record.asked, record, confirmed)

    def _is_fault(self, finding: OpenFinding, run: EraRun) -> bool:
        """Whether a fault of the finding's sign is there at the end of the run."""
        rows = run.maps.channels.rows_of(finding.subdetector)[list(finding.rows)]
        factor = run.factor[-1, rows]
        return bool((factor < 1 if finding.sign < 0 else factor > 1).mean() > 0.5)

    def _level(self) -> NDArray[np.floating]:
        return np.concatenate([self.state.reference(name).level for name in NAMES])


@dataclass(eq=False)
class Oracle:
    """Knows the healthy rates of every run."""

    era: Era

    def judge(self, run: EraRun) -> Answer:
        from studies.stress.oracle import judge_by_rates

        if run.index == 0:
            return Answer((), np.zeros(run.maps.counts.shape, dtype=bool), None, "the true rates")
        judged = judge_by_rates(run.maps, run.rates.astype(np.float64), 0.5)
        lines = []
        for line in judged.lines:
            inside = np.zeros(len(run.maps), dtype=bool)
            for first, last in line.ranges:
                inside |= (run.maps.lumisections >= first) & (run.maps.lumisections <= last)
            lines.append(Line(np.array(line.rows), inside, False, line.unit))
        return Answer(tuple(lines), judged.flagged, None, judged.trust)


SYSTEMS: dict[str, Callable[[Era], System]] = {
    "fixed model": lambda era: Models(refit=False),  # noqa: ARG005
    "refit on the last good run": lambda era: Models(refit=True),  # noqa: ARG005
    "state": Filter,
    "state, menu and luminosity given": lambda era: Filter(era, conditions=True),
    "oracle": Oracle,
    "state without the creep test": lambda era: Filter(era, Guards(creep=False)),
    "state without the gate": lambda era: Filter(era, Guards(gate=False)),
    "state without open findings": lambda era: Filter(era, Guards(findings=False)),
    "state without guards": lambda era: Filter(era, Guards(findings=False, gate=False, creep=False)),
}
