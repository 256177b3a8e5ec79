"""What a table shows, in sentences made from its numbers; so a table made again never keeps old words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from studies.evaluate.summary import Entry

OURS, WITHOUT_NETWORK = "ours", "ours without network"
LEVEL = 0.01
"""Share of the limit: systems that are both this close to it are level."""
NAMED = 12
"""Exceptions that are named, the worst first."""


def findings(entries: Sequence[Entry], kinds: Sequence[str], scales: Sequence[str]) -> list[str]:
    """Sentences on one sub-detector; those that need a system which was not measured are left out."""
    by_name = {entry.name: entry for entry in entries}
    systems = [entry for entry in entries if entry.is_system]
    rivals = [entry for entry in systems if not entry.name.startswith(OURS)]
    cells = list(product(kinds, scales))
    sentences = [_best(systems[0])] if systems else []
    if OURS in by_name and rivals:
        sentences.append(_ours_against(by_name[OURS], rivals, cells))
    plain, deep = ([entry for entry in rivals if entry.row["deep"] == wanted] for wanted in (False, True))
    if plain and deep:
        sentences.append(_deep_against_plain(deep[0], plain[0]))
    if OURS in by_name and WITHOUT_NETWORK in by_name:
        sentences.append(_network(by_name[OURS], by_name[WITHOUT_NETWORK], cells))
    return sentences


def _best(entry: Entry) -> str:
    share = entry.of_unit
    return (
        f"Best is *{entry.name}*: its partial AUC is {share.mean:.3f} of the whole unit's limit on average "
        f"({entry.of_channel.mean:.3f} of the single channel's), {share.of_worst_kind:.3f} for its worst kind "
        f"({share.worst_kind})."
    )


def _ours_against(ours: Entry, rivals: Sequence[Entry], cells: Sequence[tuple[str, str]]) -> str:
    """Where ours is not ahead of every rival, and not both are level with the limit."""
    beaten = sorted(_beaten(ours, rivals, cells))
    if not beaten:
        return (
            f"*{ours.name}* is ahead of every other system, or both are within {LEVEL:.0%} of the limit, "
            "for every fault kind and scale."
        )
    named = "; ".join(words for _, words in beaten[:NAMED])
    more = f"; and {len(beaten) - NAMED} more" if len(beaten) > NAMED else ""
    return (
        f"*{ours.name}* is ahead of every other system, or both are within {LEVEL:.0%} of the limit, for "
        f"{len(cells) - len(beaten)} of {len(cells)} pairs of fault kind and scale. The exceptions: {named}{more}."
    )


def _beaten(ours: Entry, rivals: Sequence[Entry], cells: Sequence[tuple[str, str]]) -> Iterator[tuple[float, str]]:
    for kind, scale in cells:
        mine = ours.share(kind, scale)
        best = max(rivals, key=lambda entry: np.nan_to_num(entry.share(kind, scale), nan=-1.0))
        theirs = best.share(kind, scale)
        if theirs > mine and mine < 1 - LEVEL:
            yield mine - theirs, f"{kind} {scale} ({mine:.3f} against {theirs:.3f} of *{best.name}*)"


def _deep_against_plain(deep: Entry, plain: Entry) -> str:
    verb = "beats" if deep.of_unit.mean > plain.of_unit.mean else "does not beat"
    return (
        f"The best of the other deep networks, *{deep.name}* ({deep.of_unit.mean:.3f}), {verb} the best of the other "
        f"plain systems, *{plain.name}* ({plain.of_unit.mean:.3f})."
    )


def _network(ours: Entry, without: Entry, cells: Sequence[tuple[str, str]]) -> str:
    gains = np.array([ours.share(*cell) - without.share(*cell) for cell in cells])
    ahead, behind = int((gains > LEVEL).sum()), int((gains < -LEVEL).sum())
    gain = ours.of_unit.mean - without.of_unit.mean
    said = "adds nothing" if gain <= 0 else "adds little" if gain < LEVEL else "adds"
    return (
        f"Our network {said}: with it ours has {gain:+.4f} of the limit on average, and is more than {LEVEL:.0%} of "
        f"the limit ahead of ours without it in {ahead} of {len(cells)} pairs of kind and scale, behind in {behind}."
    )
