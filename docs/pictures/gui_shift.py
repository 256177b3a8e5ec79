"""Draws gui_shift.png: what a shifter looks at, of a run with the demonstration's faults and more in HO and HF.

python docs/pictures/gui_shift.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from checks.gui_look import elements_of, sheets
from hcal_root_ad.pipeline import Judging, load_models
from hcal_root_ad.publish.publish import publish
from hcal_root_ad.simulate.scenario import FaultKind, make_fault, read_faults, simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

DETECTOR, SEED, LUMISECTIONS = 2022, 12, 60
"""The detector is that of the shipped models."""
SHOWN = (
    "StateSummary/RBXNow", "StateSummary/FaultList", "StateSummaryvsLS/SubdetPM/HEP",
    "EventInfo/TrustSummary", "StateSummaryvsLS/StateSummaryvsLS", "StateSummaryvsLS/HOHF",
)  # fmt: skip


def main() -> None:
    detector = simulate_detector(DETECTOR)
    faults = [
        *read_faults(Path(__file__).parents[2] / "reference_runs" / "demonstration" / "faults.toml", detector, SEED),
        make_fault(detector, FaultKind.DEAD, "HO1P04", 20, 45, 0.0),
        make_fault(detector, FaultKind.DEAD, "HF +33/21/1", 12, 50, 0.0),
    ]
    run = simulate_run(detector, simulate_conditions(LUMISECTIONS, SEED), faults, seed=SEED)
    verdict = Judging(load_models()).judge(run.maps)
    with TemporaryDirectory() as folder:
        of = {element.path.split("/", 2)[2]: element for element in elements_of(publish(verdict, Path(folder)))}
        (sheet,) = sheets([of[path] for path in SHOWN], Path(folder), "gui_shift", columns=3, scale=1.0)
        sheet.replace(Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
