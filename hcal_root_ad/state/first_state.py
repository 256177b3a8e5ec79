"""Where a detector state begins: a model of clean runs, and how far healthy units are thought to move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hcal_root_ad.detector import Subdetector
from hcal_root_ad.errors import ModelError
from hcal_root_ad.judge.run import TOGETHER
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import (
    clean_runs,
    lumisections_of,
    name_of_clean_runs,
    shared_subdetectors,
)
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CHANNEL_POWER, fit_reference
from hcal_root_ad.state.detector_state import (
    LAYERS,
    UNKNOWN,
    DetectorState,
    Lesson,
    RunFacts,
    SubdetectorState,
)
from hcal_root_ad.state.layers import Labels, Layer, new_layer
from hcal_root_ad.stats.binomial import Floats

OUTER = 24
"""|ieta| of HE from which on channels age: they walk by another width than those inside."""
WALK_SHARE = 0.25
"""Share of the variance between two runs that is thought to stay, until innovations tell."""
RING_WIDTH = 0.02
"""How far a ring may be off its clean runs, before anything is known of menus."""
DOSE_WIDTH, MENU_WIDTH = 0.02, 0.08
"""Prior widths of a ring's loss per inverse femtobarn, and of its shift under another trigger menu."""
UNIT_POWER, RING_POWER = 0.002, 0.02
"""Prior widths of the power of a module, box or half beyond that of its channels, and of a ring."""
SUBDETECTOR_WIDTH = 0.03
"""How far one sub-detector may be off the others from run to run, until it is seen."""


def first_state(
    models: Sequence[Model], runs: Sequence[LumiMaps] = (), *, conditions: RunFacts = UNKNOWN
) -> DetectorState:
    """The state that models are, before any run; HF counts every event and has none.

    With ``runs`` (clean, of a wide range of pileup) levels and powers are fitted to them anew, all at once.
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
