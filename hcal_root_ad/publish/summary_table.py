"""What was found in a run, as a short table for a terminal."""

from __future__ import annotations

from rich.table import Table

from hcal_root_ad.judge.verdict import Group, RunVerdict, State

LONGEST = 25
"""Lines shown at most; the flags file has the rest."""
_STYLE = {State.BAD: "red", State.PROBLEMATIC: "yellow"}


def groups_table(verdict: RunVerdict) -> Table:
    """Groups of flags, strongest first: where, what kind, how many channels, when, digis seen over expected, score."""
    rows = _strongest(verdict)
    unit = "strips" if verdict.strips and not verdict.verdicts else "channels"
    table = Table(title=f"Run {verdict.maps.run}: {_count(len(rows))} flagged", caption=_caption(len(rows)))
    for name in ("subdet", "unit", "kind"):
        table.add_column(name)
    for name in (unit, "LS", "ratio", "score"):
        table.add_column(name, justify="right")
    for subdetector, group in rows[:LONGEST]:
        table.add_row(subdetector, *_cells(group), style=_STYLE[group.kind.state])
    return table


def _strongest(verdict: RunVerdict) -> list[tuple[str, Group]]:
    """(sub-detector, group) of all that was judged, strongest first."""
    found = [(part.subdetector, group) for part in verdict.verdicts for group in part.groups]
    found += [(group.unit[:2], group) for group in (verdict.strips.groups if verdict.strips else ())]
    return sorted(found, key=lambda pair: -abs(pair[1].score))


def _cells(group: Group) -> tuple[str, ...]:
    lumisections = str(group.first) if group.first == group.last else f"{group.first}–{group.last}"
    ratio = f"{group.observed / group.expected:.2f}" if group.expected > 0 else "–"
    return (group.unit, str(group.kind), str(group.channels), lumisections, ratio, f"{group.score:.0f}")


def _count(groups: int) -> str:
    return {0: "nothing", 1: "1 group"}.get(groups, f"{groups} groups")


def _caption(groups: int) -> str:
    hidden = groups - LONGEST
    more = f"and {hidden} more; --flags FILE.csv lists every channel\n" if hidden > 0 else ""
    return f"{more}ratio: digis seen over expected; score: log10 of the likelihood ratio of fault to health"
