"""What channels that fail do to the mean of their module and box: sound ones look off, the other way.

A mean is robust, but not wholly: where a fifth of a module is at ×0.7, the other channels look as if they had gained
some per cent against it. Nothing of that is a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import ChannelScan
from hcal_root_ad.judge.findings import JudgedDigis
from hcal_root_ad.judge.units import UnitFault
from hcal_root_ad.judge.verdict import Level
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.stats.scan import Stretch

EXPLAINED = 1.5
"""What is off by less, in shifts of the mean, is so because others fail."""


@dataclass(frozen=True, eq=False)
class Pull:
    """Shift of log rate by which failing channels move the plain mean of their module: (LS,) by module of the tree."""

    of_module: dict[int, Floats]
    box_of_module: NDArray[np.intp]

    @classmethod
    def of(cls, judged: JudgedDigis, scan: ChannelScan, live_columns: NDArray[np.intp], tree: UnitTree) -> Pull:
        """By the channels and the QIE cards that were scanned; ``live_columns``: joint rows of the scan's columns."""
        single = ((live_columns[[column]], stretches) for column, stretches in scan.faults.items())
        cards = ((live_columns[card.columns], card.stretches) for card in scan.cards)
        by_channel, by_card = (_moved(some, tree, len(judged.events)) for some in (single, cards))
        size = np.bincount(judged.module[judged.live], minlength=len(tree.module))
        both = {
            module: np.stack([shifts.get(module, np.zeros(len(judged.events))) for shifts in (by_channel, by_card)])
            for module in by_channel | by_card
        }
        # A card and its channels are one fault.
        larger = {m: np.take_along_axis(v, np.abs(v).argmax(axis=0)[None], axis=0)[0] for m, v in both.items()}
        return cls({module: shift / max(size[module], 1) for module, shift in larger.items()}, tree.box_of_module)

    def explains(self, stretch: Stretch, module: int) -> bool:
        """Whether channels of a module look off because others in it fail."""
        return _explains(self._mean([module], stretch), stretch)

    def without_sound_modules(self, faults: Sequence[UnitFault]) -> Iterator[UnitFault]:
        """Faults of units but those of modules that look off because channels of the box's other modules fail."""
        for fault in faults:
            if fault.level is not Level.RM:
                yield fault
                continue
            mates = np.flatnonzero(self.box_of_module == self.box_of_module[fault.unit])
            others = mates[mates != fault.unit].tolist()
            left = tuple(s for s in fault.stretches if not _explains(self._mean(others, s), s))
            if left:
                yield replace(fault, stretches=left)

    def _mean(self, modules: Sequence[int], stretch: Stretch) -> float:
        rows = slice(stretch.first, stretch.last + 1)
        shifts = [float(self.of_module[m][rows].mean()) if m in self.of_module else 0.0 for m in modules]
        return float(np.mean(shifts)) if shifts else 0.0


def _moved(
    faults: Iterable[tuple[NDArray[np.intp], Sequence[Stretch]]], tree: UnitTree, size: int
) -> dict[int, Floats]:
    """By module, (LS,) sum of the shifts of its channels; ``faults``: rows of the tree with their stretches."""
    out: dict[int, Floats] = {}
    for rows, stretches in faults:
        own = out.setdefault(int(tree.module.of[rows[0]]), np.zeros(size))
        for stretch in stretches:
            own[stretch.first : stretch.last + 1] += len(rows) * stretch.shift
    return out


def _explains(pull: float, stretch: Stretch) -> bool:
    return pull * stretch.shift < 0 and abs(stretch.shift) < EXPLAINED * abs(pull)
