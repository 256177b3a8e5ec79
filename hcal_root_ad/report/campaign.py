"""A campaign as ``certify`` leaves it in its folder, read from the files that it writes for everybody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowException, csv

from hcal_root_ad.errors import InputError
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.judge.wording import rests_on
from hcal_root_ad.lumi_ranges import Range

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

    ``status`` (of HCAL), ``hb``, ``he``, ``hf``, ``ho``: texts of :data:`STATUSES`; ``cause``: text.
    ``events``, ``pileup`` and
    ``recorded``: float64, NaN where not known.
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
class Stretch:
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


@dataclass(frozen=True)
class Failed:
    """An input that could not be judged, and the sentence why."""

    file: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Campaign:
    """What a page on a campaign shows.

    ``good``: good ranges by run. ``bad``: bad stretches in order. ``policy``: the table of the provenance file.
    ``doubts``: verdicts that are not trusted, those of most runs first. ``rests_on``: by run, what its verdicts rest
    on. ``open_findings``: by run, what the detector state knew to be at fault before it.
    """

    folder: Path
    lumisections: Lumisections
    good: Mapping[int, tuple[Range, ...]]
    bad: tuple[Stretch, ...]
    failed: tuple[Failed, ...]
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


def load_campaign(folder: Path) -> Campaign:
    """Read the folder of a campaign.

    Raises:
        InputError: a file is missing, damaged or of another form.
    """
    golden, registry, provenance = (_read_json(folder / name) for name in (GOLDEN, REGISTRY, PROVENANCE))
    table = _read_table(folder / TABLE)
    try:
        return Campaign(
            folder=folder,
            lumisections=table,
            good={int(run): tuple((int(a), int(b)) for a, b in parts) for run, parts in golden.items()},
            bad=tuple(_bad(registry)),
            failed=tuple(Failed(str(one["file"]), str(one["sentence"])) for one in provenance["failed"]),
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
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the folder of a campaign has one, so certify again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON, found damage; certify again.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found another form; certify again.")
    return found


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


def _bad(registry: Mapping[str, Any]) -> Iterator[Stretch]:
    for run, parts in registry.items():
        for part in parts:
            flag = part[_COLUMN]
            if flag["status"] == "BAD":
                yield Stretch(int(run), int(part["start"]), int(part["end"]), flag["cause"], flag["comment"])
