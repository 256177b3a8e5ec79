"""Counts of lumisections from the snapshots of a run that grow: differences within a job, each lumisection once.

The online DQM saves a run's histograms again and again while they grow (CMSSW
``DQMFileSaverOnline.cc``); offline jobs may save one file per lumisection instead (``DQMFileSaver.cc``).
Names alone tell the two apart: counts that rise from LS to LS look just like a snapshot that grew. They also tell
which job saved a snapshot: one that was started again counts from zero, so no difference is taken from job to job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.gathering import LumisectionCounts
from hcal_root_ad.harvest.harvester import RunTotal


def sections_of(totals: list[RunTotal], cumulative: bool | None) -> tuple[list[LumisectionCounts], list[str]] | None:
    """Sections of one run's files with notes, or None where one file holds the whole run.

    ``cumulative`` is what the definition says, or None where the files' names decide.

    Raises:
        InputError: files that cannot be put in order.
    """
    if len(totals) == 1:
        alone = totals[0]
        whole_run = alone.naming != "lumisection" if cumulative is None else cumulative
        is_lumisection = alone.lumisection is not None and alone.section.counts is not None and not whole_run
        return ([alone.section], []) if is_lumisection else None
    series = _in_order(totals)
    if _named_as_snapshots(series) if cumulative is None else cumulative:
        note = f"{len(series)} files of run {series[0].section.run} are snapshots that grow; LS are their differences."
        sections, notes = _of_snapshots(series)
        return sections, [note, *notes]
    return [total.section for total in series], []


def _in_order(totals: list[RunTotal]) -> list[RunTotal]:
    unlabelled = [total for total in totals if total.lumisection is None]
    if unlabelled:
        raise InputError(
            f"{unlabelled[0].path} and {len(totals) - 1} more files hold run {totals[0].section.run}, but its name and "
            "its EventInfo do not say up to which lumisection; give one file of the run, or files with LS numbers."
        )

    def order(total: RunTotal) -> tuple[int, int]:
        counts = total.section.counts
        return total.lumisection or 0, 0 if counts is None else int(counts.sum(dtype=np.int64))

    return sorted(totals, key=order)


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


_STARTED_AGAIN = "in a snapshot of a job that began again, so which lumisections it holds is not known"
_DIFFER = "in the snapshots of two jobs that do not agree"


def _of_snapshots(series: list[RunTotal]) -> tuple[list[LumisectionCounts], list[str]]:
    """Sections of the snapshots of all jobs, each LS once, and notes."""
    jobs: dict[str, list[RunTotal]] = {}
    for total in series:
        jobs.setdefault(total.process, []).append(total)
    sections: list[LumisectionCounts] = []
    left_out: list[RunTotal] = []
    for snapshots in jobs.values():  # by their first LS, as the series is
        grown, less = _growing(snapshots)
        left_out += less
        if grown:
            before = max((section.lumisection for section in sections), default=0)
            sections += _differences(grown, before, {total.lumisection or 0 for total in less if not total.process})
    notes = []
    if len(jobs) > 1:
        notes.append(f"The snapshots are of {len(jobs)} jobs, each of which counts from its own beginning.")
        sections = _each_once(sections)
    if left_out:
        names = ", ".join(total.path.name for total in left_out[:3]) + (", …" if len(left_out) > 3 else "")
        notes.append(f"{len(left_out)} snapshots hold less than an earlier one and were left out ({names}).")
    return sections, notes


def _growing(snapshots: list[RunTotal]) -> tuple[list[RunTotal], list[RunTotal]]:
    """A job's snapshots, the last one of each LS, and those that hold less than an earlier one."""
    grown: dict[int, RunTotal] = {}
    less: list[RunTotal] = []
    latest: RunTotal | None = None
    for total in snapshots:
        if total.section.counts is None or (latest and _fell(latest.section, total.section)):
            less.append(total)
        elif not latest or latest.lumisection == total.lumisection or _fell(total.section, latest.section):
            latest = grown[total.lumisection or 0] = total
    return list(grown.values()), less


def _fell(earlier: LumisectionCounts, later: LumisectionCounts) -> bool:
    """Whether the count of a channel is less than it was."""
    assert earlier.counts is not None
    assert later.counts is not None
    return bool((later.counts < earlier.counts).any())


def _differences(grown: list[RunTotal], before: int, falls: set[int]) -> Iterator[LumisectionCounts]:
    """One section for each snapshot of a job: what it holds beyond the one before.

    ``before``: the last LS of earlier jobs. ``falls``: LS of snapshots that held less, of files that do not name their
    job: one may have begun again there.
    """
    first = replace(grown[0].section, first=before + 1)
    if before and first.lumisection != before + 1:
        first.first = first.lumisection
        if first.lumisection > 1:
            first.doubt(_STARTED_AGAIN)
    differences = [_difference(a.section, b.section) for a, b in pairwise(grown)]
    yield first
    for difference in differences:
        if any(difference.first <= ls <= difference.lumisection for ls in falls):
            difference.doubt(_STARTED_AGAIN)
        yield difference


def _difference(earlier: LumisectionCounts, later: LumisectionCounts) -> LumisectionCounts:
    assert earlier.counts is not None
    assert later.counts is not None
    section = LumisectionCounts(
        run=later.run, lumisection=later.lumisection, first=earlier.lumisection + 1,
        counts=later.counts - earlier.counts, seen=np.minimum(earlier.seen, later.seen).clip(max=1),
        stray=max(later.stray - earlier.stray, 0), origin=later.origin,
        doubts=tuple(dict.fromkeys((*earlier.doubts, *later.doubts))),
    )  # fmt: skip
    for whose in ("own", "other"):
        before, after = (getattr(snapshot, f"{whose}_events") for snapshot in (earlier, later))
        if before is not None and after is not None and after >= before:
            section.count(whose, after - before, after - before)
    return section


def _each_once(sections: list[LumisectionCounts]) -> list[LumisectionCounts]:
    """Sections of several jobs, each LS once: the finer one, or the one that holds all of the other."""
    covered: dict[int, LumisectionCounts] = {}
    for section in sorted(
        sections, key=lambda other: (bool(other.doubts), other.lumisection - other.first, other.lumisection)
    ):
        lumisections = range(section.first, section.lumisection + 1)
        rivals = {id(covered[ls]): covered[ls] for ls in lumisections if ls in covered}
        if not rivals:
            covered.update(dict.fromkeys(lumisections, section))
            continue
        rival, *others = rivals.values()
        same = not others and (rival.first, rival.lumisection) == (section.first, section.lumisection)
        if not same or section.doubts or not _fell(section, rival):
            continue
        if not _fell(rival, section):
            covered.update(dict.fromkeys(lumisections, section))
        else:
            rival.doubt(_DIFFER)
    return list({id(other): other for other in covered.values()}.values())
