"""Eras of runs, judged in order: ``python -m studies era -o docs/results/era``.

One JSON file per era and system; what is there is not measured again. Table and figure are made of all that is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from itertools import islice, product
from pathlib import Path

from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.state.unexplained import unexplained
from studies.era.measure import judge_era
from studies.era.systems import SYSTEMS
from studies.era.table import write_innovations, write_results
from studies.era.world import ERAS, Era, quiet

POINTS = "points"
RIVALS = ("fixed model", "refit on the last good run", "state", "oracle")
MEASURED: Mapping[str, tuple[str, ...]] = {
    "facts": (
        *RIVALS, "state without the creep test", "state without the gate", "state without open findings",
        "state without guards",
    ),
    "own": (*RIVALS, "state, menu and luminosity given"),
    "doubled": ("state", "oracle"),
}  # fmt: skip
"""Which systems judge which era."""


def main(argv: Sequence[str]) -> int:
    """Measure what lacks, and write table and figure."""
    parser = argparse.ArgumentParser("python -m studies era", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of numbers and table")
    parser.add_argument("--eras", nargs="+", default=list(ERAS), choices=ERAS, metavar="NAME", help="default: all")
    parser.add_argument("--systems", nargs="+", default=["*"], metavar="NAME", help="by name or pattern (default: all)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="of the eras (default: 0 1 2)"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="the first so many runs only, to try it out")
    arguments = parser.parse_args(argv)
    _measure(arguments)
    return 0


def _measure(arguments: argparse.Namespace) -> None:
    chosen = [name for name in SYSTEMS if any(fnmatch(name, pattern) for pattern in arguments.systems)]
    if not chosen:
        raise UsageError(f"no system is called {' or '.join(arguments.systems)}; there are {', '.join(SYSTEMS)}.")
    for seed, name in product(arguments.seeds, arguments.eras):
        for system in [system for system in MEASURED[name] if system in chosen]:
            path = arguments.output / POINTS / f"{name}-{system.replace(',', '').replace(' ', '-')}-{seed}.json"
            if path.exists():
                continue
            era = Era(name, ERAS[name], seed)
            with progress(f"{name} {seed}: {system}") as report:
                numbers = judge_era(era, SYSTEMS[system](era), report, arguments.runs)
            row = {"era": name, "system": system, "seed": seed, **numbers}
            write_text(path, json.dumps(row, indent=1) + "\n")
    unexplained_of(arguments.eras, chosen, arguments.output, arguments.runs)
    rows = [json.loads(path.read_text()) for path in sorted((arguments.output / POINTS).glob("*.json"))]
    show(*(str(path) for path in write_results(rows, arguments.output)))


def unexplained_of(eras: Sequence[str], systems: Sequence[str], folder: Path, runs: int | None) -> None:
    """Where all systems are asked for: what the innovations of the first era, without faults, still follow."""
    path = folder / "innovations.md"
    if len(systems) < len(SYSTEMS) or "facts" not in eras or path.exists():
        return
    era = quiet(Era("facts", ERAS["facts"]))
    conditions: dict[int, RunFacts] = {}

    def maps() -> Iterator[LumiMaps]:
        for run in islice(era.runs(), runs):
            conditions[run.maps.run] = run.conditions
            yield run.maps

    with progress("facts: innovations") as report:
        rows = unexplained(maps(), conditions, lambda done: report(done, era.recipe.runs) if report else None)
    write_innovations(rows, path)
