"""Judges in worlds that break what a judge may assume: ``python -m studies stress -o docs/results/stress``.

One JSON file per judge, world and seed; what is there is not measured again. The table is made of all that is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import HcalRootAdError, UsageError
from studies.stress.catalogue import WORLDS
from studies.stress.current import current_judge
from studies.stress.judged import JudgeOf
from studies.stress.oracle import oracle_of
from studies.stress.points import CleanRuns, Point, earlier_rows, in_order, measure_point, save_point
from studies.stress.table import write_table
from studies.stress.template import template_judge
from studies.stress.worlds import World

JUDGES: Mapping[str, JudgeOf] = {
    "current": lambda runs: current_judge,  # noqa: ARG005
    "template": lambda runs: template_judge,  # noqa: ARG005
    "oracle": oracle_of,
}


def main(argv: Sequence[str]) -> int:
    """Measure what lacks, and write the table; 2 after a mistake of the user's."""
    arguments = _parser().parse_args(argv)
    try:
        _measure(arguments)
    except HcalRootAdError as error:
        remark(f"stress: {error}")
        return 2
    return 0


def _measure(arguments: argparse.Namespace) -> None:
    worlds = _chosen(arguments.worlds)
    label = arguments.label or arguments.judge
    rows = earlier_rows(arguments.output)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    wanted = [Point(label, world.name, seed) for world in worlds for seed in seeds]
    lacking = in_order([point for point in wanted if arguments.again or point not in rows], worlds)
    clean = CleanRuns()
    with progress("Measuring") as report:
        for done, point in enumerate(lacking, start=1):
            world = WORLDS[point.world]
            row = measure_point(point, JUDGES[arguments.judge], world, clean.of(world, point.seed))
            rows[point] = row
            save_point(point, row, arguments.output)
            if report:
                report(done, len(lacking))
    show(f"table: {write_table(rows.values(), arguments.output)}")


def _chosen(patterns: Sequence[str]) -> list[World]:
    """Worlds by name or pattern."""
    chosen = [world for name, world in WORLDS.items() if any(fnmatch(name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in WORLDS):
            raise UsageError(f"no world is called {pattern}; there are {', '.join(WORLDS)}.")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m studies stress", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of numbers and table")
    parser.add_argument("--judge", choices=JUDGES, default="current", help="who judges (default: current)")
    parser.add_argument("--label", metavar="TEXT", help="name of the judge's rows (default: the judge's own)")
    parser.add_argument("--worlds", nargs="+", default=["*"], metavar="NAME", help="by name or pattern (default: all)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="detectors per world (default: 2)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="the first of them (default: 0)")
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    return parser
