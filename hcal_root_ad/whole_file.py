"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcal_root_ad.errors import OutputError
from hcal_root_ad.staging import staging_folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write ``path`` at, under its own name; it appears in its folder, which is made, once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with staging_folder(path.parent) as folder:
            yield folder / path.name
            (folder / path.name).replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file; it ends with one line break."""
    with whole_file(path) as partial:
        partial.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
