"""``advance``: a state after one more run, and a record of what was learned, frozen, opened, closed and rolled back.

::

    state = first_state(models)
    for maps in runs:
        verdict = Judging(models, state=state).judge(maps)
        state, record = advance(state, verdict)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from hcal_root_ad.conditions import UNKNOWN, RunFacts
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.shared_pileup import LESS_SENSITIVE
from hcal_root_ad.judge.verdict import Level, Measurement, Trust, Verdict
from hcal_root_ad.model.reference import Overdispersion
from hcal_root_ad.state.detector_state import LAYERS, DetectorState, Lesson, OpenFinding, SubdetectorState
from hcal_root_ad.state.guards import (
    ALL_GUARDS,
    Guards,
    creep_findings,
    creeping,
    follow_findings,
    gate,
    lined,
    moved_with_all,
    released,
    rolled_back,
    silent,
)
from hcal_root_ad.state.layers import DOSE, LEVEL, POWER, Innovation, Layer, Mask, innovation, learn, predict
from hcal_root_ad.stats.binomial import Floats, log_rate

SPREAD_MEMORY, PRIOR_RUNS = 12.0, 2.0
"""Runs over which the shift of a sub-detector against the others is averaged, and what the first guess counts."""
LEAST_SPREAD = 0.004**2
OVERDISPERSION_MEMORY = 10.0
LEAST_DIGIS = 50
"""A channel that was not live begins with so many digis in a run."""
MENU_WIDTH = 0.08
"""Prior width of a ring's shift under another trigger menu."""
UNCLEAR = 0.01**2
"""Positions that are less sure because of their power tell nothing of widths."""
FIRST_ERROR = 0.02
"""Least error of the level of a channel that was met for the first time."""


ALL_MOVED = "it is another than the state knows"
"""Why nothing was learned where a person may say that all channels were changed, and are healthy."""


@dataclass(frozen=True)
class UpdateRecord:
    """What an update did, in plain words and numbers.

    Attributes:
        run, trust: of the verdict. conditions: of the run.
        lumisections: LS that taught, by sub-detector; empty where nothing did.
        learned, frozen: how many units were learned, and how many were measured but not, by sub-detector and level.
        opened, closed, asked: findings. crept: those that the state itself opened, and whose levels it rolled back.
        still: open findings that were measured and are there still.
        appeared: channels that were met for the first time, by name.
        settings: variance of a change of settings that was recognised, by sub-detector, level and group.
        widths: standard deviations of walk and noise by sub-detector, level and group.
        refused: why nothing was learned, by sub-detector.
    """

    run: int
    trust: str
    conditions: RunFacts = UNKNOWN
    lumisections: Mapping[str, int] = field(default_factory=dict)
    learned: Mapping[str, int] = field(default_factory=dict)
    frozen: Mapping[str, int] = field(default_factory=dict)
    opened: tuple[OpenFinding, ...] = ()
    closed: tuple[OpenFinding, ...] = ()
    asked: tuple[OpenFinding, ...] = ()
    crept: tuple[OpenFinding, ...] = ()
    still: tuple[OpenFinding, ...] = ()
    appeared: tuple[str, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    widths: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentences(self) -> tuple[str, ...]:
        """For people."""
        out = [f"{name}: nothing learned, {why}" for name, why in self.refused.items()]
        out += [f"{name}: learned from {count} LS" for name, count in self.lumisections.items()]
        for key, factor in self.settings.items():
            out.append(f"{key}: the settings changed, every unit may have moved by {100 * np.sqrt(factor):.1f} %")
        for word, findings in (
            ("opened", self.opened), ("creeping, set back to the level of before", self.crept), ("closed", self.closed),
            ("a fault, or an accepted change?", self.asked),
        ):  # fmt: skip
            out += [f"{word}: {f.identifier} {f.unit} ×{np.exp(f.size):.2f}" for f in findings]
        if self.appeared:
            out.append(f"{len(self.appeared)} channels met for the first time")
        return tuple(out)


class Advance(NamedTuple):
    """A state after a run, and what happened."""

    state: DetectorState
    record: UpdateRecord


class _Notes:
    """Gathers what becomes the record; ``findings`` and new channels by field."""

    def __init__(self) -> None:
        self.lists = defaultdict[str, list[Any]](list)
        self.learned, self.frozen, self.settings = dict[str, int](), dict[str, int](), dict[str, float]()

    @property
    def number(self) -> int:
        """Of the next finding of this run."""
        return len(self.lists["opened"]) + len(self.lists["crept"]) + 1


def advance(
    state: DetectorState, verdict: RunVerdict, *, conditions: RunFacts = UNKNOWN, guards: Guards = ALL_GUARDS,
    confirmed: bool = False,
) -> Advance:  # fmt: skip
    """The state after a run that was judged with it.

    Sub-detectors whose verdict is not trusted teach nothing, nor does a run of another field or trigger. Order matters:
    runs come as they were taken (or all backwards). ``confirmed``: a person says that channels that scatter more than
    the state can explain were changed, and are healthy as they are.
    """
    run, trust = verdict.maps.run, str(verdict.trust)
    verdicts = {v.subdetector: v for v in verdict.verdicts if v.subdetector in state.subdetectors}
    reasons = {name: state.misfit(conditions) or _refusal(name, verdicts.get(name), state, conditions, confirmed)
               for name in state.subdetectors}  # fmt: skip
    refused = {name: why for name, why in reasons.items() if why}
    if len(refused) == len(state.subdetectors):
        return Advance(state, UpdateRecord(run, trust, conditions, refused=refused))
    age = state.age(conditions)
    state = _with_conditions(state, conditions)
    # A sub-detector at fault takes the pileup along, and with it the rings of all others.
    shared = not any(finding.level is Level.SUBDETECTOR for finding in verdict.findings)
    notes = _Notes()
    parts, findings = dict(state.subdetectors), state.findings
    for name in parts:
        if name not in refused:
            step = _Step(name, verdicts[name], conditions, age, run, guards, shared)
            parts[name], findings = _subdetector(state, step, findings, notes)
    measured = {name: verdicts[name].measured for name in parts if name not in refused}
    used = {name: sums.lumisections for name, sums in measured.items() if sums is not None}
    lesson = Lesson(run, max(used.values()), trust)
    state = replace(
        state, subdetectors=parts, findings=findings, lessons=(*state.lessons, lesson), update=state.update + 1,
        conditions=_merged(state.conditions, conditions),
    )  # fmt: skip
    widths = {
        f"{name} {level} {g}": (float(np.sqrt(layer.walk[g])), float(np.sqrt(layer.noise[g])))
        for name, part in parts.items()
        for level, layer in part.layers.items()
        for g in range(len(layer.walk))
    }
    lists = {key: tuple(values) for key, values in notes.lists.items()}
    record = UpdateRecord(
        run, trust, conditions, used, notes.learned, notes.frozen, settings=notes.settings, widths=widths,
        refused=refused, **lists,
    )  # fmt: skip
    return Advance(state, record)


def pileup_of(verdict: Verdict) -> float:
    """Mean log pileup of a judged run against the clean ones; 0 where it was not measured."""
    return verdict.measured.log_pileup[1] if verdict.measured else 0.0


def changed(scatter: float) -> str:
    """What is said where channels scatter more than a state can explain."""
    return (
        f"its channels scatter {scatter:.1f} times as much as health allows; if all were changed, and are healthy as "
        "they are, say so: adapt STATE --with RUN --reason TEXT"
    )


def _refusal(name: str, verdict: Verdict | None, state: DetectorState, conditions: RunFacts, confirmed: bool) -> str:
    """Why a sub-detector teaches nothing; "" if it does."""
    if verdict is None:
        return "it was not judged"
    scatters = verdict.trust is Trust.OTHER_PERIOD and verdict.sensitivity > LESS_SENSITIVE
    if scatters and not confirmed:
        # What is known too little to be certified by may still be learned from: that is how it becomes known.
        if verdict.sensitivity > LESS_SENSITIVE * state.vagueness(name, conditions, pileup_of(verdict)):
            return f"{ALL_MOVED}: {changed(verdict.sensitivity)}"
    elif not verdict.trust.trusted and not scatters:
        return f"the verdict rests on {verdict.trust}" + (f" ({verdict.trust_reason})" if verdict.trust_reason else "")
    if verdict.measured is None:
        if any(finding.level is Level.SUBDETECTOR for finding in verdict.findings):
            return "it is at fault as a whole"
        return "it was not judged by a detector state" if verdict.assessed.any() else "no LS was assessed"
    return ""


def _merged(before: RunFacts, now: RunFacts) -> RunFacts:
    """What is known of the latest run, and of those before where it says nothing."""
    known = {key: value for key, value in asdict(now).items() if value is not None}
    return replace(before, **known)


def _with_conditions(state: DetectorState, conditions: RunFacts) -> DetectorState:
    """The state with the run's menu among those known, and with what is typical from run to run."""
    menus, runs = list(state.menus), list(state.menu_runs)
    if conditions.menu is not None:
        if conditions.menu not in menus:
            menus.append(conditions.menu)
            runs.append(0)
        runs[menus.index(conditions.menu)] += 1
    before = state.conditions
    dose = conditions.luminosity if state.dose is None else state.dose
    pace = _typical(state.pace, before.luminosity, conditions.luminosity)
    interval = _typical(state.interval, before.day, conditions.day)
    terms = DOSE + max(1, len(menus))
    parts = {
        name: replace(part, layers={**part.layers, "ring": part.layers["ring"].with_terms(terms, MENU_WIDTH)})
        for name, part in state.subdetectors.items()
    }
    return replace(
        state, subdetectors=parts, menus=tuple(menus), menu_runs=tuple(runs), dose=dose, pace=pace, interval=interval
    )


def _typical(typical: float | None, before: float | None, now: float | None) -> float | None:
    """What is typical from run to run, after one more; a long gap counts little."""
    if before is None or now is None or before == now:
        return typical
    step = abs(now - before)
    return step if typical is None else min(0.9 * typical + 0.1 * step, 2 * typical)


class _Step(NamedTuple):
    """One run for one sub-detector; ``shared``: whether the pileup is that of all sub-detectors."""

    name: str
    verdict: Verdict
    conditions: RunFacts
    age: float
    run: int
    guards: Guards
    shared: bool


def _subdetector(
    state: DetectorState, step: _Step, findings: tuple[OpenFinding, ...], notes: _Notes
) -> tuple[SubdetectorState, tuple[OpenFinding, ...]]:
    """One sub-detector after a run, and the open findings of all."""
    name, verdict, conditions, age, run, guards, shared = step
    part, measured = state.subdetectors[name], verdict.measured
    assert measured is not None
    frozen = state.frozen(name) if guards.findings else lined(part, ())
    layers = {level: predict(layer, age, frozen[level]) for level, layer in part.layers.items()}
    place = {level: state.place(conditions, layer.terms) for level, layer in layers.items()}
    off: dict[str, Innovation] = {}
    excess: dict[str, Floats] = {}
    for level in LAYERS:
        if level == "half":  # boxes that all moved took their sides along
            share = len(layers["half"]) / len(layers["box"])
            layers[level] = layers[level].with_settings(share * excess["box"])
        off[level] = innovation(layers[level], measured.sums[level], place[level])
        excess[level] = layers[level].changed_settings(off[level], level, ~frozen[level])
        if excess[level].any():
            layers[level] = layers[level].with_settings(excess[level])
            off[level] = innovation(layers[level], measured.sums[level], place[level])
            notes.settings |= {f"{name} {level} {g}": float(x) for g, x in enumerate(excess[level]) if x > 0}
    moved = {level for level in LAYERS if excess[level].any()}
    lines = tuple(finding for finding in verdict.findings if not moved_with_all(finding, part, off, moved))
    verdict, line = replace(verdict, findings=lines), lined(part, lines)
    if guards.findings:
        changes = follow_findings(findings, name, part, verdict, off, run, notes.number)
        findings = changes.open
        notes.lists["opened"] += changes.opened
        notes.lists["closed"] += changes.closed
        notes.lists["asked"] += changes.asked
        there = [f for f in findings if f.subdetector == name and f.last_run == run]
        notes.lists["still"] += [f for f in there if f not in changes.opened]
        touched = replace(state, findings=findings).frozen(name)
        for finding in changes.closed:
            layers = released(layers, part, finding, touched)
        frozen = {level: mask | touched[level] for level, mask in frozen.items()}
    update = state.update + 1
    for level in LAYERS:
        layer, measurable = layers[level], off[level].measured
        use = ~line[level] & ~frozen[level]
        if level == "channel":
            use &= ~silent(off[level], measured.digis)
        if level in ("ring", "half"):
            use &= shared
        if level == "half":  # what one side loses looks like a gain of the other
            use &= use.all()
        sound = use.copy()  # what the gate holds back tells of the widths
        if guards.gate and not (level == "half" and excess["box"].any()):
            layer, open_gate = gate(layer, off[level])
            use &= open_gate
        if level == "ring":  # what no one knows of the conditions moves all of them alike
            sound = use
        if level == "half":
            use &= use.all()
        key = f"{name} {level}"
        notes.learned[key], notes.frozen[key] = int((use & measurable).sum()), int((~use & measurable).sum())
        layer = _with_window(layer, off[level], sound, age, excess[level] > 0)
        before = layer
        layer = learn(layer, measured.sums[level], place[level], use).with_restlessness(off[level], use, age)
        layers[level] = replace(layer, clock=before.clock).with_widths(level)
    part = replace(part, layers=layers)
    if guards.creep:
        tested = LAYERS if state.knows(conditions) else LAYERS[:-1]  # else it is menus that move rings
        part, crept = _crept(part, name, tested, update, frozen, run, notes.number)
        findings = (*findings, *crept) if guards.findings else findings
        notes.lists["crept"] += crept
    past = {level: layer.past.with_present(update, layer) for level, layer in part.layers.items()}
    part = replace(part, layers={level: replace(part.layers[level], past=past[level]) for level in part.layers})
    part, appeared = _with_new_channels(part, measured, place["ring"])
    notes.lists["appeared"] += appeared
    return _with_run(part, measured, update, shared), findings


def _with_window(layer: Layer, off: Innovation, sound: Mask, age: float, changed: Mask) -> Layer:
    """The layer with where its units were found in this run, those that are not at fault.

    What the gate keeps from being learned counts: widths that are too narrow would never grow otherwise. Where the
    power is not known yet, a position says more of it than of the widths.
    """
    known = layer.covariance[:, LEVEL, LEVEL] + layer.noise[layer.group]
    by_power = np.maximum(off.expected - known, 0)
    there = sound & off.measured & (by_power < UNCLEAR)
    position = np.where(there, layer.mean[:, LEVEL] + off.shift, np.nan)
    variance = np.where(there, off.chance + by_power, np.nan)
    return replace(layer, window=layer.window.with_run(position, variance, age, changed))


def _crept(
    part: SubdetectorState, name: str, levels: Sequence[str], update: int, frozen: Mapping[str, Mask], run: int,
    first_number: int,
) -> tuple[SubdetectorState, list[OpenFinding]]:  # fmt: skip
    layers = dict(part.layers)
    out: list[OpenFinding] = []
    for level in reversed(levels):
        creep = creeping(layers[level], level, update, ~frozen[level])
        if len(creep.units):
            layers[level] = rolled_back(layers[level], creep)
            out += creep_findings(creep, level, name, part, run, first_number + len(out))
    return replace(part, layers=layers), out


def _with_new_channels(
    part: SubdetectorState, measured: Measurement, place: np.ndarray
) -> tuple[SubdetectorState, list[str]]:
    """The part with channels that were silent so far and now count: they get their level from this run."""
    rows = np.flatnonzero(~part.live & (measured.digis > LEAST_DIGIS))
    if not len(rows):
        return part, []
    layers, channel, ring = part.layers, part.layers["channel"], part.of("ring")[rows]
    sums = measured.sums["ring"]
    shift = sums.score[0, ring] / np.maximum(sums.information[0, ring], 1e-9)
    u = measured.log_pileup[1]
    found = log_rate(np.minimum(measured.digis[rows] / measured.events, 0.999))
    others = sum(
        layers[level].shift(place if level == "ring" else place[: layers[level].terms])[part.of(level)[rows]]
        for level in LAYERS[1:]
    )
    mean, covariance, live = channel.mean.copy(), channel.covariance.copy(), part.live.copy()
    mates = [(part.of("ring") == r) & part.live for r in ring]
    mean[rows, POWER] = [np.median(channel.mean[mate, POWER]) if mate.any() else 1.0 for mate in mates]
    mean[rows, LEVEL] = found - others - shift - mean[rows, POWER] * u
    covariance[rows] = 0
    covariance[rows, LEVEL, LEVEL] = FIRST_ERROR**2 + 1 / measured.digis[rows]
    covariance[rows, POWER, POWER] = 0.05**2
    live[rows] = True
    layers = {**layers, "channel": replace(channel, mean=mean, covariance=covariance)}
    return replace(part, layers=layers, live=live), [part.channels.name_of(int(row)) for row in rows]


def _with_run(part: SubdetectorState, measured: Measurement, update: int, shared: bool) -> SubdetectorState:
    """The part with the run's pileup, overdispersion and shift against the other sub-detectors."""
    sums = measured.sums["subdetector"]
    shift = float(sums.score[0, 0] / max(sums.information[0, 0], 1e-9))
    more = (min(shift**2, 9 * part.spread) - part.spread) / min(PRIOR_RUNS + update, SPREAD_MEMORY) if shared else 0.0
    low, _, high = measured.log_pileup
    old, new = asdict(part.overdispersion), asdict(measured.overdispersion)
    scatter = {key: old[key] + (new[key] - old[key]) / OVERDISPERSION_MEMORY for key in old}
    return replace(
        part,
        spread=max(part.spread + more, LEAST_SPREAD),
        pileup_range=(min(part.pileup_range[0], low), max(part.pileup_range[1], high)),
        overdispersion=Overdispersion(**scatter),
    )
