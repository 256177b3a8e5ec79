"""A process in which one thing is measured, again and again or once: ``python -m benchmarks.worker MODULE:FUNCTION …``.

The function prepares (imports, opens, builds) and returns what is then timed. Each line on stdin asks for one
measurement, each line on stdout is one, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Action = Callable[[], Any]
"""What is timed; its answer, if it gives one, must equal that of what it is measured beside."""


def prepared(function: str, arguments: tuple[str, ...]) -> Action:
    """Prepare the function ``MODULE:FUNCTION`` of this package."""
    module, _, name = function.partition(":")
    action: Action = getattr(import_module(f"benchmarks.{module}"), name)(*arguments)
    return action


def measured(action: Action) -> dict[str, Any]:
    """Seconds that an action takes, its answer, and the process's peak memory (MB) so far."""
    start = time.perf_counter()
    answer = action()
    return {"seconds": time.perf_counter() - start, "answer": answer, "peak_mb": peak_memory()}


def peak_memory() -> float:
    """Largest resident memory of this process, in MB.

    Not of ``getrusage``, which counts what the parent held before this program began.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def pin(cores: int) -> None:
    """Keep this process on that many processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def main() -> None:
    pin(int(sys.argv[1]))
    results, sys.stdout = sys.stdout, sys.stderr
    action = prepared(sys.argv[2], tuple(sys.argv[3:]))
    for _ in sys.stdin:
        print(json.dumps(measured(action)), file=results, flush=True)


if __name__ == "__main__":
    main()
