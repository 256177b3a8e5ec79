"""What a point of the study is: settings alone, so that equal settings have equal digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from hcal_root_ad.detector import Era

BLOCKS = ("encoder CNN", "encoder GNN", "encoder RNN", "decoder RNN", "decoder CNN")
"""Blocks of GraphSTAD, in the order of the letters of :attr:`Point.blocks`."""
MODES = {"S": "from scratch", "I": "initialised and fine-tuned", "F": "taken over frozen"}
"""What may become of a block, by letter. (arXiv:2408.16612 calls I *init* and F *train*.)"""
SCRATCH, INITIALISED, FROZEN = "SSSSS", "IIIII", "FFFFF"
SPATIAL_ENCODER_AND_TEMPORAL_DECODER = "FFIFI"
"""Those frozen and the rest initialised: what is said to carry over best."""
PROTOCOL = 1
"""Raised when the same settings would mean another measurement."""
FULL_RATE, FINE_TUNING_RATE = 5e-3, 1e-3
"""First learning rates where a block is from scratch, and where all are moved from what they were."""
MOST_PASSES = 4
"""Fewer lumisections are gone through more often, but no more than this many times as often."""


@dataclass(frozen=True)
class Domain:
    """A simulated detector's sub-detector, or one side of it (0 minus, 1 plus; None both).

    Of a source: ``further`` detectors with as many runs each, or as many ``times`` the runs of one.
    """

    detector: int
    era: Era
    subdetector: str
    side: int | None = None
    further: tuple[int, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Size:
    """How much is simulated and trained: training runs, lumisections of every run, and epochs.

    ``held_out`` clean runs of the target measure the error. ``window``: the papers' five, so that a
    twentieth of the lumisections still holds whole windows.
    """

    runs: int
    lumisections: int
    held_out: int
    epochs: int
    source_epochs: int
    window: int = 5


DIRECTIONS = {
    "HE→HB": (Domain(1, Era.RUN3, "HE"), Domain(1, Era.RUN3, "HB")),
    "HB→HE": (Domain(1, Era.RUN3, "HB"), Domain(1, Era.RUN3, "HE")),
    "HE 2018→Run3": (Domain(2, Era.RUN2_2018, "HE"), Domain(1, Era.RUN3, "HE")),
    "HE Run3→2018": (Domain(1, Era.RUN3, "HE"), Domain(2, Era.RUN2_2018, "HE")),
    "HE minus→plus": (Domain(1, Era.RUN3, "HE", 0), Domain(1, Era.RUN3, "HE", 1)),
}
"""Source and target by name."""
_ANOTHER = Domain(1, Era.RUN3, "HE")
DETECTORS = {
    "HE of one detector→another": (Domain(11, Era.RUN3, "HE"), _ANOTHER),
    "HE of one detector, four times the LS→another": (Domain(11, Era.RUN3, "HE", times=4), _ANOTHER),
    "HE of four detectors→another": (Domain(11, Era.RUN3, "HE", further=(12, 13, 14)), _ANOTHER),
}
"""The same, to ask what many detectors teach that one does not."""


@dataclass(frozen=True)
class Point:
    """One grid point.

    Attributes:
        blocks: a letter of :data:`MODES` for each of :data:`BLOCKS`.
        preserved, annealing: as in :class:`hcal_root_ad.model.training.Schedule`.
        fraction: of the target's training lumisections, for all that is learned from them.
        whole_reference: True takes the reference that is judged with from all of them nevertheless, so
            that the network alone lacks data.
        contamination: share of the training lumisections with unlabelled faults.
        seed: of runs, first weights and training; the detectors stay the same.
    """

    direction: str
    size: Size
    blocks: str = SCRATCH
    preserved: bool = False
    annealing: str = "cosine"
    fraction: float = 1.0
    whole_reference: bool = False
    contamination: float = 0.0
    seed: int = 1

    @property
    def source(self) -> Domain:
        return (DIRECTIONS | DETECTORS)[self.direction][0]

    @property
    def target(self) -> Domain:
        return (DIRECTIONS | DETECTORS)[self.direction][1]

    @property
    def epochs(self) -> int:
        """Epochs over the point's share of the lumisections."""
        return round(self.size.epochs * min(1 / self.fraction, MOST_PASSES))

    @property
    def rate(self) -> float:
        return FULL_RATE if "S" in self.blocks else FINE_TUNING_RATE

    def settings(self) -> dict[str, Any]:
        """All that the result depends on, as JSON takes it."""
        domains = {"source": asdict(self.source), "target": asdict(self.target)}
        return {"protocol": PROTOCOL} | asdict(self) | domains

    @property
    def digest(self) -> str:
        return digest_of(self.settings())


def digest_of(settings: dict[str, Any]) -> str:
    """Short name of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
