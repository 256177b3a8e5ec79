"""What the tests reach, as a page: lines and branches by package; fails below the shares that pyproject.toml asks for.

``make coverage`` measures and calls this with the JSON report of coverage.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = "hcal_root_ad"


@dataclass(frozen=True)
class Reached:
    """Lines and branches: how many there are, and how many of them the tests reach."""

    lines: int = 0
    lines_reached: int = 0
    branches: int = 0
    branches_reached: int = 0

    def __add__(self, other: Reached) -> Reached:
        return Reached(
            self.lines + other.lines,
            self.lines_reached + other.lines_reached,
            self.branches + other.branches,
            self.branches_reached + other.branches_reached,
        )

    @property
    def percent(self) -> dict[str, float]:
        """Shares in percent; all of nothing is reached."""
        return {
            "lines": 100 * self.lines_reached / self.lines if self.lines else 100.0,
            "branches": 100 * self.branches_reached / self.branches if self.branches else 100.0,
        }


def by_package(report: Mapping[str, Any]) -> dict[str, Reached]:
    """What is reached in each package of ours; modules at the top stand under our own name."""
    found: dict[str, Reached] = {}
    for file, entry in report["files"].items():
        parts = Path(file).parts
        inside = parts[parts.index(PACKAGE) + 1 :]
        name = inside[0] if len(inside) > 1 else PACKAGE
        summary = entry["summary"]
        one = Reached(
            summary["num_statements"],
            summary["covered_lines"],
            summary["num_branches"],
            summary["covered_branches"],
        )
        found[name] = found.get(name, Reached()) + one
    return dict(sorted(found.items()))


def page(packages: Mapping[str, Reached], wanted: Mapping[str, float], made: str) -> str:
    """The figures in Markdown."""
    total = sum(packages.values(), Reached())
    rows = [("all", total), *packages.items()]
    lines = [
        "# What the tests reach",
        "",
        made,
        f"Wanted are {wanted['lines']:g} % of the lines and {wanted['branches']:g} % of the branches of all.",
        "",
        "| package | lines | reached | branches | reached |",
        "|---|---|---|---|---|",
    ]
    for name, one in rows:
        shares = one.percent
        lines.append(
            f"| {name} | {one.lines} | {shares['lines']:.1f} % | {one.branches} | {shares['branches']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def wanted_shares() -> dict[str, float]:
    """Percent of lines and branches that pyproject.toml asks for."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {name: float(table["tool"][PACKAGE]["coverage"][name]) for name in ("lines", "branches")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="JSON report of coverage.py")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown file to write")
    arguments = parser.parse_args()
    packages, wanted = by_package(json.loads(arguments.report.read_text())), wanted_shares()
    made = f"`make coverage`, version {version('hcal-root-ad')}, {date.today()}; coverage.py {version('coverage')}."
    arguments.output.write_text(page(packages, wanted, made), encoding="utf-8")
    reached = sum(packages.values(), Reached()).percent
    short = [
        f"{reached[name]:.2f} % of the {name}, {wanted[name]:g} % wanted"
        for name in wanted
        if reached[name] < wanted[name]
    ]
    print("\n".join(short) or f"{reached['lines']:.2f} % of the lines, {reached['branches']:.2f} % of the branches")
    return bool(short)


if __name__ == "__main__":
    sys.exit(main())
