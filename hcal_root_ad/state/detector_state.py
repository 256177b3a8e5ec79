"""``DetectorState``: what every channel and unit does today, how surely that is known, and what is at fault.

A state begins with a model (:mod:`hcal_root_ad.state.era`) and learns from each run that was judged with it
(:mod:`hcal_root_ad.state.update`). It gives the judge a reference in place of the model's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.conditions import UNKNOWN, RunFacts
from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.errors import ModelError, UsageError
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Limits, Overdispersion, Reference, Widths
from hcal_root_ad.model.unit_tree import Units, UnitTree, unit_tree
from hcal_root_ad.state.layers import DOSE, LEVEL, POWER, Layer, Mask
from hcal_root_ad.stats.binomial import Floats

FORMAT = 2
LAYERS = ("channel", "module", "box", "half", "ring")
"""Levels whose shifts add up to what a channel does."""
KNOWN_MENU = 2
"""Runs that a trigger menu must have taught before rings are held to what they do under it."""
LIMITS = {"channel": 0.05, "module": 0.025, "box": 0.035}
"""Smallest shifts of a state that knows its channels from run to run."""
GAINS = {"channel_gain": 0.12, "channel_gain_of_run": 0.2, "module_gain_of_run": 0.05, "box_gain_of_run": 0.06}
"""Smallest gains, in a run and over the whole of it, that a state takes for a fault: what fails loses digis, or is
noisy by more. Smaller ones are learned; most are of what walks in steps, or of a weak fault that was learned and is
over."""
LIMITS_OF_CONDITIONS = {"ring": 0.05, "subdetector": 0.02}
"""The same where the trigger menu and the luminosity of the run are known. The pileup takes up half of what HE and HB
differ by, so 4 % of one against the other are 2 % of each against the pileup."""
LARGEST_LIMITS = {"channel": 0.08, "box": 0.045, "module": 0.03}
"""What the smallest shifts may grow to, where people accept larger ones as health."""
ACCEPTED_MEMORY, ACCEPTED_RATE = 20, 0.1
"""Smallest shifts are such that, by what people accepted over so many runs, healthy units move farther this often per
run at most; of a state that is younger than one such move they are those of a model."""
ASKED = 0.1
"""False findings per 100 LS and sub-detector that are asked for at most: a line of a state opens a finding."""
MOST_OF = 0.6
"""A unit of which more channels are at fault is at fault."""


@dataclass(frozen=True)
class OpenFinding:
    """A line that reached the end of a run. What it touches is frozen until it is closed.

    Attributes:
        identifier: ``370012-3``: the run that opened it and a number.
        subdetector, level, unit, kind: as in :class:`~hcal_root_ad.judge.verdict.Finding`; kind ``creeping`` where the
            state itself saw it.
        size: shift of log rate (−0.105 is a loss of a tenth), the largest that was measured.
        rows: channels of the sub-detector.
        first_run, last_run: in which it was there. runs: how many.
        below: runs in a row in which it was below half of its size.
        asked: whether a person was asked what it is.
    """

    identifier: str
    subdetector: str
    level: str
    unit: str
    kind: str
    size: float
    rows: tuple[int, ...]
    first_run: int
    last_run: int
    runs: int = 1
    below: int = 0
    asked: bool = False

    @property
    def sign(self) -> int:
        return 1 if self.size > 0 else -1


@dataclass(frozen=True)
class AcceptedChange:
    """A change that a person accepted as health: a unit of which level moved, by how much, at which update."""

    level: str
    size: float
    update: int


@dataclass(frozen=True)
class Lesson:
    """A run that taught the state: how many LS were used, and what the verdict rested on."""

    run: int
    lumisections: int
    trust: str


@dataclass(frozen=True, eq=False)
class SubdetectorState:
    """The state of one sub-detector.

    Attributes:
        channels: who they are. live: (channels,) whether they are judged.
        layers: by level (:data:`LAYERS`). A channel does what its layers add up to.
        widths, overdispersion: of the units within a run, and of sums.
        pileup_range: lowest and highest u that taught.
        spread: variance of the shift of the sub-detector against the others from run to run.
        model: name of the model that it began from. clean: of that model's clean runs.
    """

    channels: ChannelTable
    live: Mask
    layers: Mapping[str, Layer]
    widths: Widths
    overdispersion: Overdispersion
    pileup_range: tuple[float, float]
    spread: float
    model: str
    clean: str

    @cached_property
    def tree(self) -> UnitTree:
        return unit_tree(self.channels)

    def units(self, level: str) -> Units:
        """The units of a level."""
        if level == "channel":
            names = tuple(self.channels.name_of(row) for row in range(len(self.channels)))
            return Units(np.arange(len(self.channels)), names)
        units: Units = getattr(self.tree, level)
        return units

    def of(self, level: str) -> NDArray[np.intp]:
        """(channels,) unit of each channel on a level."""
        return np.arange(len(self.channels)) if level == "channel" else getattr(self.tree, level).of

    @cached_property
    def _live(self) -> dict[str, NDArray[np.intp]]:
        """(units,) live channels by level."""
        return {level: np.bincount(self.of(level), self.live, len(layer)) for level, layer in self.layers.items()}

    def touched(self, rows: Sequence[int]) -> dict[str, Mask]:
        """(units,) by level: units most of whose live channels are among ``rows``; of rings, of one side."""
        chosen = np.asarray(rows, dtype=np.intp)
        touched = {
            level: np.bincount(self.of(level)[chosen], minlength=len(layer))
            > (MOST_OF * np.maximum(self._live[level], 1) if level != "channel" else 0)
            for level, layer in self.layers.items()
        }
        if "ring" in touched and not touched["half"].any():  # one side that fails takes half of its ring along
            sides, live = self.tree.side_ring, self.live
            size = np.maximum(np.bincount(sides.of, live, len(sides)), 1)
            most = np.bincount(sides.of[chosen], minlength=len(sides)) > MOST_OF * size
            touched["ring"][self.tree.ring_of_side_ring[most]] = True
        return touched


@dataclass(frozen=True, eq=False)
class DetectorState:
    """The state of the sub-detectors that are judged together.

    Attributes:
        subdetectors: their states by name.
        findings: those that are open. accepted: changes that people accepted in the latest runs.
        lessons: runs that taught it, in order. update: how often it was advanced, taught or not.
        menus: trigger menus that rings were seen under, the first is the one that others are compared with.
        menu_runs: how many runs each taught. dose: luminosity of the first run that had one.
        conditions: of the latest run that taught. pace, interval: typical luminosity and days from run to run.
    """

    subdetectors: Mapping[str, SubdetectorState]
    findings: tuple[OpenFinding, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    update: int = 0
    menus: tuple[str, ...] = ()
    menu_runs: tuple[int, ...] = ()
    dose: float | None = None
    conditions: RunFacts = UNKNOWN
    pace: float | None = None
    interval: float | None = None
    accepted: tuple[AcceptedChange, ...] = ()

    @property
    def last_run(self) -> int:
        """The latest run that taught; 0 if none did."""
        return self.lessons[-1].run if self.lessons else 0

    def knows(self, conditions: RunFacts) -> bool:
        """Whether rings can be held to what they do under these conditions."""
        known = dict(zip(self.menus, self.menu_runs, strict=True)).get(conditions.menu or "", 0)
        return known >= KNOWN_MENU and conditions.luminosity is not None and self.dose is not None

    def misfit(self, conditions: RunFacts) -> str:
        """Why the state says nothing of a run under these conditions; "" if it does."""
        own = self.conditions
        if own.trigger is not None and conditions.trigger not in (None, own.trigger):
            return f"the state is of {own.trigger}, the run of {conditions.trigger}"
        if own.field is not None and conditions.field is not None and abs(own.field - conditions.field) > 0.1:
            return f"the state is of {own.field:g} T, the run of {conditions.field:g} T"
        return ""

    def age(self, conditions: RunFacts) -> float:
        """Steps since the last run that taught: the runs since, or as many as luminosity or days since are worth."""
        steps = [1.0 + (conditions.missed or 0)]
        for name, typical in (("luminosity", self.pace), ("day", self.interval)):
            before, now = getattr(self.conditions, name), getattr(conditions, name)
            if typical and before is not None and now is not None:
                steps.append(abs(now - before) / typical)
        return max(steps)

    def place(self, conditions: RunFacts, terms: int) -> Floats:
        """(terms,) where a unit is looked at: its level, and what dose and menu add."""
        out = np.zeros(terms)
        out[LEVEL] = 1.0
        if terms > DOSE:
            if conditions.luminosity is not None and self.dose is not None:
                out[DOSE] = conditions.luminosity - self.dose
            if conditions.menu in self.menus[1:]:
                out[DOSE + self.menus.index(conditions.menu)] = 1.0
        return out

    @property
    def recently_accepted(self) -> tuple[AcceptedChange, ...]:
        """Changes that were accepted in the latest runs."""
        return tuple(change for change in self.accepted if change.update > self.update - ACCEPTED_MEMORY)

    def limit(self, level: str, otherwise: float) -> float:
        """Smallest shift of a unit that is a fault: larger than what people call health in this detector."""
        sizes = sorted((abs(one.size) for one in self.recently_accepted if one.level == level), reverse=True)
        allowed = int(ACCEPTED_RATE * min(self.update, ACCEPTED_MEMORY))
        smallest: float = getattr(Limits(), level)
        if allowed:
            smallest = sizes[allowed - 1] if len(sizes) >= allowed else 0.0
        return float(np.clip(smallest, otherwise, LARGEST_LIMITS.get(level, otherwise)))

    def frozen(self, name: str) -> dict[str, Mask]:
        """(units,) by level of a sub-detector: touched by an open finding."""
        part = self.subdetectors[name]
        out = {level: np.zeros(len(layer), dtype=bool) for level, layer in part.layers.items()}
        for finding in self.findings:
            if finding.subdetector == name:
                for level, mask in part.touched(finding.rows).items():
                    out[level] |= mask
        return out

    def reference(self, name: str, conditions: RunFacts = UNKNOWN, age: float | None = None) -> Reference:
        """What one sub-detector should do in a run, for the judge; ``age``: steps since the last run that taught."""
        part, frozen = self.subdetectors[name], self.frozen(name)
        age = self.age(conditions) if age is None else age
        level, power = np.zeros(len(part.channels)), np.zeros(len(part.channels))
        for key, layer in part.layers.items():
            of = part.of(key)
            level += layer.shift(self.place(conditions, layer.terms))[of]
            power += layer.mean[of, POWER]
        channel = part.layers["channel"]
        noise = channel.noise[channel.group]
        variance = channel.covariance[:, LEVEL, LEVEL] + np.where(frozen["channel"], 0, channel.walked(age)) + noise
        least = float(noise.min())
        errors: dict[str, Floats] = {}
        for key in ("module", "box", "half", *(("ring",) if self.knows(conditions) else ())):
            layer, of = part.layers[key], part.of(key)
            known = layer.variance(self.place(conditions, layer.terms)) + layer.noise[layer.group]
            errors[key] = np.sqrt(known + np.where(frozen[key], 0, layer.walked(age)))[of]
            errors[f"{key} power"] = np.sqrt(layer.covariance[of, POWER, POWER])
        plain = asdict(Limits()) | LIMITS
        limits = plain | {level: self.limit(level, plain[level]) for level in LARGEST_LIMITS}
        limits |= GAINS
        if self.knows(conditions):
            limits |= LIMITS_OF_CONDITIONS
            errors["subdetector"] = np.full(len(part.channels), np.sqrt(part.spread))
        return Reference(
            channels=part.channels,
            level=level,
            level_error=np.sqrt(np.maximum(variance - least, 0)),
            power=power,
            power_error=np.sqrt(channel.covariance[:, POWER, POWER]),
            live=part.live,
            pileup_range=part.pileup_range,
            widths=replace(part.widths, channel=float(np.sqrt(least))),
            overdispersion=part.overdispersion,
            clean=part.clean,
            limits=Limits(**limits),
            covariance=channel.covariance[:, LEVEL, POWER],
            unit_errors=errors,
        )

    def vagueness(self, name: str, conditions: RunFacts, log_pileup: float = 0.0) -> float:
        """How badly a typical channel is known by now, in the widths that a model of clean runs allows for."""
        known = self.reference(name, conditions)
        error = np.sqrt(known.level_error**2 + known.widths.channel**2 + (known.power_error * log_pileup) ** 2)
        return float(np.median(error[known.live])) / Widths().channel if known.live.any() else 1.0

    def informed(self, models: Iterable[Model], conditions: RunFacts = UNKNOWN) -> tuple[Model, ...]:
        """Models with the references of the state; those of other sub-detectors as they are.

        Raises:
            ModelError: a model is not of the channels of the state.
        """
        digest, out = self.digest, []
        for model in models:
            part = self.subdetectors.get(model.subdetector)
            if part is None:
                out.append(model)
                continue
            if not np.array_equal(part.channels.raw_id, model.channels.raw_id):
                raise ModelError(
                    f"{model.name} has other channels of {model.subdetector} than the detector state, which began with "
                    f"{part.model}; give the model that the state began with"
                )
            reference = self.reference(model.subdetector, conditions)
            own = hashlib.sha256(f"{model.digest} {digest}".encode()).hexdigest()
            asked = min(model.false_alarms, ASKED)
            out.append(replace(model, reference=reference, architecture={}, weights={}, digest=own, false_alarms=asked))
        return tuple(out)

    @property
    def digest(self) -> str:
        """SHA-256 of all that the state holds."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays that numpy saves without pickle; texts are JSON in bytes."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "subdetectors"}
        parts = {name: _head(part) for name, part in self.subdetectors.items()}
        text = json.dumps({**plain, "format": FORMAT, "subdetectors": parts}, sort_keys=True, default=asdict).encode()
        out: dict[str, NDArray[Any]] = {"head": np.frombuffer(text, dtype=np.uint8)}
        for name, part in self.subdetectors.items():
            out[f"{name}/live"] = part.live
            for level, layer in part.layers.items():
                out |= layer.arrays(f"{name}/{level}")
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DetectorState:
        """What :meth:`to_arrays` gave.

        Raises:
            ModelError: something is missing, damaged, or of another format.
        """
        try:
            return _unpacked(arrays)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ModelError(
                f"expected a detector state, found something else ({error}); take the state before it, or begin again"
            ) from error

    def finding(self, identifier: str) -> OpenFinding:
        """An open finding by its identifier.

        Raises:
            UsageError: there is none.
        """
        for finding in self.findings:
            if finding.identifier == identifier:
                return finding
        known = ", ".join(finding.identifier for finding in self.findings) or "none"
        raise UsageError(f"no open finding is called {identifier!r}; open are {known}.")


def _head(part: SubdetectorState) -> dict[str, Any]:
    names = ("widths", "overdispersion", "pileup_range", "spread", "model", "clean")
    return {"era": part.channels.era.value, **{name: getattr(part, name) for name in names}}


def _unpacked(arrays: Mapping[str, NDArray[Any]]) -> DetectorState:
    head = json.loads(np.asarray(arrays["head"], dtype=np.uint8).tobytes())
    if head["format"] != FORMAT:
        raise ValueError(f"format {head['format']}, not {FORMAT}")
    parts = {}
    for name, own in head["subdetectors"].items():
        channels = channel_table(Era(own["era"])).select(name)
        layers = {level: Layer.of_arrays(f"{name}/{level}", arrays) for level in LAYERS}
        live = arrays[f"{name}/live"].astype(bool)
        tree = unit_tree(channels)
        sizes = [len(channels), *(len(getattr(tree, level)) for level in LAYERS[1:]), len(channels)]
        if [*(len(layers[level]) for level in LAYERS), len(live)] != sizes:
            raise ValueError(f"the units of {name} are not those of {own['era']}")
        if not all(np.isfinite(layer.mean).all() and np.isfinite(layer.covariance).all() for layer in layers.values()):
            raise ValueError(f"a number of {name} is not finite")
        parts[name] = SubdetectorState(
            channels, live, layers, Widths(**own["widths"]), Overdispersion(**own["overdispersion"]),
            tuple(own["pileup_range"]), own["spread"], own["model"], own["clean"],
        )  # fmt: skip
    findings = tuple(OpenFinding(**{**one, "rows": tuple(one["rows"])}) for one in head["findings"])
    return DetectorState(
        parts, findings, tuple(Lesson(**one) for one in head["lessons"]), head["update"], tuple(head["menus"]),
        tuple(head["menu_runs"]), head["dose"], RunFacts(**head["conditions"]), head["pace"], head["interval"],
        tuple(AcceptedChange(**one) for one in head["accepted"]),
    )  # fmt: skip
