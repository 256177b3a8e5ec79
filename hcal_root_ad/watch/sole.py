"""One watch per output folder: two would publish over each other."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcal_root_ad.errors import UsageError
from hcal_root_ad.publish.root_file import staging_name
from hcal_root_ad.watch.ledger import PLACE


@contextmanager
def sole(output: Path) -> Iterator[None]:
    """Be the only watch of an output folder, and clear what a killed one was writing.

    Raises:
        UsageError: another one is at work. OSError: the folder cannot be written.
    """
    (output / PLACE).mkdir(parents=True, exist_ok=True)
    with (output / PLACE / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{output}: another watch writes there; stop it, or choose another place with -o."
            ) from None
        except OSError:  # a file system without locks
            pass
        lock.seek(0)
        if (before := lock.read().strip()).isdigit():
            shutil.rmtree(output / staging_name(int(before)), ignore_errors=True)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
