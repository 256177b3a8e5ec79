"""What runs do beyond what a detector state expects, and what of it still follows something.

R² on runs that were not learned from, by the past of each unit, its neighbours in the same run, trigger menu and
dose. Where all are near 0 the state knows what can be known; above 0.1 there is more to learn. The runs are judged in
the order of their numbers; the first one must be clean.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import read_runs
from hcal_root_ad.cli.terminal import progress, show

if TYPE_CHECKING:
    from hcal_root_ad.state.detector_state import RunFacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="DQM files, folders or reference runs; seven runs or more"
    )
    parser.add_argument("--definition", metavar="NAME", help="harvester definition (default: the one that fits)")
    parser.add_argument("--conditions", type=Path, metavar="FILE.toml",
                        help="tables [[run]] with run, menu and luminosity (since the beginning, in /fb): by menu and "
                        "dose as well")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.state.unexplained import table_of, unexplained

    conditions = _conditions(arguments.conditions) if arguments.conditions else None
    runs = sorted(read_runs(arguments.runs, arguments.definition), key=lambda maps: maps.run)
    with progress("Judging") as report:
        rows = unexplained(runs, conditions, lambda done: report(done, len(runs)) if report else None)
    show(table_of(rows))
    return 0


@dataclass(frozen=True)
class _Run:
    """One table of the file."""

    run: int
    menu: str = ""
    luminosity: float = float("nan")


def _conditions(path: Path) -> Mapping[int, RunFacts]:
    """Conditions by run; raises InputError where the file says something else."""
    from hcal_root_ad.errors import InputError
    from hcal_root_ad.schema import structure
    from hcal_root_ad.state.detector_state import RunFacts
    from hcal_root_ad.tables import read_toml

    table = read_toml(path, "conditions")
    if set(table) != {"run"}:
        raise InputError(f"The conditions {path} should hold [[run]] tables and nothing else.")
    rows = structure(table["run"], tuple[_Run, ...], f"The conditions {path}", place="run")
    return {
        row.run: RunFacts(
            menu=row.menu or None, luminosity=None if row.luminosity != row.luminosity else row.luminosity
        )
        for row in rows
    }
