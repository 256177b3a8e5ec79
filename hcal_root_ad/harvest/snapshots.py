"""Files of one run that each hold "the run": one per lumisection, or cumulative snapshots whose differences are LS.

The online DQM saves a run's histograms again and again while they grow (CMSSW
``DQMFileSaverOnline.cc``); offline jobs may save one file per lumisection instead (``DQMFileSaver.cc``).
Names alone tell the two apart: counts that rise from LS to LS look just like a snapshot that grew.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.container import RunTotal
from hcal_root_ad.harvest.section import Section, table_of_run


def sections_of(totals: list[RunTotal], cumulative: bool | None) -> tuple[list[Section], list[str]] | None:
    """Sections of one run's files with notes, or None where one file holds the whole run.

    ``cumulative`` is what the definition says, or None where the files' names decide.

    Raises:
        InputError: files that cannot be put in order, or a snapshot that holds less than the one before.
    """
    if len(totals) == 1:
        alone = totals[0]
        whole_run = alone.naming != "lumisection" if cumulative is None else cumulative
        is_lumisection = alone.lumisection is not None and alone.section.counts is not None and not whole_run
        return ([alone.section], []) if is_lumisection else None
    series = _in_order(totals)
    if _named_as_snapshots(series) if cumulative is None else cumulative:
        note = f"{len(series)} files of run {series[0].section.run} are snapshots that grow; LS are their differences."
        return _differences(series), [note]
    return [total.section for total in series], []


def _in_order(totals: list[RunTotal]) -> list[RunTotal]:
    unlabelled = [total for total in totals if total.lumisection is None]
    if unlabelled:
        raise InputError(
            f"{unlabelled[0].path} and {len(totals) - 1} more files hold run {totals[0].section.run}, but its name and "
            "its EventInfo do not say up to which lumisection; give one file of the run, or files with LS numbers."
        )
    return sorted(totals, key=lambda total: (total.lumisection or 0, _digis(total)))


def _named_as_snapshots(series: list[RunTotal]) -> bool:
    """Whether the files' names are those of snapshots; of lumisections otherwise."""
    first = series[0]
    odd = next((total for total in series if total.naming != first.naming), first)
    if odd is not first or not first.naming:
        raise InputError(
            f"{first.path} and {(series[1] if odd is first else odd).path} both hold run {first.section.run}, and "
            "their names do not make all of them lumisections or all of them snapshots of it; give one of them, or a "
            "definition with cumulative = true or false."
        )
    return first.naming == "snapshot"


def _falling(earlier: RunTotal, later: RunTotal) -> int:
    """Number of channels whose count falls from one file to the next."""
    if earlier.section.counts is None or later.section.counts is None:
        return 0
    return int((later.section.counts < earlier.section.counts).sum())


def _digis(total: RunTotal) -> int:
    return 0 if total.section.counts is None else int(total.section.counts.sum())


def _differences(series: list[RunTotal]) -> list[Section]:
    """One section for each snapshot: what it holds beyond the one before."""
    for a, b in pairwise(series):
        if a.lumisection == b.lumisection and _falling(a, b):
            raise InputError(
                f"{a.path} and {b.path} are both snapshots of LS {a.lumisection}, but neither holds the other."
            )
    grown = list({total.lumisection: total for total in series}.values())
    return [_first(grown[0]), *(_difference(a, b) for a, b in pairwise(grown))]


def _first(total: RunTotal) -> Section:
    section = total.section
    section.first = 1
    return section


def _difference(a: RunTotal, b: RunTotal) -> Section:
    earlier, later = a.section, b.section
    if earlier.counts is None or later.counts is None:
        lacking = a if earlier.counts is None else b
        raise InputError(
            f"The snapshot {lacking.path} holds no HCAL maps, but others of run {later.run} do; leave it out."
        )
    counts = later.counts - earlier.counts
    if (counts < 0).any():
        raise InputError(_backwards(a, b, counts))
    return Section(
        run=later.run, lumisection=later.lumisection, first=earlier.lumisection + 1, counts=counts,
        seen=np.minimum(earlier.seen, later.seen).clip(max=1), stray=max(later.stray - earlier.stray, 0),
        own_events=_counter_difference(a, b, "own_events"), other_events=_counter_difference(a, b, "other_events"),
    )  # fmt: skip


def _counter_difference(a: RunTotal, b: RunTotal, name: str) -> int | None:
    earlier, later = getattr(a.section, name), getattr(b.section, name)
    if earlier is None or later is None:
        return None
    if later < earlier:
        raise InputError(
            f"The event counter went backwards from {earlier} in {a.path} to {later} in {b.path}; snapshots of one run "
            "only grow, so give files of one uninterrupted job."
        )
    return int(later - earlier)


def _backwards(a: RunTotal, b: RunTotal, counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    table = table_of_run(b.section.run)
    row = int(np.argmin(counts))
    channel = f"{table.names[row]} {table.ieta[row]:+d}/{table.iphi[row]}/{table.depth[row]}"
    return (
        f"The counts of {(counts < 0).sum()} channels went backwards from {a.path} to {b.path} (by {-counts[row]} in "
        f"{channel}); snapshots of one run only grow, so give files of one uninterrupted job, or a definition with "
        "cumulative = false if each file holds one lumisection."
    )
