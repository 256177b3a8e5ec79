"""What is timed of the start: the command line's help, a small run, reading, and a Python that does nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.worker import Action


def help_text() -> Action:
    """``hcal-root-ad --help`` as a process."""
    found = shutil.which("hcal-root-ad", path=str(Path(sys.executable).parent))
    return _process(*([found] if found else [sys.executable, "-m", "hcal_root_ad"]), "--help")


def empty_python() -> Action:
    """``python -c pass`` as a process."""
    return _process(sys.executable, "-c", "pass")


def small_run(folder: str) -> Action:
    """``hcal-root-ad run`` of a reference run as a process."""
    return _process(sys.executable, "-m", "hcal_root_ad", "run", "demonstration", "-o", folder)


def import_and_read() -> Action:
    """A script that reads the maps of a reference run, as a process."""
    from hcal_root_ad import content

    folder = content.find("reference_runs", "demonstration")
    assert folder is not None
    (path,) = folder.glob("*.root")
    return _process(sys.executable, "-c", f"import hcal_root_ad; hcal_root_ad.read_lumi_maps({str(path)!r})")


def _process(*words: str) -> Action:
    def execute() -> None:
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)

    return execute
