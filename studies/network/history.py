"""Run-to-run prior: what history and neighbours say of the next run that the detector state does not know.

A state is told all that it can be told, trigger menu and luminosity, and judges simulated eras run by run. What each
run is beyond its prediction (innovations, as pulls) is to be foreseen from what was known *before* the run: past
innovations of the unit and of its neighbours, the menu, the luminosity. Alternatives:

- *filter*: the state alone, R² = 0 by definition;
- *linear*: ridge regression on the last two innovations, their mean, those of the neighbours, menu and dose;
- *network*: a recurrent network over runs on the same inputs;
- *bound*: the share of the variance of innovations that is no counting chance. Not all of it can be foreseen: what
  walks freely cannot.

Learned on some eras, tested on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hcal_root_ad.files import whole_file
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.model.model import Model
from hcal_root_ad.state.detector_state import DetectorState
from hcal_root_ad.state.era import first_state
from hcal_root_ad.state.guards import lined, silent
from hcal_root_ad.state.layers import innovation, predict
from hcal_root_ad.state.unexplained import LARGEST, models_of_run
from hcal_root_ad.state.update import advance
from hcal_root_ad.stats.binomial import Floats
from studies.era.world import ERAS, Era, quiet

LEVELS = ("channel", "module", "box", "ring")
NAMES = ("HB", "HE")
SEEDS = (1, 2, 3)
RUNS = 22
MOST = 800
"""Units of a level that are looked at: channels are thinned evenly."""
HIDDEN = 16
EPOCHS = 40
RIDGE = 10.0
INPUTS = 7


@dataclass(frozen=True, eq=False)
class History:
    """Innovations of one level and sub-detector in one era.

    ``pulls``: (runs, units), NaN where not measured. ``around``: (runs, units) mean of the neighbours' pulls.
    ``menu``, ``dose``: (runs,) of each run. ``real``: share of the variance that is no counting chance.
    """

    pulls: Floats
    around: Floats
    menu: Floats
    dose: Floats
    real: float


def histories(world: str, seed: int, runs: int, folder: Path) -> dict[tuple[str, str], History]:
    """Histories of an era without faults by sub-detector and level; kept in the folder."""
    path = folder / f"history-{world}-{seed}-{runs}.npz"
    if not path.exists():
        arrays = _judged(quiet(Era(world, ERAS[world], seed)), runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    kept = np.load(path)
    menu, dose = kept["menu"], kept["dose"]
    return {
        (name, level): History(
            kept[f"{name} {level} pulls"], kept[f"{name} {level} around"], menu, dose,
            float(kept[f"{name} {level} real"]),
        )
        for name in NAMES
        for level in LEVELS
    }  # fmt: skip


def _judged(era: Era, runs: int) -> dict[str, NDArray[Any]]:
    """Judge an era with a state that is told menu and luminosity, and keep the innovations."""
    out: dict[str, list[Floats]] = {}
    real: dict[str, list[tuple[float, float]]] = {}
    menu, dose = [], []
    state: DetectorState | None = None
    models: tuple[Model, ...] = ()
    before = 0.0
    for run in islice(era.runs(), runs + 1):
        if state is None:
            models = models_of_run(run.maps)
            state = first_state(models, conditions=run.conditions)
            before = float(run.conditions.luminosity or 0.0)
            continue
        verdict = judge_run(run.maps, state.informed(models, run.conditions))
        for judged in verdict.verdicts:
            part, measured = state.subdetectors[judged.subdetector], judged.measured
            if measured is None:
                continue
            line, frozen = lined(part, judged.findings), state.frozen(judged.subdetector)
            for level in LEVELS:
                layer = predict(part.layers[level], 1.0, frozen[level])
                off = innovation(layer, measured.sums[level], state.place(run.conditions, layer.terms))
                sound = off.measured & ~line[level] & ~frozen[level]
                if level == "channel":
                    sound &= ~silent(off, measured.digis)
                units = _thinned(len(sound))
                key = f"{judged.subdetector} {level}"
                pulls = np.where(sound, np.clip(off.pull, -LARGEST, LARGEST), np.nan)
                out.setdefault(f"{key} pulls", []).append(pulls[units])
                out.setdefault(f"{key} around", []).append(_around(part, level, pulls)[units])
                share = off.chance / (off.chance + off.expected)
                real.setdefault(f"{key} real", []).append(
                    (float(share[sound].sum()), float(np.nansum(np.where(sound, pulls, np.nan) ** 2)))
                )
        menu.append(1.0 if run.conditions.menu == "menu B" else 0.0)
        dose.append(float(run.conditions.luminosity or 0.0) - before)
        before = float(run.conditions.luminosity or 0.0)
        state = advance(state, verdict, conditions=run.conditions).state
    arrays: dict[str, NDArray[Any]] = {key: np.stack(values).astype(np.float32) for key, values in out.items()}
    for key, pairs in real.items():
        chance, whole = np.sum(pairs, axis=0)
        arrays[key] = np.array(max(0.0, 1 - chance / max(whole, 1e-9)))
    return arrays | {"menu": np.array(menu), "dose": np.array(dose) / max(np.mean(dose), 1e-9)}


def _thinned(units: int) -> NDArray[np.intp]:
    return np.arange(units)[:: max(1, units // MOST)]


def _around(part: Any, level: str, pulls: Floats) -> Floats:
    """Mean pull of the others in the unit above."""
    tree = part.tree
    of = {"channel": tree.module.of, "module": tree.box_of_module, "box": tree.half_of_box}.get(level)
    of = np.zeros(len(pulls), dtype=np.intp) if of is None else of
    there = np.isfinite(pulls)
    own = np.where(there, pulls, 0)
    total, count = np.bincount(of, own), np.bincount(of, there)
    return np.asarray((total[of] - own) / np.maximum(count[of] - there, 1))


# --- prediction


def inputs_of(history: History) -> Floats:
    """(runs, units, INPUTS) what is known before each run."""
    pulls, around = np.nan_to_num(history.pulls), np.nan_to_num(history.around)
    out = np.zeros((*pulls.shape, INPUTS))
    out[1:, :, 0], out[2:, :, 1] = pulls[:-1], pulls[:-2]
    out[1:, :, 2] = (np.cumsum(pulls, axis=0) / np.arange(1, len(pulls) + 1)[:, None])[:-1]
    out[1:, :, 3] = around[:-1]
    out[:, :, 4] = history.menu[:, None]
    out[1:, :, 5] = (history.menu[1:] - history.menu[:-1])[:, None]
    out[:, :, 6] = history.dose[:, None] - 1
    return out


class HistoryNetwork(nn.Module):
    """A GRU over runs, one sequence per unit, weights shared by all units of a level."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(INPUTS, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(units, runs, INPUTS) → (units, runs)."""
        hidden, _ = self.rnn(features)
        out: Tensor = self.out(hidden)[..., 0]
        return out


def learned_network(learned: Sequence[History], kept_out: Sequence[History], seed: int) -> HistoryNetwork:
    """Trained on some histories; of its epochs the one that foresees those kept out best."""
    torch.manual_seed(seed)
    network = HistoryNetwork()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    x, y = _tensors(learned)
    held, wanted = _tensors(kept_out)
    best, weights = 1.0, {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(max(64, len(x) // 4)):  # type: ignore[no-untyped-call]
            loss = _loss(network(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        with torch.no_grad():
            now = float(_loss(network(held), wanted) / _loss(torch.zeros_like(wanted), wanted))
        if now < best:
            best, weights = now, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval()


def _tensors(some: Sequence[History]) -> tuple[Tensor, Tensor]:
    x = np.concatenate([inputs_of(history).transpose(1, 0, 2) for history in some])
    y = np.concatenate([history.pulls.T for history in some])
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))


def _loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    there = torch.isfinite(wanted)
    return ((predicted - torch.nan_to_num(wanted))[there] ** 2).mean()


def linear_weights(learned: Sequence[History]) -> Floats:
    """(INPUTS + 1,) ridge regression."""
    x, y = _tensors(learned)
    there = torch.isfinite(y)
    design = np.concatenate([x[there].numpy(), np.ones((int(there.sum()), 1))], axis=1).astype(np.float64)
    return np.linalg.solve(design.T @ design + RIDGE * np.eye(INPUTS + 1), design.T @ y[there].numpy())


def r_squared(predicted: Floats, pulls: Floats) -> float:
    """1 − Σ(y − ŷ)²/Σy² of what was measured; below 0 where it misleads."""
    there = np.isfinite(pulls)
    return float(1 - ((pulls - predicted)[there] ** 2).sum() / max((pulls[there] ** 2).sum(), 1e-12))


def foreseen(
    world: str, folder: Path, seeds: Sequence[int] = SEEDS, runs: int = RUNS, progress: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """R² on each era of a world, learned on the others of it (the next in order chooses the epoch)."""
    eras = {}
    for seed in seeds:
        eras[seed] = histories(world, seed, runs, folder)
        if progress:
            progress()
    out = []
    for key in eras[seeds[0]]:
        for place, seed in enumerate(seeds):
            test = eras[seed][key]
            choosing = eras[seeds[(place + 1) % len(seeds)]][key]
            learn = [eras[s][key] for s in seeds if s != seed and eras[s][key] is not choosing]
            network = learned_network(learn, [choosing], seed)
            weights = linear_weights([*learn, choosing])
            x = inputs_of(test)
            with torch.no_grad():
                by_network = network(torch.from_numpy(x.transpose(1, 0, 2).astype(np.float32))).numpy().T
            by_line = x @ weights[:-1] + weights[-1]
            half = slice(len(test.pulls) // 5, None)  # the first runs have no history
            out.append({
                "world": world, "subdetector": key[0], "level": key[1], "seed": seed,
                "linear": r_squared(by_line[half], test.pulls[half]),
                "network": r_squared(by_network[half], test.pulls[half]), "bound": test.real,
            })  # fmt: skip
        if progress:
            progress()
    return out
