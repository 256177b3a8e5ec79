"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hcal_root_ad.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write ``path`` at, under its own name; it appears in its folder only once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            yield partial
            partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
