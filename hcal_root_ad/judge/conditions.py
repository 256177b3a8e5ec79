"""Conditions in words and numbers: what is common, moved, and is nobody's fault."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import box_name
from hcal_root_ad.judge.levels import UnitLevels
from hcal_root_ad.judge.rows import JudgedRows
from hcal_root_ad.judge.verdict import CommonPart
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonLevels
from hcal_root_ad.model.units import UnitTree
from hcal_root_ad.stats.binomial import Floats

SAID = 0.06
"""A sub-detector that is off the others by more is said (and flagged from 15 % on)."""
RINGS_SAID = 0.03
"""Rings whose conditions reach this far are said."""
SURE = 0.02
"""Rings whose shift in one LS is less sure do not speak of conditions."""
WAVE_SAID = 0.015
"""Amplitude of a wave in phi that is said."""
STEP = 0.02
"""A change of the rings from one LS to the next that is said."""


def common_part(
    maps: LumiMaps,
    rows: JudgedRows,
    levels: CommonLevels,
    units: UnitLevels,
    tree: UnitTree,
    sound: Mapping[str, NDArray[np.bool_]],
) -> CommonPart:
    """The common part of a run, LS by LS, with its sentences.

    ``sound``: of each sub-detector that was judged, (rows,) where it is not at fault as a whole: that is no condition.
    """

    def everywhere(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray(rows.spread(values.astype(np.float32), len(maps), np.nan))

    names = tree.subdetector.names
    box = np.full((len(levels), 72), np.nan, dtype=np.float32)
    half = np.full((len(levels), 4), np.nan, dtype=np.float32)
    order = {box_name(b): b for b in range(72)}
    for unit, name in enumerate(tree.box.names):
        if name in order:
            box[:, order[name]] = units.box[:, unit] + units.half[:, tree.half_of_box[unit]]
    for unit, name in enumerate(tree.half.names):
        if name in ("HBM", "HBP", "HEM", "HEP"):
            half[:, ("HBM", "HBP", "HEM", "HEP").index(name)] = units.half[:, unit]
    return CommonPart(
        lumisections=maps.lumisections,
        log_pileup=everywhere(levels.log_pileup),
        log_pileup_error=everywhere(levels.log_pileup_error),
        subdetector={name: everywhere(units.subdetector[:, d]) for d, name in enumerate(names)},
        half=everywhere(half),
        ring=everywhere(units.ring + units.condition),
        rings=tree.ring.names,
        box=everywhere(box),
        sentences=tuple(_sentences(rows.lumisections(maps), units, tree, sound)),
    )


def _sentences(
    lumisections: list[NDArray[np.int32]], units: UnitLevels, tree: UnitTree, sound: Mapping[str, NDArray[np.bool_]]
) -> list[str]:
    out: list[str] = []
    for d, name in enumerate(tree.subdetector.names):
        rows = np.flatnonzero(sound.get(name, np.zeros(0, dtype=bool)))
        rings = (tree.subdetector_of_ring == d) & (np.median(units.ring_variance, axis=0) < SURE**2)
        if not len(rows) or not rings.any():
            continue
        shift = float(np.median(units.subdetector[rows, d]))
        if abs(shift) > SAID:
            out.append(f"{name} counts {_percent(shift)} against the other sub-detectors, all rings alike")
        condition = units.condition[rows][:, rings]
        typical = np.median(condition, axis=0)
        if np.abs(typical - np.median(typical)).max() > RINGS_SAID:
            low, high = _percent(float(typical.min())), _percent(float(typical.max()))
            out.append(
                f"rings of {name} moved by {low} to {high} since the clean runs (trigger mix, thresholds or ageing)"
            )
        out += _steps([lumisections[row] for row in rows], condition, name)
        wave = float(np.median(np.abs(units.wave[rows, d])))
        if wave > WAVE_SAID:
            out.append(f"a wave in phi of {100 * wave:.1f} % runs around {name} (beam spot)")
    return out


def _steps(lumisections: list[NDArray[np.int32]], condition: Floats, name: str, window: int = 5) -> list[str]:
    """Where the rings changed for good within the run."""
    if len(condition) < 2 * window + 1:
        return []
    sums = np.concatenate([np.zeros((1, condition.shape[1])), np.cumsum(condition, axis=0)])
    before, after = sums[window:-window] - sums[: -2 * window], sums[2 * window :] - sums[window:-window]
    change = (after - before) / window
    size = np.sqrt((change**2).mean(axis=1))
    out: list[str] = []
    while len(out) < 3 and size.max() > STEP:
        row = int(size.argmax())
        low, high = float(change[row].min()), float(change[row].max())
        ls = int(lumisections[row + window][0])
        out.append(
            f"rings of {name} changed at LS {ls} by {_percent(low)} to {_percent(high)} (trigger mix or thresholds)"
        )
        size[max(0, row - 2 * window) : row + 2 * window] = 0
    return out


def _percent(shift: float) -> str:
    value = 100 * np.expm1(shift)
    return f"{value:+.0f} %" if abs(value) >= 0.5 else "0 %"
