"""The page on a campaign: how many lumisections are good, which are not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hcal_root_ad.judge.aggregate import Array, States
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_ranges import listed
from hcal_root_ad.report.campaign import STATUSES, SUBDETECTORS, Campaign, Lumisections
from hcal_root_ad.report.page import Picture, picture, render
from hcal_root_ad.report.pictures import COLUMNS, runs_figure
from hcal_root_ad.report.words import count, quantity, spread

STRETCHES = 300
"""Most bad stretches listed, the longest first; the Run Registry file has all."""
_RUNS = 8
"""Runs named in one doubt."""
STATES = {"GOOD": State.GOOD, "BAD": State.BAD, "STANDBY": State.NOT_CONNECTED, "NOTSET": State.NOT_ASSESSED}
"""The colour in which each status is drawn."""


@dataclass(frozen=True)
class Cause:
    """Why lumisections are bad: how many of how many runs."""

    words: str
    lumisections: int
    runs: int


@dataclass(frozen=True)
class RunRow:
    """One run in the table; ``page`` is the address of its own page, None without one."""

    run: int
    page: str | None
    counts: Mapping[str, int]
    good: str
    events: str
    pileup: str
    rests_on: tuple[str, ...]
    open_findings: tuple[str, ...]


def campaign_page(campaign: Campaign, pages: Mapping[int, str] | None = None) -> str:
    """The page as HTML; ``pages`` are addresses of pages on single runs."""
    table = campaign.lumisections
    longest = sorted(campaign.bad, key=lambda one: (one.first - one.last, one.run, one.first))
    return render(
        "campaign.html.j2",
        provenance=campaign.provenance,
        campaign=campaign,
        sentence=_sentence(campaign),
        trust=list(_trust(campaign)),
        statuses=STATUSES,
        states=STATES,
        counts={name: Counter(values.tolist()) for name, values in _by_name(table).items()},
        total=len(table),
        luminosity=_good_luminosity(table),
        overview=_overview(campaign),
        block=-(-int(table.lumisection.max(initial=1)) // COLUMNS),
        causes=list(_causes(table)),
        stretches=longest[:STRETCHES],
        states_judge=any(campaign.open_findings.values()),
        hidden=max(0, len(longest) - STRETCHES),
        rows=[_row(campaign, run, (pages or {}).get(run)) for run in campaign.runs],
    )


def _by_name(table: Lumisections) -> dict[str, Array]:
    return {"HCAL": table.status} | {name: getattr(table, name.lower()) for name in SUBDETECTORS}


def _sentence(campaign: Campaign) -> str:
    table = campaign.lumisections
    good, total = int((table.status == "GOOD").sum()), len(table)
    share = f" ({good / total:.1%})" if total else ""
    lost = f"; {quantity(len(campaign.failed), 'input')} could not be judged" if campaign.failed else ""
    runs = quantity(len(campaign.runs), "run")
    return f"{good:,} of {quantity(total, 'lumisection')} in {runs} are good for HCAL{share}{lost}."


def _trust(campaign: Campaign) -> Iterator[str]:
    """How far the verdicts can be trusted, where they cannot."""
    for doubt in campaign.doubts:
        named = ", ".join(map(str, doubt.runs[:_RUNS]))
        more = f" and {len(doubt.runs) - _RUNS} more" if len(doubt.runs) > _RUNS else ""
        reason = f" ({doubt.reason.rstrip('.')})" if doubt.reason else ""
        yield f"{doubt.subdetector} of {named}{more} is not trusted: {doubt.trust}{reason}."
    if campaign.doubts and campaign.policy.get("untrusted") == "judge":
        yield "The policy lets its rules decide about these all the same."


def _good_luminosity(table: Lumisections) -> float | None:
    """Share of the recorded luminosity that is in good lumisections, None where nothing is known."""
    known = np.isfinite(table.recorded)
    total = float(table.recorded[known].sum())
    return float(table.recorded[known & (table.status == "GOOD")].sum()) / total if total > 0 else None


def _overview(campaign: Campaign) -> Picture:
    table, runs = campaign.lumisections, campaign.runs
    states: States = np.zeros((int(table.lumisection.max(initial=1)), len(runs)), dtype=np.uint8)
    rows = np.searchsorted(runs, table.run)
    for status, state in STATES.items():
        here = table.status == status
        states[table.lumisection[here] - 1, rows[here]] = state
    rows_of = quantity(len(runs), "run")
    words = f"Status of each lumisection, one row for each of {rows_of}. The tables below give the ranges."
    return picture(runs_figure(runs, states, STATES), words)


def _causes(table: Lumisections) -> Iterator[Cause]:
    bad = table.status == "BAD"
    for words, lumisections in Counter(table.cause[bad].tolist()).most_common():
        runs = len(np.unique(table.run[bad & (table.cause == words)]))
        yield Cause(words, lumisections, runs)


def _row(campaign: Campaign, run: int, page: str | None) -> RunRow:
    table = campaign.lumisections
    rows = table.rows_of(run)
    return RunRow(
        run=run,
        page=page,
        counts=Counter(table.status[rows].tolist()),
        good=listed(campaign.good.get(run, ()), 8),
        events=count(float(np.nansum(table.events[rows]))),
        pileup=spread(table.pileup[rows]),
        rests_on=campaign.rests_on.get(run, ()),
        open_findings=campaign.open_findings.get(run, ()),
    )
