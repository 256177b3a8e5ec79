"""A state and the runs of its era: where it begins, which of its versions judges a run, and what an update writes.

A run is judged by the version that knew nothing of it and of what came after it. The older that is, the less is known
of what channels do now: errors grow with age, and beyond a limit the verdict is not trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hcal_root_ad.conditions import UNKNOWN, RunFacts
from hcal_root_ad.detector import Subdetector
from hcal_root_ad.errors import ModelError, NoHcalError, StateError, UsageError
from hcal_root_ad.judge.run import TOGETHER
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.shared_pileup import LESS_SENSITIVE
from hcal_root_ad.judge.verdict import Trust, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import clean_runs, lumisections_of, name_of_clean_runs, shared_subdetectors
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CHANNEL_POWER, fit_reference
from hcal_root_ad.state.detector_state import LAYERS, DetectorState, Lesson, OpenFinding, SubdetectorState
from hcal_root_ad.state.guards import accept, close
from hcal_root_ad.state.history import Action, Input, StateStore, Update, Version
from hcal_root_ad.state.layers import Labels, Layer, new_layer
from hcal_root_ad.state.update import UpdateRecord, advance, changed, pileup_of
from hcal_root_ad.stats.binomial import Floats

OUTER = 24
"""|ieta| of HE from which on channels age: they walk by another width than those inside."""
WALK_SHARE = 0.25
"""Share of the variance between two runs that is thought to stay, until innovations tell."""
RING_WIDTH = 0.02
"""How far a ring may be off its clean runs, before anything is known of menus."""
DOSE_WIDTH = 0.02
"""Prior width of a ring's loss per inverse femtobarn."""
UNIT_POWER, RING_POWER = 0.002, 0.02
"""Prior widths of the power of a module, box or half beyond that of its channels, and of a ring."""
SUBDETECTOR_WIDTH = 0.03
"""How far one sub-detector may be off the others from run to run, until it is seen."""


def first_state(
    models: Sequence[Model], runs: Sequence[LumiMaps] = (), *, conditions: RunFacts = UNKNOWN
) -> DetectorState:
    """The state that models are, before any run; HF counts every event and has none.

    With ``runs`` (clean, of a wide range of pileup) levels and powers are fitted to them again, all at once.
    ``conditions``: of the clean runs.

    Raises:
        ModelError: no model is of a sub-detector that has a state.
        InputError: the runs hold too few events.
    """
    models = [model for model in models if model.subdetector in TOGETHER]
    if not models:
        raise ModelError("a detector state needs a model of HB, HE or HO; none was given")
    references = {model.subdetector: model.reference for model in models}
    lessons: tuple[Lesson, ...] = ()
    if runs:
        clean = clean_runs(runs)
        names = shared_subdetectors(clean)
        lumisections = lumisections_of(clean, names)
        name = name_of_clean_runs([run.maps.run for run in clean], [lumisections])
        fitted = fit_reference(lumisections, name=name)
        references |= {
            name: replace(fitted.select(name), widths=references[name].widths) for name in names if name in references
        }
        lessons = tuple(Lesson(run.maps.run, len(run), "clean run") for run in clean)
    parts = {model.subdetector: _part(model, references[model.subdetector], max(len(lessons), 1)) for model in models}
    return DetectorState(
        parts, lessons=lessons, conditions=conditions, dose=conditions.luminosity,
        menus=() if conditions.menu is None else (conditions.menu,),
        menu_runs=() if conditions.menu is None else (max(len(lessons), 1),),
    )  # fmt: skip


def _part(model: Model, reference: Reference, runs: int) -> SubdetectorState:
    return SubdetectorState(
        channels=reference.channels,
        live=reference.live,
        layers={level: _layer(level, reference, runs) for level in LAYERS},
        widths=reference.widths,
        overdispersion=reference.overdispersion,
        pileup_range=reference.pileup_range,
        spread=SUBDETECTOR_WIDTH**2,
        model=model.name,
        clean=reference.clean,
    )


def _layer(level: str, reference: Reference, runs: int) -> Layer:
    """One level; what is between two runs is walk and noise, and the noise of the clean runs is in the level."""
    if level == "channel":
        mean = np.stack([reference.level, reference.power], axis=1)
        group = channel_groups(reference)
        walk, noise = _shares(reference.widths.channel, int(group.max()) + 1)
        level_variance = reference.level_error**2 + noise[group] / runs
        return new_layer(mean, np.stack([level_variance, reference.power_error**2], axis=1), group, walk, noise)
    units = getattr(reference.tree, level)
    group = np.zeros(len(units), dtype=np.intp)
    width = RING_WIDTH if level == "ring" else getattr(reference.widths, level)
    walk, noise = _shares(width, 1)
    mean = np.zeros((len(units), 3 if level == "ring" else 2))
    variance = np.zeros_like(mean)
    variance[:, 0] = noise / runs
    live = np.bincount(units.of, reference.live, len(units))
    variance[:, 1] = CHANNEL_POWER**2 / np.maximum(live, 1) + UNIT_POWER**2
    if level == "ring":
        variance[:, 1], variance[:, 2] = RING_POWER**2, DOSE_WIDTH**2
    return new_layer(mean, variance, group, walk, noise)


def _shares(width: float, groups: int) -> tuple[Floats, Floats]:
    """(groups,) walk and noise from the width between two runs: one walk and the noise of both."""
    return np.full(groups, WALK_SHARE * width**2), np.full(groups, (1 - WALK_SHARE) / 2 * width**2)


def channel_groups(reference: Reference) -> Labels:
    """(channels,) groups that walk alike: of HE the inner and the outer one, which ages."""
    channels = reference.channels
    outer = (channels.subdetector == Subdetector.HE) & (np.abs(channels.ieta) >= OUTER)
    return np.asarray(outer, dtype=np.intp)


def sentence_on(finding: OpenFinding) -> str:
    """``370104-1: HEP07-RM2 degraded ×0.92, in 3 runs from 370104 to 370107``."""
    runs = f"in run {finding.first_run}" if finding.runs == 1 else (
        f"in {finding.runs} runs from {finding.first_run} to {finding.last_run}"
    )  # fmt: skip
    return f"{finding.identifier}: {finding.unit} {finding.kind} ×{np.exp(finding.size):.2f}, {runs}"


ConditionsSince = Callable[[int], RunFacts]
"""Conditions of a run, whose luminosity counts from the run that is given."""


@dataclass(frozen=True, eq=False)
class StateOfRun:
    """The version of a state that judges one run.

    Attributes:
        store: where it lies. version: which. state: what it says.
        run: the run. conditions: of the run, with how many runs the state missed, where that is known.
    """

    store: StateStore
    version: Version
    state: DetectorState
    run: int
    conditions: RunFacts

    @property
    def age(self) -> int:
        """Runs since the last that taught; 0 for a clean run with which the state was begun."""
        return 0 if self.is_clean else round(self.state.age(self.conditions))

    @property
    def digest(self) -> str:
        """SHA-256 of the version."""
        return self.version.update.version

    @property
    def is_clean(self) -> bool:
        return self.run in self.version.history.updates[0].runs

    @property
    def words(self) -> str:
        """Whose state it is, and how old.

        For example ``state of run 370105, 3 runs old``.
        """
        if not self.state.lessons:
            return f"state of {', '.join(part.model for part in self.state.subdetectors.values())}, no run learned yet"
        whose = f"state of run {self.state.last_run}"
        if self.is_clean:
            return f"{whose}, which was begun with this run"
        facts, before = self.conditions, self.state.conditions.day
        known = any(fact is not None for fact in (facts.missed, facts.luminosity, facts.day))
        days = None if facts.day is None or before is None else round(abs(facts.day - before))
        age = f"{self.age} run{'s' if self.age > 1 else ''}"
        age += "" if days is None else f" and {days} day{'s' if days != 1 else ''}"
        return f"{whose}, {'' if known else 'at least '}{age} old"

    def is_only_old(self, verdict: Verdict) -> bool:
        """Whether a verdict is not trusted because the state is old, and not because the detector is another."""
        if verdict.trust is not Trust.OTHER_PERIOD or verdict.subdetector not in self.state.subdetectors:
            return False
        vagueness = self.state.vagueness(verdict.subdetector, self.conditions, pileup_of(verdict))
        return verdict.sensitivity <= LESS_SENSITIVE * vagueness

    @cached_property
    def has_learned(self) -> bool:
        """Whether the state learned the run, or was begun with it."""
        history = self.version.history
        return self.run in history.learned(history.last(self.backwards))

    @property
    def backwards(self) -> bool:
        return self.run < self.version.history.start

    @property
    def may_learn(self) -> bool:
        """Whether the run is the next in order: the state has learned neither it nor one beyond it."""
        history = self.version.history
        return not self.has_learned and next(history.before(self.run)).number == history.last(self.backwards).number

    @property
    def reached(self) -> int:
        """The run up to which the state has learned by now, on this run's side of the clean ones."""
        history = self.version.history
        return history.reached(history.last(self.backwards))

    def judged(self, verdict: RunVerdict) -> RunVerdict:
        """A verdict by this state with what that means for trust in it."""
        parts = (self._judged(one) if one.subdetector in self.state.subdetectors else one for one in verdict.verdicts)
        known = tuple(sentence_on(finding) for finding in self.state.findings)
        return replace(verdict, verdicts=tuple(parts), open_findings=known)

    def _judged(self, verdict: Verdict) -> Verdict:
        if verdict.trust is Trust.ADAPTED:
            return replace(verdict, trust=Trust.STATE, trust_reason=self.words)
        if self.is_only_old(verdict):
            reason = (
                f"{self.words}, so faults must be {verdict.sensitivity:.1f} times as large to be seen; let it learn "
                "from the runs in between, or from this one"
            )
            return replace(verdict, trust=Trust.OLD_STATE, trust_reason=reason)
        if verdict.trust is Trust.OTHER_PERIOD and verdict.sensitivity > LESS_SENSITIVE:
            reason = f"{self.words}, and {changed(verdict.sensitivity)}"
            return replace(verdict, trust_reason=reason)
        return replace(verdict, trust_reason="; ".join(filter(None, (self.words, verdict.trust_reason))))


def state_of_run(
    stores: Sequence[StateStore], run: int, conditions_since: ConditionsSince, taken: Collection[int] = ()
) -> StateOfRun:
    """The version that judges a run, of the first state that fits it.

    ``taken``: numbers of runs that were taken, as far as they are known, to count those that the state missed.

    Raises:
        NoHcalError: no state fits the run's field or kind of events. StateError: one is missing or damaged.
    """
    misfits = []
    for store in stores:
        version = store.read(lambda history: history.newest_whole(history.before(run)))
        history, state = version.history, DetectorState.from_arrays(version.arrays)
        conditions = conditions_since(history.start)
        if not (misfit := state.misfit(conditions)):
            conditions = replace(conditions, missed=history.missed(version.update, run, taken))
            return StateOfRun(store, version, state, run, conditions)
        misfits.append(misfit)
    raise NoHcalError(f"run {run}: {'; '.join(misfits)}; not assessed without a state that fits")


def begin(
    store: StateStore,
    models: Sequence[Model],
    runs: Sequence[LumiMaps],
    say: Callable[[str], None],
    conditions: RunFacts = UNKNOWN,
) -> None:
    """Begin a state with clean runs, or with what models say alone. ``say``: see :meth:`StateStore.alone`.

    Raises:
        StateError: there is one already. ModelError, InputError: see :func:`first_state`.
    """
    _check_new(store)
    state = first_state(models, runs, conditions=conditions)
    record = {
        "models": {model.subdetector: {"name": model.name, "digest": model.digest} for model in models},
        "conditions": asdict(conditions),
        "lumisections": {str(lesson.run): lesson.lumisections for lesson in state.lessons},
    }
    numbers = tuple(sorted(maps.run for maps in runs))
    update = Update(0, -1, False, Action.BEGUN, numbers, record=record, inputs=_inputs(runs))
    with store.alone(say):
        _check_new(store)  # another process may have begun it meanwhile
        store.add(state.to_arrays(), update)


def _check_new(store: StateStore) -> None:
    if store.exists:
        raise StateError(f"{store.folder} holds a state already; give it runs with --with, or choose another folder.")


def learn(chosen: StateOfRun, verdict: RunVerdict, reason: str = "") -> UpdateRecord:
    """Teach the state a run that was judged by it; within :meth:`StateStore.alone`, since it was chosen.

    ``reason``: a person's word that all channels were changed, and are healthy as they are now. Where nothing of the
    run is trusted, nothing is written; the record says why.
    """
    if not chosen.may_learn:
        raise ValueError(f"run {chosen.run} is not the next in order")
    state, record = advance(chosen.state, verdict, conditions=chosen.conditions, confirmed=bool(reason))
    if record.lumisections:
        chosen.store.add(
            state.to_arrays(),
            Update(0, chosen.version.update.number, chosen.backwards, Action.LEARNED, (chosen.run,),
                   reason=reason, record=_table(record), inputs=_inputs([verdict.maps])),
        )  # fmt: skip
    return record


def decide(store: StateStore, action: Action, identifier: str, reason: str) -> OpenFinding:
    """Take a person's word on an open finding: an accepted change, or closed; within :meth:`StateStore.alone`.

    Raises:
        UsageError: no such finding is open. StateError: the state is missing or damaged.
    """
    every = [(backwards, finding) for backwards, finding in open_findings(store) if finding.identifier == identifier]
    if not every:
        known = ", ".join(finding.identifier for _, finding in open_findings(store)) or "none"
        raise UsageError(f"{store.folder} has no open finding {identifier}; open are {known}.")
    backwards, finding = every[0]
    last = store.history().last(backwards)
    state = DetectorState.from_arrays(store.read(lambda _: last).arrays)
    state = accept(state, identifier) if action is Action.ACCEPTED else close(state, identifier)
    update = Update(0, last.number, backwards, action, (), identifier, reason, {"finding": asdict(finding)})
    store.add(state.to_arrays(), update)
    return finding


def open_findings(store: StateStore) -> tuple[tuple[bool, OpenFinding], ...]:
    """Open findings of a state, each with whether it belongs to the runs before the clean ones."""
    history = store.history()
    lasts = {backwards: history.last(backwards) for backwards in (False, True)}
    out: list[tuple[bool, OpenFinding]] = []
    for backwards, last in lasts.items():
        if last.backwards == backwards:
            state = DetectorState.from_arrays(store.read(lambda now: now.last(backwards)).arrays)  # noqa: B023
            out += [(backwards, finding) for finding in state.findings]
    return tuple(out)


def _inputs(runs: Sequence[LumiMaps]) -> tuple[Input, ...]:
    return tuple(dict.fromkeys(Input(source.name, source.sha256) for maps in runs for source in maps.sources))


def _table(record: UpdateRecord) -> Mapping[str, Any]:
    return {key: value for key, value in asdict(record).items() if key != "run"}
