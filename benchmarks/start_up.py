"""What is timed of the start: the command line's help, and a Python that does nothing."""

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


def _process(*words: str) -> Action:
    def execute() -> None:
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)

    return execute
