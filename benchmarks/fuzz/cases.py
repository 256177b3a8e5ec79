"""Cases: an original and the damage that is done to it, drawn by number, or kept because it once found something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.fuzz.mutations import Damage, Edit, Regions, damage, regions
from benchmarks.fuzz.originals import kinds, originals

FINDS = Path(__file__).parents[2] / "tests" / "fuzz" / "finds.json"
"""What was found and mended: kind, original, in words what came of it, and the edits."""


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
    return Case(kind, name, damage(data, found, [kinds().index(kind), number]), number)


def finds() -> Iterator[Case]:
    """All that was found and mended."""
    for row in json.loads(FINDS.read_text()):
        edits = tuple(Edit(start, stop, bytes.fromhex(content)) for start, stop, content in row["edits"])
        yield Case(row["kind"], row["original"], Damage(row["found"], "", edits))


def as_find(one: Case, found: str) -> dict[str, object]:
    """A row of the file of finds."""
    edits = [[edit.start, edit.stop, edit.content.hex()] for edit in one.damage.edits]
    return {"kind": one.kind, "original": one.original, "found": found, "edits": edits}
