"""False alarms where the study has too few to tell: HB at high pileup, more clean runs of the same detectors.

    python benchmarks/rare_false_alarms.py -o docs/results/false_alarms/rare.md --runs 75

The models are those of ``study false-alarms``: transferred to three detectors with one clean run of 100 LS each. The
runs are others than the study's.
"""

from __future__ import annotations

import argparse
from datetime import date
from importlib.metadata import version
from pathlib import Path

from hcal_root_ad.cli.terminal import progress
from hcal_root_ad.model.model import load_model
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from studies.false_alarms import (
    ASKED,
    FIRST_DETECTOR,
    RUN_LENGTH,
    SIZES,
    SOURCES,
    Observed,
    adapted,
    false_alarms_of,
    table,
)

WORLD, SUBDETECTOR, DETECTORS = "high pileup", "HB", 3
FIRST_RUN = SIZES["presets"].runs
"""Runs before this one are the study's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--runs", type=int, default=75, help="clean runs of 100 LS per detector")
    arguments = parser.parse_args()
    (source,) = (one for one in map(load_model, SOURCES) if one.subdetector == SUBDETECTOR)
    alarms, lumisections = dict.fromkeys(ASKED, 0), 0
    with progress("Judging clean runs") as report:
        for number in range(DETECTORS):
            detector = simulate_detector(FIRST_DETECTOR + number)
            model = adapted(source, detector)
            for run in range(arguments.runs):
                counted = false_alarms_of([model], detector, WORLD, FIRST_RUN + run, ASKED)
                for (_, _, rate), found, _ in counted:
                    alarms[rate] += found
                lumisections += counted[0][2]
                if report:
                    report(number * arguments.runs + run + 1, DETECTORS * arguments.runs)
            head = (
                f"`python benchmarks/rare_false_alarms.py --runs {arguments.runs}`, version {version('hcal-root-ad')}, "
                f"{date.today()}: {source.name} transferred to {number + 1} detectors (seeds from {FIRST_DETECTOR}) "
                f"with one clean run of {RUN_LENGTH} LS each; {arguments.runs} other clean runs of each judged, which "
                "are not those of the [study](table.md). In brackets: 68 % Poisson intervals."
            )
            observed = [Observed(SUBDETECTOR, WORLD, rate, alarms[rate], lumisections) for rate in ASKED]
            arguments.output.write_text(table(observed, head), encoding="utf-8")


if __name__ == "__main__":
    main()
