"""One watch per output folder: two would publish over each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import clear_left, folder_lock
from hcal_root_ad.watch.ledger import PLACE


@contextmanager
def sole(output: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only watch of an output folder, and clear what a killed one was writing.

    ``say`` is told where the file system has no locks, so that nothing keeps two apart.

    Raises:
        UsageError: another one is at work. OSError: the folder cannot be written.
    """
    (output / PLACE).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(output / PLACE / "lock", "watch", say))
        except BlockingIOError:
            raise UsageError(
                f"{output}: another watch writes there; stop it, or choose another place with -o."
            ) from None
        clear_left(output)
        yield
