"""Write runs of a simulated detector with known faults, and a truth file for each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from hcal_root_ad.cli.options import add_output, count
from hcal_root_ad.cli.terminal import progress, show

TRUTH = "_truth.json"
"""End of the name of a run's truth."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "DIR", "folder to write into")
    parser.add_argument("--format", required=True, metavar="NAME", help="kind of file, for example nanodqmio")
    parser.add_argument("--lumisections", type=count, default=100, metavar="N", help="per run (default: 100)")
    parser.add_argument("--runs", type=count, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--detector-seed", type=int, default=1, metavar="N", help="which detector (default: 1)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which conditions and faults (default: 1)")
    parser.add_argument("--faults", default="none", metavar="none|mixed|FILE", help="none, mixed, or a file of faults")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.simulate.formats import simulate_campaign

    with progress("Simulating") as report:
        written = simulate_campaign(
            arguments.output,
            arguments.format,
            arguments.lumisections,
            arguments.runs,
            arguments.detector_seed,
            arguments.seed,
            arguments.faults,
            progress=report,
        )
    show(*map(str, [*written, *_write_provenance(written, arguments)]))
    return 0


def _write_provenance(written: Sequence[Path], arguments: argparse.Namespace) -> Iterator[Path]:
    """Beside each run, whose files end with its truth: what it was made with."""
    from hcal_root_ad.provenance import Provenance, chosen, file_material, write_beside

    names = ("format", "lumisections", "runs", "detector_seed", "seed")
    options = chosen({name: getattr(arguments, name) for name in names})
    materials = []
    if arguments.faults in ("none", "mixed"):
        options["faults"] = arguments.faults
    else:
        materials.append(file_material("faults", Path(arguments.faults)))
    files: list[Path] = []
    for path in written:
        files.append(path)
        if path.name.endswith(TRUTH):
            provenance = Provenance("simulate", tuple(materials), options)
            yield write_beside(provenance, arguments.output, path.name.removesuffix(TRUTH), files)
            files = []
