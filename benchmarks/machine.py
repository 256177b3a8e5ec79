"""What the numbers depend on: processor, memory, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "uproot", "awkward", "deflate", "cramjam", "torch", "onnxruntime", "root")


def machine() -> dict[str, str]:
    """The machine in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))} used of {os.cpu_count()}",
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def program() -> dict[str, str]:
    """What was measured."""
    return {
        "version": _version("hcal-root-ad"),
        "commit": _commit(),
        "command": " ".join(["python -m benchmarks", *_words()]),
    }


def _words() -> list[str]:
    """What was asked for; where its files lay on this machine tells nobody anything."""
    places = [n for n, word in enumerate(sys.argv) if word in ("-o", "--output", "--scratch")]
    return [word for n, word in enumerate(sys.argv[1:], start=1) if n not in places and n - 1 not in places]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Of the checkout; empty where there is none."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
