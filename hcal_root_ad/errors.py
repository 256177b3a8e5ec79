"""Every error that a user can cause, as one tree; and what is said of an error of ours.

::

    HcalRootAdError
    ├── InputError         a file is missing, unreadable, of another kind, or contradicts itself
    │   └── NoHcalError    the file is fine but holds no HCAL maps that we could judge
    │       └── EmptyFileError   it holds no lumisection at all
    ├── DefinitionError    a harvester definition is wrong or unknown
    ├── ModelError         a model is missing, damaged, or made for something else
    ├── CatalogueError     a catalogue of reference runs is wrong, or a reference unknown or damaged
    ├── StateError         a detector state is missing or damaged, or does not fit the run
    ├── PolicyError        a certification policy is wrong or unknown
    ├── OutputError        the output cannot be written, or would be refused by a GUI
    └── UsageError         options that contradict each other, values out of range

Each message is one sentence: the file, what was expected, what was found, what to do. Of an error of ours all that is
known goes into a file that one can send, and one sentence to people.
"""

from __future__ import annotations

import os
import sys


class HcalRootAdError(Exception):
    """Base of all errors that end in one clear sentence and exit code 2."""


class InputError(HcalRootAdError):
    """An input file is missing, unreadable, of another kind, or contradicts itself."""


class NoHcalError(InputError):
    """The input holds no HCAL maps that can be judged."""


class EmptyFileError(NoHcalError):
    """The input holds no lumisection, as a job leaves it that had no event."""


class DefinitionError(HcalRootAdError):
    """A harvester definition is wrong or unknown."""


class ModelError(HcalRootAdError):
    """A model is missing, damaged, or made for another detector."""


class CatalogueError(HcalRootAdError):
    """A catalogue of reference runs is wrong, or a reference is unknown, damaged, or of another detector."""


class StateError(HcalRootAdError):
    """A detector state is missing, damaged, or does not fit the run."""


class PolicyError(HcalRootAdError):
    """A certification policy is wrong or unknown."""


class OutputError(HcalRootAdError):
    """The output cannot be written, or a GUI would refuse it."""


class UsageError(HcalRootAdError):
    """Options that contradict each other, or values out of range."""


def fault_sentence(error: BaseException) -> str:
    """What to say of an error of ours, once its traceback lies in a file of its own, readable by the user alone."""
    import traceback
    from pathlib import Path  # slow to import, and not needed for help

    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    what = f"A fault of the program ({type(error).__name__}{where})"
    try:
        return f"{what}; please report it with the file {_write(error)}."
    except OSError as refusal:
        return f"{what}; please report it (what is known of it could not be written: {refusal.strerror})."


def _write(error: BaseException) -> str:
    import platform
    import tempfile
    import traceback
    from datetime import UTC, datetime
    from importlib.metadata import version

    handle, name = tempfile.mkstemp(prefix="hcal-root-ad-fault-", suffix=".txt")
    lines = [
        f"{datetime.now(UTC):%F %T} UTC, hcal-root-ad {version('hcal-root-ad')}, "
        f"Python {platform.python_version()}, {platform.platform()}",
        f"command: {sys.argv!r}",
        "".join(traceback.format_exception(error)),
    ]
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(lines))
    return name
