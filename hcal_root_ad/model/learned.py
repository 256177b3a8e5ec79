"""What a model learned from clean runs, in sentences: how much, what is silent, and what is odd and was not learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.model.clean_runs import CleanRun
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.self_reference import against_rings, module_offsets, odd_modules, ring_levels

ODD_CHANNEL = 1.0
"""A channel whose log rate is off its phi ring by more is worth a look; its level is learned all the same."""
SHOWN = 8
"""Names that a sentence lists at most."""


@dataclass(frozen=True, eq=False)
class Learned:
    """A reference that is fit to judge with, and what people should know of it.

    Attributes:
        reference: levels of odd modules, and of those that are silent, are those of their phi rings.
        sentences: by subject: how much was learned from, silent channels, dead and odd units, odd channels.
    """

    reference: Reference
    sentences: dict[str, str]


def learned(fitted: Reference, runs: Sequence[CleanRun]) -> Learned:
    """Hold what was fitted against the phi rings, so that a fault of the clean runs is not learned as health."""
    reference = against_rings(fitted)
    sentences = {"learned from": _amount(runs), "channels": _silent_channels(fitted, reference)}
    dead = _names_of_modules(fitted, ~_any_live(fitted) & _any_live(reference))
    if dead:
        sentences["dead units"] = (
            f"{_listed(dead)} without a digi in the clean runs although instrumented: dead, not masked; expected to "
            "count as the phi ring does"
        )
    offsets = module_offsets(fitted)
    odd = [
        f"{fitted.tree.module.names[module]} at × {np.exp(offsets[module]):.2f}"
        for module in np.flatnonzero(odd_modules(offsets))
    ]
    if odd:
        sentences["odd units"] = (
            f"{_listed(odd)} of the phi ring in the clean runs: a fault, not health; expected to count as the phi ring "
            "does"
        )
    if text := _odd_channels(fitted):
        sentences["odd channels"] = text
    return Learned(reference, sentences)


def learned_of_hf(fitted: Reference, runs: Sequence[CleanRun]) -> Learned:
    """HF counts every event: all that there is to learn is which channels are live."""
    return Learned(fitted, {"learned from": _amount(runs), "channels": _silent_channels(fitted, fitted)})


def _amount(runs: Sequence[CleanRun]) -> str:
    lumisections, events = sum(map(len, runs)), sum(int(run.events.sum()) for run in runs)
    numbers = list(dict.fromkeys(str(run.maps.run) for run in runs))
    return f"{lumisections} LS with {events} events of run{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _silent_channels(fitted: Reference, reference: Reference) -> str:
    channels = fitted.channels
    silent = ~reference.live & channels.instrumented
    empty = int((~channels.instrumented).sum())
    text = f"{int(reference.live.sum())} of {len(channels)} live"
    if silent.any():
        names = [channels.name_of(int(row)) for row in np.flatnonzero(silent)]
        text += f", {len(names)} without a digi taken as masked: {_listed(names)}"
    return text + (f"; {empty} have no scintillator" if empty else "")


def _odd_channels(fitted: Reference) -> str:
    away = np.where(fitted.live, fitted.level - ring_levels(fitted), 0.0)
    away = away - module_offsets(fitted)[fitted.tree.module.of]
    rows = np.flatnonzero(np.abs(away) > ODD_CHANNEL)
    if not len(rows):
        return ""
    rows = rows[np.argsort(-np.abs(away[rows]))]
    names = [f"{fitted.channels.name_of(int(row))} at × {np.exp(away[row]):.2g}" for row in rows]
    return f"{len(rows)} are off the phi ring, and learned as they are: {_listed(names)}"


def _any_live(reference: Reference) -> NDArray[np.bool_]:
    tree = reference.tree
    return np.bincount(tree.module.of, reference.live, len(tree.module)) > 0


def _names_of_modules(reference: Reference, which: NDArray[np.bool_]) -> list[str]:
    """Names of modules, or of the box where all of its modules are meant."""
    tree = reference.tree
    whole = np.bincount(tree.box_of_module, which, len(tree.box)) == np.bincount(tree.box_of_module)
    boxes = [tree.box.names[box] for box in np.flatnonzero(whole)]
    return boxes + [tree.module.names[m] for m in np.flatnonzero(which & ~whole[tree.box_of_module])]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
