"""Where a training stands, kept beside its output, so that one that was killed goes on to the same weights.

A checkpoint is safetensors: weights, Adam's moments, random states; the learning rate's course as JSON in its head.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from hcal_root_ad.errors import OutputError
from hcal_root_ad.model.graphstad import GraphSTAD

if TYPE_CHECKING:
    from hcal_root_ad.model.reconstruction import Segment
    from hcal_root_ad.model.training import Schedule

_RANDOM, _STORY, _DIGEST = "torch random state", "training", "sha256"
_log = logging.getLogger(__name__)


def checkpoint_path(model: Path) -> Path:
    """Where the checkpoint of the training of a model lies."""
    return model.with_name(f".{model.name}.checkpoint.safetensors")


class Checkpoint:
    """The state of one training after its last whole epoch.

    One of another training, or a damaged one, is as if there were none, and the log says so.
    """

    def __init__(self, path: Path, network: GraphSTAD, segments: Sequence[Segment], schedule: Schedule) -> None:
        self._path, self._identity = path, _identity(network, segments, schedule)

    def save(
        self, losses: Sequence[float], network: GraphSTAD, optimiser: Optimizer, annealing: lr_scheduler.LRScheduler,
        draw: np.random.Generator,
    ) -> None:  # fmt: skip
        """Keep where it stands after as many epochs as there are losses. Raises OutputError."""
        state = optimiser.state_dict()
        tensors = {f"network.{name}": weight for name, weight in network.state_dict().items()}
        tensors |= {f"optimiser.{n}.{name}": one for n, kept in state["state"].items() for name, one in kept.items()}
        flat = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        flat[_RANDOM] = torch.get_rng_state()
        story = {
            "identity": self._identity, "losses": list(losses), "groups": state["param_groups"],
            "annealing": annealing.state_dict(), "draw": draw.bit_generator.state,
        }  # fmt: skip
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            save_file(flat, partial, {_STORY: json.dumps(story | {_DIGEST: _digest(flat, story)})})
            partial.replace(self._path)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise OutputError(f"{self._path}: cannot be written ({error}); choose another place.") from error

    def restore(
        self, network: GraphSTAD, optimiser: Optimizer, annealing: lr_scheduler.LRScheduler, draw: np.random.Generator
    ) -> list[float]:
        """Put all back as it stood; returns the losses of the epochs that are done, none without a checkpoint."""
        found = self._read()
        if found is None:
            return []
        tensors, story = found
        network.load_state_dict(dict(_below(tensors, "network.")))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, one in _below(tensors, "optimiser."):
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = one
        optimiser.load_state_dict({"state": moments, "param_groups": story["groups"]})
        annealing.load_state_dict(story["annealing"])
        torch.set_rng_state(tensors[_RANDOM])
        draw.bit_generator.state = story["draw"]
        return list(map(float, story["losses"]))

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                story = json.loads(file.metadata()[_STORY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if story.pop(_DIGEST) != _digest(tensors, story):
                raise ValueError("its content does not match its digest")
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            _log.warning("%s: the checkpoint is damaged (%s); the training begins anew.", self._path, error)
            return None
        if story["identity"] != self._identity:
            _log.warning(
                "%s: the checkpoint is of another training (other runs, options or versions); this one begins anew.",
                self._path,
            )
            return None
        return tensors, story


def _below(tensors: dict[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), one) for name, one in tensors.items() if name.startswith(prefix))


def _digest(tensors: dict[str, Tensor], story: dict[str, Any]) -> str:
    """Of all that a checkpoint holds, whatever the order."""
    digest = hashlib.sha256(json.dumps(story, sort_keys=True).encode())
    for name, one in sorted(tensors.items()):
        digest.update(name.encode() + one.numpy().tobytes())
    return digest.hexdigest()


def _identity(network: GraphSTAD, segments: Sequence[Segment], schedule: Schedule) -> str:
    """Digest of all that the weights follow from: schedule, first weights, data."""
    digest = hashlib.sha256(repr((schedule, network.config, torch.__version__)).encode())
    for weight in network.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    for segment in segments:
        counts = segment.counts
        for array in (counts.counts, counts.events, counts.lumisections, segment.log_rate):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
