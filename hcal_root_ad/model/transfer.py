"""``train`` and ``transfer``: a model from clean runs, alone or starting from another model.

The reference is the clean runs' own. The network of another sub-detector or detector starts from the source's weights
(mode *init* of arXiv:2408.16612) and is fine-tuned where there are lumisections enough; the weights fit HB and HE alike
because the maps of a side have the same shape for both. HO and HF have no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hcal_root_ad.content import structure
from hcal_root_ad.errors import ModelError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.counts import (
    CleanRun,
    clean_runs,
    hf_reference_of,
    joint_reference_of,
    lumisections_of,
    shared_subdetectors,
)
from hcal_root_ad.model.graphstad import (
    GraphSTAD,
    GraphSTADConfig,
    architecture_of,
    network_of,
    reconstruction_metrics,
    segment_of,
    weights_of,
)
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference, Widths
from hcal_root_ad.model.reference_fit import (
    KNOWN_POWER_WIDTH,
    against_rings,
    fit_reference,
    module_offsets,
    odd_modules,
    ring_levels,
    ring_powers,
)
from hcal_root_ad.model.training import Progress, Schedule, checkpoint_path, train_network
from hcal_root_ad.tables import read_toml

ODD_CHANNEL = 1.0
"""A channel whose log rate is off its phi ring by more is worth a look; its level is learned all the same."""
NARROW = 0.2
"""Clean runs whose log pileup spans less teach nothing about how channels follow it."""
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
    if text := _narrow_pileup(fitted):
        sentences["pileup"] = text
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


def _narrow_pileup(fitted: Reference) -> str:
    """What it means that the clean runs are all at one pileup; "" where they are not."""
    low, high = fitted.pileup_range
    if high - low > NARROW or not fitted.live.any():
        return ""
    error = float(np.median(fitted.power_error[fitted.live])) * np.log(2)
    return (
        f"between the lowest and highest rates of the clean runs lies a factor of {np.exp(high - low):.2f} only: how "
        f"channels follow the pileup is assumed, and at half the rate each is known to {100 * error:.1f} % at best, so "
        "small faults are found later there; add a clean run at another pileup"
    )


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


WITH_NETWORK = ("HB", "HE")
"""Sub-detectors whose maps the network is made for."""
FEWEST = 20
"""Lumisections that a network needs to learn anything; a reference needs fewer."""
FINE_TUNING = Schedule(epochs=6, rate=1e-3)
"""A fifth of the first learning rate, so that what was learned is moved, not lost."""


def train(
    runs: Sequence[LumiMaps],
    subdetector: str,
    folder: Path,
    *,
    schedule: Schedule | None = None,
    config: GraphSTADConfig | None = None,
    widths: Widths | None = None,
    data: str = "",
    progress: Progress | None = None,
) -> Model:
    """Make a model of clean runs of one detector and save it: its reference, and for HB and HE a network.

    ``data`` says in words what the runs are (for the card). Several runs at different pileup teach how channels follow
    the pileup; of a single one much of it is assumed. What was killed goes on after its last whole epoch when it is
    called again.

    Raises:
        InputError: if the runs hold too little. UsageError: if they are of several eras. OutputError: not writable.
    """
    clean = clean_runs(runs)
    found = _learned(clean, subdetector, None)
    widths = widths or found.reference.widths
    model = _bare_model(folder, subdetector, clean, replace(found.reference, widths=widths), found.sentences, data)
    if subdetector not in WITH_NETWORK:
        return model.save(folder)
    schedule = schedule or Schedule()
    torch.manual_seed(schedule.seed)
    network = GraphSTAD(model.channels, config)
    story = f"from scratch, {schedule.epochs} epochs, seed {schedule.seed}"
    return _with_network(model, network, clean, _Training(folder, schedule, story, progress))


def transfer(
    source: Model,
    runs: Sequence[LumiMaps],
    folder: Path,
    *,
    to: str | None = None,
    schedule: Schedule = FINE_TUNING,
    data: str = "",
    progress: Progress | None = None,
) -> Model:
    """Adapt a model to the detector of the clean ``runs`` and save it; errors as those of :func:`train`.

    ``to`` names the target sub-detector; without it the source's own is adapted to a new state. How far healthy units
    move from run to run (its widths) is the source's: one clean run cannot tell. What was learned is in the story.
    """
    subdetector = to or source.subdetector
    clean = clean_runs(runs)
    prior = source.reference if subdetector == source.subdetector else None
    found = _learned(clean, subdetector, prior)
    reference = replace(found.reference, widths=source.reference.widths)
    model = _bare_model(folder, subdetector, clean, reference, found.sentences, data)
    origin = f"{source.name} ({source.subdetector}, digest {source.digest[:12]})"
    model = replace(model, false_alarms=source.false_alarms, story={**model.story, "adapted from": origin})
    if subdetector not in WITH_NETWORK or not source.weights:
        return model.save(folder)
    lumisections = sum(map(len, clean))
    if lumisections < FEWEST or not _has_windows(clean, schedule.window):
        network = (
            f"that of {source.name} as it is: {lumisections} LS teach it nothing, {FEWEST} with {schedule.window} in a "
            "row would"
        )
        model = replace(model, architecture=source.architecture, weights=source.weights)
        return replace(model, story={**model.story, "network": network}).save(folder)
    story = f"weights of {source.name}, fine-tuned {schedule.epochs} epochs, seed {schedule.seed}"
    start = network_of(replace(source, reference=reference))
    return _with_network(model, start, clean, _Training(folder, schedule, story, progress))


def read_widths(path: Path) -> Widths:
    """How far healthy units move, from a TOML file with one number per level.

    Raises:
        ModelError: it is unreadable, a level is unknown or missing, or a number makes no sense.
    """
    widths = structure(read_toml(path, "widths", ModelError), Widths, f"The file {path}", ModelError)
    if wrong := [name for name, value in asdict(widths).items() if not 0 < value <= 1]:
        raise ModelError(
            f"The file {path} says {wrong[0]} = {getattr(widths, wrong[0])}; a number between 0 and 1 was expected."
        )
    return widths


def _learned(clean: Sequence[CleanRun], subdetector: str, prior: Reference | None) -> Learned:
    """The reference of one sub-detector, compared with its phi rings; ``prior``: what is known of its powers."""
    if subdetector == "HF":
        return learned_of_hf(hf_reference_of(clean), clean)
    joint = joint_reference_of(clean, subdetector)
    if prior is not None and np.array_equal(prior.channels.raw_id, joint.channels.select(subdetector).raw_id):
        joint = _with_powers_of(prior, joint, clean)
    return learned(joint.select(subdetector), clean)


def _with_powers_of(prior: Reference, joint: Reference, clean: Sequence[CleanRun]) -> Reference:
    """Rings' powers between what the clean runs say and what another detector's are.

    The pileup of each LS stays that of the joint reference: it must be the same for all sub-detectors.
    """
    names = tuple(dict.fromkeys(joint.channels.names))
    lumisections = lumisections_of(clean, names).thinned()
    levels = CommonPartFit(joint).fit(lumisections.counts, lumisections.events)
    rows = joint.channels.rows_of(prior.channels.names[0])
    power = joint.power.copy()
    power[rows] = prior.power
    moved = ring_powers(joint, levels, power, KNOWN_POWER_WIDTH)
    return replace(joint, power=moved.power)


def _bare_model(
    folder: Path, subdetector: str, clean: Sequence[CleanRun], reference: Reference, sentences: Mapping[str, str],
    data: str,
) -> Model:  # fmt: skip
    return Model(
        name=folder.name,
        subdetector=subdetector,
        reference=reference,
        definition=clean[0].maps.definition,
        story={"data": data or "not said", **sentences},
        metrics={"clean_lumisections": float(sum(map(len, clean)))},
    )


@dataclass(frozen=True)
class _Training:
    """Where the model goes, how its network is trained, what the card says of that, and who is told how far it is."""

    folder: Path
    schedule: Schedule
    story: str
    progress: Progress | None


def _with_network(model: Model, network: GraphSTAD, clean: Sequence[CleanRun], training: _Training) -> Model:
    """Train a network on what references of *other* clean lumisections leave, as in use, and save the model."""
    names = shared_subdetectors(clean)
    pieces = list(clean) if len(clean) > 1 else [*clean[0].halves()]
    references = [fit_reference(lumisections_of([piece], names)) for piece in pieces]
    segments = [
        segment_of(piece, references[(k + 1) % len(pieces)], model.subdetector) for k, piece in enumerate(pieces)
    ]
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = checkpoint_path(training.folder)
    train_network(network, segments, training.schedule, training.progress, checkpoint=checkpoint)
    network.to("cpu")
    saved = replace(
        model,
        architecture=architecture_of(network),
        weights=weights_of(network),
        story={**model.story, "network": training.story},
        metrics=reconstruction_metrics(network, segments),
    ).save(training.folder)
    checkpoint.unlink(missing_ok=True)
    return saved


def _has_windows(clean: Sequence[CleanRun], window: int) -> bool:
    """Whether so many lumisections in a row are in (each half of) the clean runs."""
    pieces = list(clean) if len(clean) > 1 else [*clean[0].halves()]
    numbers = [piece.maps.lumisections[piece.position] for piece in pieces]
    return any((n[window - 1 :] - n[: len(n) - window + 1] == window - 1).any() for n in numbers if len(n) >= window)
