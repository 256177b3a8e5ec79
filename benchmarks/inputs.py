"""The inputs: simulated runs of the detector that the shipped models know, made once and kept in a scratch folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.side_by_side import Stopwatch, Task
from benchmarks.worker import Action

if TYPE_CHECKING:
    from hcal_root_ad.simulate.simulated_run import SimulatedRun

DETECTOR, SEED, RUN = 2022, 77, 371_000
CODECS = {"zlib": 101, "LZMA": 201, "LZ4": 404, "ZSTD": 505}
"""ROOT's number of codec and level. LZMA at its lowest level: the others take minutes to write and unpack the same."""
OTHERS = 40
"""Maps of another subsystem in each LS."""


@dataclass(frozen=True)
class Inputs:
    """Files of runs of some length; each is made when it is first asked for."""

    scratch: Path
    stopwatch: Stopwatch
    others: int = OTHERS

    def nanodqmio(self, lumisections: int, codec: str = "zlib") -> Path:
        """nanoDQMIO with the others' maps."""
        folder = self.scratch / f"{lumisections}_LS_{self.others}_others_{codec}"
        return self._made(folder, "nanodqmio", lumisections, str(self.others), str(CODECS[codec]))

    def harvested(self, lumisections: int) -> Path:
        """Harvested file with ``By Lumi Section`` folders."""
        return self._made(self.scratch / f"{lumisections}_LS_harvested", "harvested", lumisections)

    def campaign(self, runs: int, lumisections: int) -> Path:
        """Folder of nanoDQMIO files with mixed faults, one for each run."""
        folder = self.scratch / f"{runs}_runs_{lumisections}_LS"
        if len(list(folder.glob("*.root"))) < runs:
            self.stopwatch.once(Task("inputs:campaign", (str(folder), str(runs), str(lumisections))))
        return folder

    def _made(self, folder: Path, kind: str, lumisections: int, *options: str) -> Path:
        if not list(folder.glob("*.root")):
            self.stopwatch.once(Task(f"inputs:{kind}", (str(folder), str(lumisections), *options)))
        (path,) = folder.glob("*.root")
        return path


def nanodqmio(folder: str, lumisections: str, others: str, compression: str) -> Action:
    """Write one into a folder."""
    from hcal_root_ad.simulate.formats import write_nanodqmio

    def write() -> None:
        run = _run(int(lumisections))
        write_nanodqmio(run, Path(folder), others=int(others), compression=int(compression))

    return write


def harvested(folder: str, lumisections: str) -> Action:
    """Write one into a folder."""
    from hcal_root_ad.simulate.root_files import write_dqm_file

    def write() -> None:
        write_dqm_file(_run(int(lumisections)), Path(folder))

    return write


def campaign(folder: str, runs: str, lumisections: str) -> Action:
    """Write the runs of a campaign into a folder."""
    from hcal_root_ad.simulate.formats import simulate_campaign

    def write() -> None:
        simulate_campaign(Path(folder), "nanodqmio", int(lumisections), int(runs), DETECTOR, SEED, "mixed")

    return write


def _run(lumisections: int) -> SimulatedRun:
    from hcal_root_ad.simulate.scenario import mixed_faults, simulate_conditions
    from hcal_root_ad.simulate.simulated_detector import simulate_detector
    from hcal_root_ad.simulate.simulated_run import simulate_run

    detector = simulate_detector(DETECTOR)
    conditions = simulate_conditions(lumisections, RUN)
    return simulate_run(detector, conditions, mixed_faults(detector, conditions, RUN), RUN, RUN)
