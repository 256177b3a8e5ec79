"""An error of ours: all that is known of it goes into a file that one can send, one sentence to people."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import mkstemp


def fault_sentence(error: BaseException) -> str:
    """What to say of an error of ours, once its traceback lies in a file of its own, readable by the user alone."""
    where = _innermost(error)
    what = f"A fault of the program ({type(error).__name__}{where})"
    try:
        return f"{what}; please report it with the file {_write(error)}."
    except OSError as refusal:
        return f"{what}; please report it (what is known of it could not be written: {refusal.strerror})."


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def _write(error: BaseException) -> Path:
    handle, name = mkstemp(prefix="hcal-root-ad-fault-", suffix=".txt")
    lines = [
        f"{datetime.now(UTC):%F %T} UTC, hcal-root-ad {version('hcal-root-ad')}, "
        f"Python {platform.python_version()}, {platform.platform()}",
        f"command: {sys.argv!r}",
        "".join(traceback.format_exception(error)),
    ]
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(lines))
    return Path(name)
