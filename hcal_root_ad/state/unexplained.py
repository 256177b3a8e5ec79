"""What the innovations of a state still follow: out-of-sample R² by past, neighbours, trigger menu and dose.

Innovations are what a run does beyond what the state expected. Where they follow nothing, a linear filter has used up
all that can be known; above an R² of 0.1 something is left to be learned, for example by a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hcal_root_ad.conditions import UNKNOWN, RunFacts
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import clean_runs, lumisections_of, shared_subdetectors
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference_fit import fit_reference
from hcal_root_ad.state.detector_state import DetectorState
from hcal_root_ad.state.era import first_state
from hcal_root_ad.state.guards import lined, silent
from hcal_root_ad.state.layers import innovation, predict
from hcal_root_ad.state.update import advance
from hcal_root_ad.stats.binomial import Floats

LEVELS = ("channel", "module", "box", "ring")
SOURCES = ("past", "neighbours", "menu", "dose")
FEWEST_RUNS = 6
"""Runs that are needed: half of them teach what the other half is explained by."""
RIDGE = 1.0
LARGEST = 5.0
"""Pulls are cut here: steps and faults would speak for all."""


@dataclass(frozen=True)
class Unexplained:
    """R² of the innovations of one level of one sub-detector, on runs that were not learned from.

    ``by``: source (:data:`SOURCES` and ``all``) to R², None where it is not known. ``runs``, ``values``: how many.
    ``scatter``: root mean square of the pulls; 1 where the state expects what comes.
    """

    subdetector: str
    level: str
    runs: int
    values: int
    scatter: float
    by: Mapping[str, float | None]


def models_of_run(maps: LumiMaps) -> tuple[Model, ...]:
    """Bare models of one clean run.

    Raises:
        InputError: it holds too few events.
    """
    clean = clean_runs([maps])
    names = shared_subdetectors(clean)
    reference = fit_reference(lumisections_of(clean, names), name=f"run {maps.run}")
    return tuple(Model(f"run {maps.run} {name}", name, reference.select(name)) for name in names)


def unexplained(
    runs: Iterable[LumiMaps],
    conditions: Mapping[int, RunFacts] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Unexplained]:
    """The table of runs in order; the first is clean, and the state begins with it.

    ``conditions`` by run, where they are known. ``progress``: called with the number of runs done.

    Raises:
        InputError: there are too few runs.
    """
    conditions = {} if conditions is None else conditions  # it may fill as the runs come
    pulls: dict[tuple[str, str], list[Floats]] = {}
    known: list[RunFacts] = []
    state: DetectorState | None = None
    models: tuple[Model, ...] = ()
    for done, maps in enumerate(runs, start=1):
        own = conditions.get(maps.run, UNKNOWN)
        if state is None:
            models = models_of_run(maps)
            state = first_state(models)
        else:
            verdict = judge_run(maps, state.informed(models))
            for key, values in _pulls(state, verdict):
                pulls.setdefault(key, []).append(values)
            known.append(own)
            state = advance(state, verdict).state
        if progress:
            progress(done)
    if state is None or len(known) < FEWEST_RUNS:
        raise InputError(
            f"{len(known)} runs behind the first one, which is the clean one; at least {FEWEST_RUNS} are needed to "
            "tell what innovations follow; give more"
        )
    return [_explained(state, key, np.stack(values), known) for key, values in pulls.items()]


def _pulls(state: DetectorState, verdict: RunVerdict) -> Iterator[tuple[tuple[str, str], Floats]]:
    """(units,) pull of every unit by sub-detector and level; NaN where it was not measured or has a line."""
    for judged in verdict.verdicts:
        part, measured = state.subdetectors.get(judged.subdetector), judged.measured
        if part is None or measured is None:
            continue
        line, frozen = lined(part, judged.findings), state.frozen(judged.subdetector)
        for level in LEVELS:
            layer = predict(part.layers[level], 1.0, frozen[level])
            off = innovation(layer, measured.sums[level], state.place(UNKNOWN, layer.terms))
            sound = off.measured & ~line[level] & ~frozen[level]
            if level == "channel":
                sound &= ~silent(off, measured.digis)
            yield (judged.subdetector, level), np.where(sound, np.clip(off.pull, -LARGEST, LARGEST), np.nan)


def _explained(state: DetectorState, key: tuple[str, str], pulls: Floats, known: Sequence[RunFacts]) -> Unexplained:
    """``pulls`` (runs, units)."""
    features = {
        "past": _past(pulls),
        "neighbours": _neighbours(state, key, pulls),
        "menu": _same_menu(pulls, [c.menu for c in known]),
        "dose": _dose(pulls, [c.luminosity for c in known]),
    }
    there = {source: values for source, values in features.items() if values is not None}
    by: dict[str, float | None] = {
        source: r_squared(pulls, there[source]) if source in there else None for source in SOURCES
    }
    by["all"] = r_squared(pulls, np.concatenate(list(there.values())))
    finite = np.isfinite(pulls)
    return Unexplained(
        *key, len(pulls), int(finite.sum()), float(np.sqrt(np.mean(pulls[finite] ** 2))) if finite.any() else 0.0, by
    )


def r_squared(values: Floats, features: Floats) -> float:
    """Out-of-sample R² of ``values`` (runs, units) by ``features`` (F, runs, units), linearly.

    What one half of the runs teaches explains the other half; 1 − Σ(y − ŷ)²/Σy², below 0 where it misleads.
    """
    half = np.arange(len(values)) < len(values) // 2
    lost, whole = 0.0, 0.0
    for train in (half, ~half):
        x, y = _flat(features[:, train], values[train])
        weight = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        x, y = _flat(features[:, ~train], values[~train])
        lost, whole = lost + float(((y - x @ weight) ** 2).sum()), whole + float((y**2).sum())
    return 1 - lost / whole if whole else 0.0


def _flat(features: Floats, values: Floats) -> tuple[Floats, Floats]:
    """(cells, F) and (cells,) of the cells that were measured; features that are not known are 0."""
    there = np.isfinite(values)
    return np.nan_to_num(features[:, there]).T, values[there]


def _past(pulls: Floats) -> Floats:
    """The unit's own last two innovations, and their mean so far."""
    last = np.full((3, *pulls.shape), np.nan)
    last[0, 1:], last[1, 2:] = pulls[:-1], pulls[:-2]
    last[2, 1:] = _means_before(pulls)[1:]
    return last


def _means_before(values: Floats) -> Floats:
    """(runs, units) mean over the runs before each; 0 where there was none."""
    there = np.isfinite(values)
    total = np.cumsum(np.where(there, values, 0), axis=0) - np.where(there, values, 0)
    count = np.cumsum(there, axis=0) - there
    return np.asarray(total / np.maximum(count, 1))


def _neighbours(state: DetectorState, key: tuple[str, str], pulls: Floats) -> Floats:
    """Of the same run, the mean of the two nearest units of the same kind, and for rings that of all others.

    Units are compared with the one above them, so what is in it sums to zero: the mean of all others would be the unit
    itself with its sign turned. Of modules the nearest are those in the same place of the neighbouring boxes.
    """
    tree = state.subdetectors[key[0]].tree
    step = max(1, len(tree.module) // max(len(tree.box), 1)) if key[1] == "module" else 1
    beside = np.stack([np.roll(pulls, step, axis=1), np.roll(pulls, -step, axis=1)])
    there = np.isfinite(beside)
    near = np.where(there, beside, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return np.stack([near, _means_of_others(pulls)]) if key[1] == "ring" else near[None]


def _means_of_others(pulls: Floats) -> Floats:
    there = np.isfinite(pulls)
    own = np.where(there, pulls, 0)
    others = own.sum(axis=1, keepdims=True) - own
    return np.asarray(others / np.maximum(there.sum(axis=1, keepdims=True) - there, 1))


def _same_menu(pulls: Floats, menus: Sequence[str | None]) -> Floats | None:
    """Mean of the unit's earlier innovations after the same change of menus; None where menus are not known."""
    if all(menu is None for menu in menus):
        return None
    before = [None, *menus[:-1]]
    out = np.zeros((1, *pulls.shape))
    for pair in set(zip(before, menus, strict=True)):
        rows = [k for k, change in enumerate(zip(before, menus, strict=True)) if change == pair]
        out[0, rows] = _means_before(pulls[rows])
    return out


def _dose(pulls: Floats, luminosity: Sequence[float | None]) -> Floats | None:
    """Luminosity since the run before, times the unit's mean innovation so far per luminosity; None if not known."""
    dose = np.array([np.nan if value is None else value for value in luminosity])
    if np.isfinite(dose).sum() < FEWEST_RUNS:
        return None
    step = np.nan_to_num(np.diff(dose, prepend=dose[0]))
    step = step / max(float(step.mean()), 1e-12)
    return np.stack([_means_before(pulls) * step[:, None], np.broadcast_to(step[:, None], pulls.shape)])


def table_of(rows: Sequence[Unexplained]) -> str:
    """As text for a terminal."""
    head = f"{'':18s}{'runs':>5s}{'values':>9s}{'scatter':>9s}" + "".join(f"{s:>12s}" for s in (*SOURCES, "all"))
    lines = [head]
    for row in rows:
        cells = "".join(f"{'–' if (r := row.by[s]) is None else f'{r:.4f}':>12s}" for s in (*SOURCES, "all"))
        name = f"{row.subdetector} {row.level}"
        lines.append(f"{name:18s}{row.runs:5d}{row.values:9d}{row.scatter:9.2f}{cells}")
    return "\n".join(lines)
