"""A campaign as ``certify`` leaves it in its folder, and the page on it: what is good, what is not, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray
from pyarrow import ArrowException, csv

from hcal_root_ad import style
from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.aggregate import Array, States
from hcal_root_ad.judge.verdict import State, Trust, rests_on
from hcal_root_ad.lumi_maps import Range, listed
from hcal_root_ad.report.page import COLUMNS, Picture, count, draw_timeline, picture, quantity, render, spread

GOLDEN, REGISTRY, PROVENANCE = "certification.json", "run_registry.json", "certification.provenance.json"
TABLE, RECORDS = "lumisections.csv", "records"
STATUSES = ("GOOD", "BAD", "STANDBY", "NOTSET")
SUBDETECTORS = ("HB", "HE", "HF", "HO")
_COLUMN = "hcal-hcal"
_OF_SUBDETECTORS = tuple(name.lower() for name in SUBDETECTORS)
_TEXTS, _NUMBERS = ("status", "cause", *_OF_SUBDETECTORS), ("events", "pileup", "recorded")


@dataclass(frozen=True, eq=False)
class Lumisections:
    """The table of lumisections, by run and then by LS: one array per column, all of the same length.

    ``status`` (of HCAL), ``hb``, ``he``, ``hf``, ``ho``: texts of :data:`STATUSES`; ``cause``: text. ``events``,
    ``pileup`` and ``recorded``: float64, NaN where not known.
    """

    run: NDArray[np.int64]
    lumisection: NDArray[np.int64]
    status: NDArray[np.str_]
    hb: NDArray[np.str_]
    he: NDArray[np.str_]
    hf: NDArray[np.str_]
    ho: NDArray[np.str_]
    cause: NDArray[np.str_]
    events: NDArray[np.float64]
    pileup: NDArray[np.float64]
    recorded: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.run)

    def rows_of(self, run: int) -> slice:
        """Rows of one run."""
        first, last = np.searchsorted(self.run, run), np.searchsorted(self.run, run, side="right")
        return slice(int(first), int(last))


@dataclass(frozen=True)
class BadStretch:
    """Lumisections of a run that are bad for one cause."""

    run: int
    first: int
    last: int
    cause: str
    comment: str


@dataclass(frozen=True)
class Doubt:
    """Runs whose verdict on a sub-detector is not trusted: what it rests on, and the reason that was given."""

    subdetector: str
    trust: str
    reason: str
    runs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CampaignSummary:
    """What a page on a campaign shows.

    ``good``: good ranges by run. ``bad``: bad stretches in order. ``failed``: by input that could not be judged, the
    sentence why. ``policy``: the table of the provenance file.
    ``doubts``: verdicts that are not trusted, those of most runs first. ``rests_on``: by run, what its verdicts rest
    on. ``open_findings``: by run, what the detector state knew to be at fault before it.
    """

    folder: Path
    lumisections: Lumisections
    good: Mapping[int, tuple[Range, ...]]
    bad: tuple[BadStretch, ...]
    failed: tuple[tuple[str, str], ...]
    policy: Mapping[str, Any]
    program: str
    notes: tuple[str, ...]
    judges: tuple[str, ...]
    provenance: str = ""
    doubts: tuple[Doubt, ...] = ()
    rests_on: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    open_findings: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def runs(self) -> list[int]:
        return [int(run) for run in np.unique(self.lumisections.run)]


def is_campaign(path: Path) -> bool:
    """Whether a path is the folder of a campaign."""
    return (path / GOLDEN).is_file()


def load_campaign(folder: Path) -> CampaignSummary:
    """Read the folder of a campaign.

    Raises:
        InputError: a file is missing, damaged or of another form.
    """
    golden, registry, provenance = (_read_json(folder / name) for name in (GOLDEN, REGISTRY, PROVENANCE))
    table = _read_table(folder / TABLE)
    try:
        return CampaignSummary(
            folder=folder,
            lumisections=table,
            good={int(run): tuple((int(a), int(b)) for a, b in parts) for run, parts in golden.items()},
            bad=tuple(_bad(registry)),
            failed=tuple((str(failed["file"]), str(failed["sentence"])) for failed in provenance["failed"]),
            policy=provenance["policy"],
            program=provenance["program"],
            notes=tuple(provenance["notes"]),
            judges=tuple(sorted({judge for run in provenance["runs"].values() for judge in run["judges"].values()})),
            provenance=json.dumps(provenance.get("provenance", "")),
            doubts=tuple(_doubts(provenance["runs"])),
            rests_on={int(run): _rests_on(origin["trust"]) for run, origin in provenance["runs"].items()},
            open_findings={int(run): tuple(origin["open_findings"]) for run, origin in provenance["runs"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: expected the folder of a campaign of this version, found one of another form; certify again."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the folder of a campaign has one, so certify again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON, found damage; certify again.") from error
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a JSON object, found another form; certify again.")
    return table


def _read_table(path: Path) -> Lumisections:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the folder of a campaign has one, so certify again.")
    kinds = dict.fromkeys(("run", "lumisection"), "int64") | dict.fromkeys(_TEXTS, "string")
    options = csv.ConvertOptions(
        include_columns=["run", "lumisection", *_TEXTS, *_NUMBERS],
        column_types=kinds | dict.fromkeys(_NUMBERS, "float64"),
    )
    try:
        table = csv.read_csv(path, convert_options=options)
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: expected certify's table, found damage or another form; certify again.") from error
    columns = {name: table[name].to_numpy() for name in ("run", "lumisection", *_NUMBERS)}
    return Lumisections(**columns, **{name: table[name].to_numpy().astype(np.str_) for name in _TEXTS})


def _rests_on(trust: Mapping[str, Any]) -> tuple[str, ...]:
    """What the verdicts on the sub-detectors of a run rest on: ``HB, HE: state of run 370104, 1 run old``."""
    alike: dict[str, list[str]] = {}
    for name, part in trust.items():
        alike.setdefault(rests_on(Trust(part["trust"]), part["reason"]), []).append(name)
    if len(alike) == 1:
        return tuple(alike)
    return tuple(f"{', '.join(names)}: {words}" for words, names in alike.items())


def _doubts(runs: Mapping[str, Any]) -> list[Doubt]:
    alike: dict[tuple[str, str, str], list[int]] = {}
    for run, origin in runs.items():
        for name, part in origin["trust"].items():
            if not Trust(part["trust"]).trusted:
                alike.setdefault((name, part["trust"], part["reason"]), []).append(int(run))
    doubts = [Doubt(*words, tuple(sorted(numbers))) for words, numbers in alike.items()]
    return sorted(doubts, key=lambda doubt: -len(doubt.runs))


def _bad(registry: Mapping[str, Any]) -> Iterator[BadStretch]:
    for run, parts in registry.items():
        for part in parts:
            flag = part[_COLUMN]
            if flag["status"] == "BAD":
                yield BadStretch(int(run), int(part["start"]), int(part["end"]), flag["cause"], flag["comment"])


STRETCHES = 300
"""Most bad stretches listed, the longest first; the Run Registry file has all."""
_RUNS = 8
"""Runs named in one doubt."""
STATES = {"GOOD": State.GOOD, "BAD": State.BAD, "STANDBY": State.NOT_CONNECTED, "NOTSET": State.NOT_ASSESSED}
"""The colour in which each status is drawn."""


def campaign_page(campaign: CampaignSummary, pages: Mapping[int, str] | None = None) -> str:
    """The page as HTML; ``pages`` are addresses of pages on single runs."""
    table = campaign.lumisections
    longest = sorted(campaign.bad, key=lambda stretch: (stretch.first - stretch.last, stretch.run, stretch.first))
    by_name = {"HCAL": table.status} | {name: getattr(table, name.lower()) for name in SUBDETECTORS}
    bad = table.status == "BAD"
    causes = [
        {"words": words, "lumisections": number, "runs": len(np.unique(table.run[bad & (table.cause == words)]))}
        for words, number in Counter(table.cause[bad].tolist()).most_common()
    ]
    return render(
        "campaign.html.j2",
        provenance=campaign.provenance,
        campaign=campaign,
        sentence=_sentence(campaign),
        trust=list(_trust(campaign)),
        statuses=STATUSES,
        states=STATES,
        counts={name: Counter(values.tolist()) for name, values in by_name.items()},
        total=len(table),
        luminosity=_good_luminosity(table),
        overview=_overview(campaign),
        block=-(-int(table.lumisection.max(initial=1)) // COLUMNS),
        causes=causes,
        stretches=longest[:STRETCHES],
        states_judge=any(campaign.open_findings.values()),
        hidden=max(0, len(longest) - STRETCHES),
        rows=[_row(campaign, run, (pages or {}).get(run)) for run in campaign.runs],
    )


def _row(campaign: CampaignSummary, run: int, page: str | None) -> dict[str, Any]:
    """One run in the table; ``page`` is the address of its own page, None without one."""
    table = campaign.lumisections
    rows = table.rows_of(run)
    return {
        "run": run,
        "page": page,
        "counts": Counter(table.status[rows].tolist()),
        "good": listed(campaign.good.get(run, ()), 8),
        "events": count(float(np.nansum(table.events[rows]))),
        "pileup": spread(table.pileup[rows]),
        "rests_on": campaign.rests_on.get(run, ()),
        "open_findings": campaign.open_findings.get(run, ()),
    }


def _sentence(campaign: CampaignSummary) -> str:
    table = campaign.lumisections
    good, total = int((table.status == "GOOD").sum()), len(table)
    share = f" ({good / total:.1%})" if total else ""
    lost = f"; {quantity(len(campaign.failed), 'input')} could not be judged" if campaign.failed else ""
    runs = quantity(len(campaign.runs), "run")
    return f"{good:,} of {quantity(total, 'lumisection')} in {runs} are good for HCAL{share}{lost}."


def _trust(campaign: CampaignSummary) -> Iterator[str]:
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


def _overview(campaign: CampaignSummary) -> Picture:
    table, runs = campaign.lumisections, campaign.runs
    states: States = np.zeros((int(table.lumisection.max(initial=1)), len(runs)), dtype=np.uint8)
    rows = np.searchsorted(runs, table.run)
    for status, state in STATES.items():
        of_status = table.status == status
        states[table.lumisection[of_status] - 1, rows[of_status]] = state
    rows_of = quantity(len(runs), "run")
    words = f"Status of each lumisection, one row for each of {rows_of}. The tables below give the ranges."
    return picture(runs_figure(runs, states, STATES), words)


@style.in_cms_style
def runs_figure(runs: Sequence[int], states: Array, names: Mapping[str, int]) -> Figure:
    """(LS, runs) states, LS 1 first, the first run on top; ``names`` says what each state stands for."""
    height = float(np.clip(2.2 + 0.24 * len(runs), 3, 14))
    figure = style.page(f"{len(runs)} run{'s' * (len(runs) != 1)}", 14, height)
    axis = figure.subplots()
    draw_timeline(axis, states, 0)
    axis.invert_yaxis()
    step = -(-max(len(runs), 1) // 45)
    axis.yaxis.set_major_locator(FixedLocator([row + 0.5 for row in range(0, len(runs), step)]))
    axis.set_yticklabels([str(run) for run in runs[::step]], fontsize=10)
    axis.set_ylabel("run")
    axis.set_xlabel("lumisection")
    entries = [*((name, style.STATES[state][1]) for name, state in names.items()), ("no LS", style.NO_CHANNEL)]
    style.legend_below(figure, [style.patch(colour, name) for name, colour in entries])
    return figure
