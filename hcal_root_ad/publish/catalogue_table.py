"""The catalogue of reference runs in a terminal: a table of all, and one in detail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from hcal_root_ad.errors import CatalogueError
from hcal_root_ad.harvest.inputs import RemoteFile
from hcal_root_ad.references.catalogue import ReferenceEntry, loaded
from hcal_root_ad.references.rates import Rates


def entries_table(entries: Sequence[ReferenceEntry]) -> Table:
    """One line per reference run, in the order of the search path."""
    table = Table(title="Reference runs", caption="rates: whether runs can be compared with it")
    for name in ("name", "runs", "era", "trigger", "counts", "state", "LS", "rates", "what"):
        table.add_column(name, justify="right" if name == "LS" else "left")
    for entry in entries:
        state = ", ".join(text for text in (entry.state, _validity(entry)) if text)
        table.add_row(
            entry.name, ", ".join(map(str, entry.runs)), entry.era.value, entry.trigger or "every", entry.quantity,
            state, str(entry.lumisections or "–"), "yes" if entry.rates else "no", entry.what,
        )  # fmt: skip
    return table


def entry_details(entry: ReferenceEntry) -> Iterator[str]:
    """Everything that is known of one reference run, a line each."""
    yield f"{entry.name}"
    facts = {
        "runs": ", ".join(map(str, entry.runs)),
        "era": entry.era.value,
        "trigger": entry.trigger or "every",
        "counts": entry.quantity,
        "state": entry.state,
        "lasts": _validity(entry),
        "holds": f"{entry.lumisections} lumisections, {entry.events} events" if entry.events else "",
        "data": entry.data,
        "what": entry.what,
        "made by": entry.made_by,
        "catalogue": str(entry.folder),
    }
    yield from (f"  {key:<11} {value}" for key, value in facts.items() if value)
    for path in entry.inputs:
        there = isinstance(path, RemoteFile) or path.exists()
        yield f"  file        {path}{'' if there else ' (not there)'}"
    yield from _rates(entry)


def _rates(entry: ReferenceEntry) -> Iterator[str]:
    if not entry.rates:
        yield "  rates       none: a run, but no reference"
        return
    try:
        reference = loaded(entry)
    except CatalogueError as error:
        yield f"  rates       {error}"
        return
    yield f"  rates       {entry.folder / entry.rates}"
    yield from (f"  {name:<11} {_summary(rates)}" for name, rates in reference.rates.items())


def _summary(rates: Rates) -> str:
    reference, live = rates.reference, rates.reference.live
    low, high = reference.pileup_range
    p = 1 - np.exp(-np.exp(np.median(reference.level[live]))) if live.any() else 0.0
    return (
        f"{int(live.sum())} of {len(live)} channels filled, median {p:.3f} digis per event; rates known to "
        f"{np.median(reference.level_error[live]):.2%}, from run to run {np.median(rates.spread[live]):.1%}; "
        f"pileup {np.exp(low):.2f} to {np.exp(high):.2f} of its mean"
    )


def _validity(entry: ReferenceEntry) -> str:
    if not entry.first_run and not entry.last_run:
        return ""
    return f"runs {entry.first_run or '…'} to {entry.last_run or '…'}"
