"""What is timed of a campaign: the command as a process, from files to its outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.worker import Action


def command(inputs: str, output: str, workers: str) -> Action:
    """``hcal-root-ad certify`` into a new folder; gives the good lumisections, which all workers must agree on.

    One thread for each process: one worker by itself would use all cores.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "hcal_root_ad", "certify", inputs, "-o", output, "--workers", workers]

    def execute() -> str:
        shutil.rmtree(output, ignore_errors=True)
        subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return (Path(output) / "certification.json").read_text()

    return execute
