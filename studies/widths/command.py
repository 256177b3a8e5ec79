"""Widths of healthy units from pairs of clean simulated runs: ``python -m studies widths -o models/widths.toml``.

The detectors are others than that of the shipped models. ``train --widths FILE`` puts the result into a model, and
``transfer`` carries it on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import tomli_w

from hcal_root_ad.cli.options import count
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import HcalRootAdError
from hcal_root_ad.files import write_text
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run
from studies.widths.measure import moves_between, widths_of

FIRST_DETECTOR = 7000


def main(argv: Sequence[str]) -> int:
    """Measure and write; 2 after a mistake of the user's."""
    parser = argparse.ArgumentParser("python -m studies widths", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.toml", help="where to write them")
    parser.add_argument("--detectors", type=count, default=6, metavar="N", help="one pair of runs each (default: 6)")
    parser.add_argument("--lumisections", type=count, default=60, metavar="N", help="per run (default: 60)")
    arguments = parser.parse_args(argv)
    try:
        _measure(arguments.detectors, arguments.lumisections, arguments.output)
    except HcalRootAdError as error:
        remark(f"widths: {error}")
        return 2
    return 0


def _measure(detectors: int, lumisections: int, path: Path) -> None:
    pairs = []
    with progress("Measuring") as report:
        for done, (first, second) in enumerate(_pairs(detectors, lumisections), start=1):
            pairs.append(moves_between(first, second))
            if report:
                report(done, detectors)
    head = (
        f"# How far healthy units move from run to run (log rate), from {detectors} pairs of clean simulated runs of "
        f"{lumisections} LS:\n# `python -m studies widths --detectors {detectors} --lumisections {lumisections}`.\n"
    )
    write_text(path, head + tomli_w.dumps(asdict(widths_of(pairs))))
    show(f"widths: {path}")


def _pairs(detectors: int, lumisections: int) -> Iterator[tuple[LumiMaps, LumiMaps]]:
    """Two clean runs of each detector under the same conditions: how channels follow the pileup is another matter."""
    for number in range(detectors):
        detector, conditions = simulate_detector(FIRST_DETECTOR + number), simulate_conditions(lumisections, number + 1)
        first, second = (
            simulate_run(detector, conditions, seed=seed).maps for seed in (2 * number + 1, 2 * number + 2)
        )
        yield first, second
