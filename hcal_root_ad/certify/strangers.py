"""Files that speak of other runs than those that are certified: conditions, selections and flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMED = 5
"""Runs that a sentence names."""


@dataclass(frozen=True)
class Stranger:
    """A file that lacks runs: ``wholly`` if it has none of those that were judged."""

    sentence: str
    wholly: bool


def stranger(path: Path, speaks_of: Callable[[int], bool], runs: Sequence[int]) -> Stranger | None:
    """What to say of a file that lacks some of the runs, or all; None where it has all."""
    absent = [run for run in runs if not speaks_of(run)]
    if not absent:
        return None
    if len(absent) == len(runs):
        return Stranger(
            f"{path.name} holds none of the runs that were judged ({_few(runs)}); give the export of these runs.", True
        )
    return Stranger(f"{path.name} holds nothing of {_few(absent)}.", False)


def _few(runs: Sequence[int]) -> str:
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"run{'s' * (len(runs) != 1)} {', '.join(map(str, runs[:_NAMED]))}{more}"
