"""Cases: an original and the damage to it: drawn by number, spelled by a fuzzer, or kept as it once found something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.fuzz.mutations import Damage, Edit, Regions, Spelled, Spent, damage, regions
from benchmarks.fuzz.originals import kinds, originals

FINDS = Path(__file__).parents[2] / "tests" / "fuzz" / "finds.json"
"""What was found and mended: kind, original, in words what came of it, and the edits."""


MOST_DAMAGE = 3
"""In a case that is spelled: a file damaged all over is refused at its first page."""


@dataclass(frozen=True)
class Case:
    """Damage to the original of that name; ``number`` is −1 for what was kept."""

    kind: str
    original: str
    damage: Damage
    number: int = -1

    @property
    def file_name(self) -> str:
        """The name under which a user would have it."""
        return self.original.partition("-")[2]

    def content(self) -> bytes:
        """The damaged file."""
        return self.damage.of(originals(self.kind)[self.original])


@cache
def _sound(kind: str) -> list[tuple[str, bytes, Regions]]:
    return [(name, data, regions(data)) for name, data in originals(kind).items()]


def case(kind: str, number: int) -> Case:
    """Case of that number: the originals of a kind take turns."""
    sound = _sound(kind)
    name, data, found = sound[number % len(sound)]
    return Case(kind, name, damage(data, found, np.random.default_rng([kinds().index(kind), number])), number)


def spelled_case(kind: str, spelling: bytes, number: int) -> Case:
    """Case that bytes spell: the first one names the original, the others up to three damages."""
    sound, done = _sound(kind), Damage("spelled", "", ())
    name, data, found = sound[spelling[0] % len(sound)]
    draw = Spelled(spelling[1:])
    with suppress(Spent):
        for _ in range(MOST_DAMAGE):
            done = replace(done, edits=done.edits + damage(data, found, draw).edits)
    return Case(kind, name, done, number)


def finds() -> Iterator[Case]:
    """All that was found and mended."""
    for row in json.loads(FINDS.read_text()):
        edits = tuple(Edit(start, stop, bytes.fromhex(content)) for start, stop, content in row["edits"])
        yield Case(row["kind"], row["original"], Damage(row["found"], "", edits))


def as_find(one: Case, found: str) -> dict[str, object]:
    """A row of the file of finds."""
    edits = [[edit.start, edit.stop, edit.content.hex()] for edit in one.damage.edits]
    return {"kind": one.kind, "original": one.original, "found": found, "edits": edits}
