"""The main job, once: models and runs in, verdicts and where they come from out.

``run``, ``watch``, ``certify``, ``report`` and Python all judge by :class:`Judging`, so the same file and the same
models give the same verdict through every door.

::

    judging = Judging(load_models())
    verdict = judging.judge(maps)
    provenance = judging.provenance("run", [verdict])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.conditions import COLLISIONS, COSMICS, IONS, UNKNOWN, RunFacts
from hcal_root_ad.errors import ModelError
from hcal_root_ad.files import plain_name
from hcal_root_ad.judge.run import Progress, RunJudge
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, check_asked, load_model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.provenance import (
    Material,
    Option,
    Provenance,
    model_material,
    provenance_of_maps,
    reference_material,
    trust_in,
)
from hcal_root_ad.references import ReferenceEntry, fitting_reference, trigger_of

if TYPE_CHECKING:
    from hcal_root_ad.mask import Mask
    from hcal_root_ad.references import NamedReference
    from hcal_root_ad.state.detector_state import DetectorState
    from hcal_root_ad.state.era import ConditionsSince, StateOfRun
    from hcal_root_ad.state.history import StateStore

SHIPPED_MODELS = ("hb-graphstad-from-he", "he-graphstad", "ho", "hf")
"""Who judges HB, HE, HO and HF where no model is named; the judge takes those that the run needs."""

Fitting = Callable[[LumiMaps], "NamedReference | None"]


Named = Model | str | PathLike[str]
"""A model, its name, or its folder."""


def load_models(given: Named | Iterable[Named] | None = None) -> tuple[Model, ...]:
    """The models that are given, one or several, loaded where they are named; the shipped ones if none is given.

    Raises:
        ModelError: one is missing or damaged, or two are for the same sub-detector.
    """
    models: dict[tuple[str, str], Model] = {}
    for name in [given] if isinstance(given, Model | str | PathLike) else given or SHIPPED_MODELS:
        model = name if isinstance(name, Model) else load_model(fspath(name))
        place = model.subdetector, model.channels.era.value
        if place in models:
            raise ModelError(
                f"{models[place].name} and {model.name} are both models for {model.subdetector}; give one of them"
            )
        models[place] = model
    return tuple(models.values())


def kind_of_events(dataset: str) -> str | None:
    """``cosmics``, ``ions`` or ``collisions``, by the name of a primary dataset; None without one."""
    if not dataset:
        return None
    if dataset.startswith("Cosmic"):
        return COSMICS
    return IONS if dataset.startswith("HI") else COLLISIONS


@dataclass(frozen=True, eq=False)
class Judging:
    """What runs are judged with.

    Attributes:
        models: one per sub-detector and era.
        false_alarms: false findings per 100 LS and sub-detector that are asked for; the models' own if None.
        without_reference: judge each run against itself, on request only: no verdict is then trusted.
        state: what the detector does today; it stands in for the references of the models.
        states: stored states; each run is judged by the first that fits it, as it was before the run.
        taken: numbers of runs that were taken, as far as they are known, to count those that a state missed.
        chosen: the version of a stored state that judges one run (see :meth:`for_run`).
        mask: channels that are not judged.
        fitting: finds the reference run of a detector that no model knows.
        references: those that were looked up, by run. used: versions of stored states that judged, by run.

    Raises:
        UsageError: so many false findings cannot be asked for.
    """

    models: tuple[Model, ...]
    false_alarms: float | None = None
    without_reference: bool = False
    mask: Mask | None = None
    fitting: Fitting = fitting_reference
    references: dict[int, ReferenceEntry] = field(default_factory=dict)
    state: DetectorState | None = None
    states: tuple[StateStore, ...] = ()
    taken: frozenset[int] = frozenset()
    chosen: StateOfRun | None = None
    used: dict[int, StateOfRun] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.false_alarms is not None:
            check_asked(self.false_alarms)

    def run_judge(self, pileup: Mapping[int, float] | None = None, conditions: RunFacts = UNKNOWN) -> RunJudge:
        """A judge of one run, to which lumisections can be added as they come.

        ``pileup`` by LS, where OMS gives it; ``conditions`` of the run, for the state.
        """
        conditions = self.chosen.conditions if self.chosen else conditions
        models = self.state.informed(self.models, conditions) if self.state else self.models
        return RunJudge(
            models, self.false_alarms, self._reference, without_reference=self.without_reference, pileup=pileup,
            find_masked=self._masked if self.mask else None,
        )  # fmt: skip

    def judge(
        self,
        maps: LumiMaps,
        progress: Progress | None = None,
        pileup: Mapping[int, float] | None = None,
        conditions: RunFacts = UNKNOWN,
    ) -> RunVerdict:
        """The verdict on a run; ``pileup`` by LS, where OMS gives it, ``conditions`` of the run, for the state.

        Raises:
            ModelError, NoHcalError: see :func:`~hcal_root_ad.judge.run.judge_run`.
            CatalogueError: a reference run was looked up, and its catalogue is wrong or damaged.
        """
        own = self.for_run(maps, lambda _: conditions)
        return own.finished(own.judge_run(maps, progress, pileup, conditions))

    def for_run(self, maps: LumiMaps, conditions_since: ConditionsSince = lambda _: UNKNOWN) -> Judging:
        """The same for one run: with the version of the stored states that judges it, if there are any.

        The name of the run's files says what events they hold, where its conditions do not.

        Raises:
            NoHcalError: no state fits the run. StateError: one is missing or damaged.
        """
        if not self.states:
            return self

        from hcal_root_ad.state.era import state_of_run  # without a state nothing of it is imported

        def known(start: int) -> RunFacts:
            conditions = conditions_since(start)
            events = conditions.trigger or kind_of_events(trigger_of(maps))
            return replace(conditions, trigger=events)

        chosen = state_of_run(self.states, maps.run, known, self.taken)
        self.used[maps.run] = chosen
        return replace(self, states=(), state=chosen.state, chosen=chosen)

    def judge_run(
        self,
        maps: LumiMaps,
        progress: Progress | None = None,
        pileup: Mapping[int, float] | None = None,
        conditions: RunFacts = UNKNOWN,
    ) -> RunVerdict:
        """The verdict without what is said at its end: see :meth:`finished`. Of this a state learns."""
        judge = self.run_judge(pileup, conditions)
        judge.add(maps, progress)
        return self.without_masked(judge.verdict())

    def _masked(self, maps: LumiMaps) -> NDArray[np.intp]:
        """Rows of the channels that are masked in a run."""
        assert self.mask is not None
        return self.mask.rows(maps.channels, maps.run)

    def without_masked(self, verdict: RunVerdict) -> RunVerdict:
        """A verdict of :meth:`run_judge` without the channels that are masked."""
        if not self.mask:
            return verdict
        from hcal_root_ad.mask import masked

        return masked(verdict, self.mask)

    def finished(self, verdict: RunVerdict) -> RunVerdict:
        """The verdict with what the age of its state means for trust in it."""
        return self.chosen.judged(verdict) if self.chosen else verdict

    def _reference(self, maps: LumiMaps) -> Mapping[str, Reference]:
        named = self.fitting(maps)
        if named is None:
            return {}
        self.references[maps.run] = named.entry
        return {name: rates.reference for name, rates in named.rates.items()}

    def provenance(
        self, verb: str, verdicts: Iterable[RunVerdict], options: Mapping[str, Option | None] | None = None
    ) -> Provenance:
        """Where verdicts come from: inputs, definitions, models, reference runs, options and trust."""
        verdicts = list(verdicts)
        return self.provenance_of([verdict.maps for verdict in verdicts], verb, options, trust_in(verdicts))

    def provenance_of(
        self,
        runs: Sequence[LumiMaps],
        verb: str,
        options: Mapping[str, Option | None] | None = None,
        trust: Mapping[str, str] | None = None,
    ) -> Provenance:
        """The same for runs without a verdict."""
        looked_up = dict.fromkeys(reference_material(self.references[m.run]) for m in runs if m.run in self.references)
        own = {"false_alarms": self.false_alarms, "without_reference": self.without_reference}
        masks = [Material("mask", self.mask.name, self.mask.sha256)] if self.mask else []
        chosen = [self.used[maps.run] for maps in runs if maps.run in self.used]
        states = [Material("state", plain_name(state.store.folder.resolve().name), state.digest) for state in chosen]
        materials = [*map(model_material, self.models), *looked_up, *masks, *dict.fromkeys(states)]
        return provenance_of_maps(verb, runs, materials, {**own, **(options or {})}, trust)
