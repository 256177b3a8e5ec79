"""The scenario of a simulated run: conditions as the machine gives them along a fill, and faults to inject.

Conditions have the shapes of 34,619 lumisections of era 2024J (OMS): the decay law, the noise of the pileup between
neighbours, and how often and for how long recording stops. That era ran at low pileup, so the level and the levelled
plateau are those of ordinary Run 3 fills instead.

Faults say what fails, how, and in which lumisections; they are drawn, or read from a list of the user's own. The list
is TOML (or JSON with the same keys)::

    [[fault]]
    kind = "degraded"       # dead, degraded, hot, noisy, flickering, ageing
    unit = "HEP07-RM2"      # or HE +20/5/3, HBM03-RM1-card2, HEP07, HE |ieta| 26, HEP; see unit_names.py
    first = 10              # lumisections, both in
    last = 20
    strength = 0.4          # the factor; see STRENGTHS for noisy, flickering, ageing
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.content import structure
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector
from hcal_root_ad.tables import read_json, read_toml
from hcal_root_ad.unit_names import UNIT_FORMS, rows_of_unit, scale_of_unit, unit_names


@dataclass(frozen=True)
class FillShape:
    """Numbers of a fill; lengths and times in lumisections of 23.3 s."""

    levelled_pileup: tuple[float, float] = (42.0, 62.0)
    """Drawn per fill: what the machine levels to."""
    plateau: tuple[int, int] = (200, 1200)
    length: tuple[int, int] = (2000, 3000)
    """Fills of 13–19 h; OMS: 2176–3533 for undisturbed ones."""
    decay_time: float = 2050.0
    decay_power: float = 1.5
    """Pileup falls as (1 + t/time)^−power: OMS lifetimes grow from 1700 to 2700 LS within a fill."""
    level_step: float = 0.006
    """While levelled, the pileup saws between corrections by this much."""
    pileup_noise: float = 0.0006
    """OMS: neighbours differ by 0.04–0.09 % beyond the decay."""
    events: tuple[float, float] = (1000.0, 2000.0)
    """Events per LS that reach the DQM, drawn per run."""
    events_noise: float = 0.02
    """Beyond Poisson. Real run 306138: 2–3 % in all."""
    prescale_every: float = 250.0
    """Mean LS between changes of prescale column. Real run 306138: a step of ×1.36 after five LS."""
    prescale_factors: tuple[float, ...] = (0.5, 0.7, 1.36, 2.0)
    stop_every: float = 110.0
    """Mean LS between short stops of recording. OMS: 20 in 2600 LS, most of 1–3 LS."""
    long_stop: float = 0.06
    """Share of stops that last 10–35 LS."""
    beam_gap_every: float = 400.0
    """Mean LS between gaps of 1–4 LS without collisions (beams separated for a scan)."""
    gap_events: float = 0.03
    """Events left in a gap, from random triggers."""


@dataclass(frozen=True, eq=False)
class FillConditions:
    """What the machine and the trigger gave, per lumisection.

    Attributes:
        lumisections: (LS,) int32, ascending. events: (LS,) int64 events that reached the DQM.
        pileup: (LS,) mean interactions per crossing; 0 without collisions.
        prescale_column: (LS,) int; the trigger mix changes with it.
        short: (LS,) recording stopped for a part. gap: (LS,) no collisions.
    """

    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    pileup: NDArray[np.float64]
    prescale_column: NDArray[np.int64]
    short: NDArray[np.bool_]
    gap: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lumisections)


def simulate_conditions(
    n_lumisections: int, seed: int, start: float | None = None, shape: FillShape | None = None
) -> FillConditions:
    """Conditions of a run of ``n_lumisections`` that starts at a share ``start`` (0…1) of its fill.

    Without ``start`` the seed chooses, so runs of different seeds see pileup from about 20 to 60.

    Raises:
        UsageError: fewer than one lumisection, or a start outside of the fill.
    """
    if n_lumisections < 1:
        raise UsageError(f"A run needs at least 1 lumisection; {n_lumisections} were asked for.")
    if start is not None and not 0.0 <= start <= 1.0:
        raise UsageError(f"The start of a run in its fill is a share between 0 and 1, not {start}.")
    shape = shape or FillShape()
    fill_draw, event_draw, stop_draw = map(np.random.default_rng, np.random.SeedSequence([seed, 0xC0D]).spawn(3))
    pileup = _pileup(n_lumisections, start, shape, fill_draw)
    gap = _spells(n_lumisections, shape.beam_gap_every, (1, 4), stop_draw)
    short, recorded = _stops(n_lumisections, shape, stop_draw)
    column, expected = _trigger(n_lumisections, shape, event_draw)
    expected = expected * recorded * np.where(gap, shape.gap_events, 1.0)
    lumisections = np.arange(1, n_lumisections + 1, dtype=np.int32)
    events = event_draw.poisson(expected).astype(np.int64)
    return FillConditions(lumisections, events, np.where(gap, 0.0, pileup), column, short, gap)


def _pileup(n: int, start: float | None, shape: FillShape, draw: np.random.Generator) -> NDArray[np.float64]:
    """Levelled plateau, then decay; one fill after another if the run is longer than what is left of it."""
    pieces: list[NDArray[np.float64]] = []
    have = 0
    while have < n:
        length, plateau = int(draw.integers(*shape.length)), int(draw.integers(*shape.plateau))
        share = draw.random() * 0.9 if start is None else start
        first = int(share * (length - 1)) if not pieces else 0
        time = np.arange(first, length)
        decay = (1.0 + np.maximum(time - plateau, 0) / shape.decay_time) ** -shape.decay_power
        saw = shape.level_step * (time % 12 / 12.0 - 0.5) * (time < plateau)
        pieces.append(draw.uniform(*shape.levelled_pileup) * decay * (1.0 + saw))
        have += length - first
    pileup = np.concatenate(pieces)[:n]
    return pileup * (1.0 + shape.pileup_noise * draw.standard_normal(n))


def _trigger(n: int, shape: FillShape, draw: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Prescale column of each LS and the expected events in a fully recorded LS."""
    step = draw.random(n) < 1.0 / shape.prescale_every
    step[0] = False
    column = np.cumsum(step, dtype=np.int64)
    level = draw.uniform(*shape.events)
    levels = [level]
    low, high = shape.events
    for factor in draw.choice(shape.prescale_factors, int(column[-1])):
        level *= factor
        # A column that would leave the bandwidth is answered by the opposite one.
        level = level / factor**2 if not 0.6 * low <= level <= 1.3 * high else level
        levels.append(level)
    wobble = np.maximum(1.0 + shape.events_noise * draw.standard_normal(n), 0.5)
    return column, np.array(levels)[column] * wobble


def _spells(n: int, every: float, length: tuple[int, int], draw: np.random.Generator) -> NDArray[np.bool_]:
    """Spells of some LS that begin once in ``every`` LS on average, never in the first one."""
    inside = np.zeros(n, dtype=np.bool_)
    for begin in np.flatnonzero(draw.random(n) < 1.0 / every):
        inside[max(int(begin), 1) : int(begin) + int(draw.integers(length[0], length[1] + 1))] = True
    return inside


def _stops(n: int, shape: FillShape, draw: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which LS were recorded in part only, and which share of each."""
    few = _spells(n, shape.stop_every / (1.0 - shape.long_stop), (1, 3), draw)
    many = _spells(n, shape.stop_every / shape.long_stop, (10, 35), draw)
    short = few | many
    return short, np.where(short, draw.beta(0.6, 2.0, n), 1.0)


class FaultKind(StrEnum):
    """How a unit fails."""

    DEAD = "dead"
    """No digis."""
    DEGRADED = "degraded"
    """A constant factor below 1."""
    HOT = "hot"
    """A constant factor above 1."""
    NOISY = "noisy"
    """Digis without collisions, in bursts that differ from LS to LS."""
    FLICKERING = "flickering"
    """On and off from LS to LS."""
    AGEING = "ageing"
    """A factor that falls linearly from 1 over the interval."""


STRENGTHS: dict[FaultKind, tuple[float, float]] = {
    FaultKind.DEAD: (0.0, 0.0),
    FaultKind.DEGRADED: (0.2, 0.8),
    FaultKind.HOT: (1.5, 4.0),
    FaultKind.NOISY: (0.05, 0.4),
    FaultKind.FLICKERING: (0.3, 0.7),
    FaultKind.AGEING: (0.3, 0.8),
}
"""Range from which strengths are drawn: the factor on the digi probability (ageing: at the end; noisy:
the mean probability added; flickering: the share of LS that are on)."""


@dataclass(frozen=True, eq=False)
class InjectedFault:
    """One fault of one readout unit from LS ``first`` to LS ``last``, both in.

    The digi probability p of the channels in ``rows`` (the unit's, but for those that never fill)
    becomes ``min(1, factor · p + added)`` with one ``factor`` and one ``added`` per LS of the interval.
    ``strength`` is as in :data:`STRENGTHS`.
    """

    kind: FaultKind
    unit: str
    rows: NDArray[np.intp]
    first: int
    last: int
    strength: float
    factor: NDArray[np.float64]
    added: NDArray[np.float64]

    @property
    def scale(self) -> str:
        """``channel``, ``card``, ``RM``, ``RBX`` or ``sector``."""
        return scale_of_unit(self.unit)

    @property
    def constant(self) -> bool:
        """Whether the fault is the same in all its lumisections."""
        return bool(np.ptp(self.factor) == 0 and np.ptp(self.added) == 0)


def make_fault(
    detector: SimulatedDetector, kind: FaultKind | str, unit: str, first: int, last: int, strength: float, seed: int = 0
) -> InjectedFault:
    """A fault of a unit named as in :data:`~hcal_root_ad.unit_names.UNIT_FORMS`.

    Raises:
        UsageError: an unknown kind or unit, a unit that is masked throughout, an empty interval, or a
            strength that the kind cannot have.
    """
    try:
        kind = FaultKind(kind)
    except ValueError:
        raise UsageError(f"No kind of fault is called {kind!r}; known are {', '.join(FaultKind)}.") from None
    if not 1 <= first <= last:
        raise UsageError(f"The fault of {unit} lasts from LS {first} to LS {last}, which is no interval.")
    rows = rows_of_unit(detector.channels, unit)
    if not len(rows):
        raise UsageError(f"No channel belongs to {unit!r}; units are written {UNIT_FORMS}.")
    rows = rows[detector.live[rows]]
    if not len(rows):
        raise UsageError(f"All channels of {unit} are masked in this detector, so no fault can show in it.")
    n = last - first + 1
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0xFA, first, last]))
    factor, added = _course(kind, strength, n, draw)
    return InjectedFault(kind, unit, rows, first, last, strength, factor, added)


def _course(
    kind: FaultKind, strength: float, n: int, draw: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and added probability for each of the ``n`` lumisections."""
    low, high = {FaultKind.HOT: (1.0, np.inf), FaultKind.DEAD: (0.0, 0.0)}.get(kind, (0.0, 1.0))
    if not low <= strength <= high:
        raise UsageError(f"The strength of a {kind} fault lies between {low:g} and {high:g}, not at {strength:g}.")
    match kind:
        case FaultKind.NOISY:
            return np.ones(n), np.minimum(draw.exponential(strength, n), 1.0)
        case FaultKind.FLICKERING:
            return (draw.random(n) < strength).astype(np.float64), np.zeros(n)
        case FaultKind.AGEING:
            return np.linspace(1.0, strength, n + 1)[1:], np.zeros(n)
    return np.ones(n) * strength, np.zeros(n)


def apply_faults(
    rates: NDArray[np.float32], lumisections: NDArray[np.int32], faults: tuple[InjectedFault, ...]
) -> NDArray[np.float32]:
    """Digi probabilities with faults: a changed copy of ``rates`` (LS, channels); faults multiply."""
    faulty = rates.copy()
    for fault in faults:
        inside = np.flatnonzero((lumisections >= fault.first) & (lumisections <= fault.last))
        course = lumisections[inside] - fault.first
        cells = np.ix_(inside, fault.rows)
        changed = fault.factor[course, None] * faulty[cells] + fault.added[course, None]
        faulty[cells] = np.minimum(changed, 1.0)
    return faulty


def mixed_faults(detector: SimulatedDetector, conditions: FillConditions, seed: int) -> tuple[InjectedFault, ...]:
    """Faults of every kind and scale on disjoint channels of HB and HE: some 25 channels, and a few larger units.

    Every kind hits single channels and one larger unit; a box, a module and a card are dead at some time.
    """
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0xFA17]))
    large = {"sector": FaultKind.DEGRADED, "RBX": FaultKind.DEAD, "RM": FaultKind.DEAD, "card": FaultKind.DEAD}
    units = [*large.items(), ("RBX", FaultKind.AGEING), ("RM", FaultKind.NOISY), ("RM", FaultKind.FLICKERING),
              ("card", FaultKind.HOT)] + [("channel", kind) for kind in FaultKind for _ in range(4)]  # fmt: skip
    faults: list[InjectedFault] = []
    free = detector.live.copy()
    inner = detector.channels.select("HB", "HE")
    names = {scale: unit_names(inner, scale) for scale in ("channel", *large)}
    last_ls = int(conditions.lumisections[-1])
    for scale, kind in units:
        unit = _free_unit(detector, names[scale], free, draw)
        if unit is None:
            continue
        first, last = _interval(last_ls, draw)
        strength = float(draw.uniform(*STRENGTHS[kind]))
        fault = make_fault(detector, kind, unit, first, last, round(strength, 3), seed=int(draw.integers(2**31)))
        free[fault.rows] = False
        faults.append(fault)
    return tuple(faults)


def _free_unit(
    detector: SimulatedDetector, names: list[str], free: NDArray[np.bool_], draw: np.random.Generator
) -> str | None:
    """One of the units that shares no channel with earlier faults; None where the era has none."""
    candidates: list[str] = [names[number] for number in draw.integers(len(names), size=200)] if names else []
    for unit in candidates:
        rows = rows_of_unit(detector.channels, unit)
        # Masked and uninstrumented channels may lie in a larger unit, but not be the whole of it.
        if free[rows].any() and (free[rows] | ~detector.live[rows]).all():
            return unit
    return None


def _interval(last_ls: int, draw: np.random.Generator) -> tuple[int, int]:
    """One LS or many, up to the rest of the run."""
    length = min(int(np.ceil(np.exp(draw.uniform(0.0, np.log(last_ls + 1.0))))), last_ls)
    first = int(draw.integers(1, last_ls - length + 2))
    return first, first + length - 1


@dataclass(frozen=True)
class _Written:
    """A fault as it stands in its file; only a dead one needs no strength."""

    kind: str
    unit: str
    first: int
    last: int
    strength: float | None = None


_KEYS = ", ".join(field.name for field in fields(_Written))


def read_faults(path: Path, detector: SimulatedDetector, seed: int = 0) -> tuple[InjectedFault, ...]:
    """Faults of a file for a detector; ``seed`` draws the course of noisy and flickering ones.

    Raises:
        InputError: the file is missing, no TOML or JSON, or an entry lacks a key or has a wrong value.
    """
    table = (read_json if path.suffix == ".json" else read_toml)(path, "list of faults")
    origin = f"The list of faults {path}"
    entries = table.get("fault") if isinstance(table, dict) else None
    if not isinstance(entries, list) or not entries or len(table) > 1:
        raise InputError(f"{origin} holds no faults, or more than that: expected entries [[fault]] with {_KEYS}.")
    faults = []
    for number, written in enumerate(structure(entries, list[_Written], origin, place="fault"), start=1):
        if written.strength is None and written.kind != "dead":
            raise InputError(f"{origin} lacks the key fault[{number}].strength.")
        try:
            values = asdict(written) | {"strength": written.strength or 0.0}
            faults.append(make_fault(detector, **values, seed=seed + number))
        except UsageError as error:
            raise InputError(f"Fault {number} of {path} is not possible: {error}") from None
    return tuple(faults)
