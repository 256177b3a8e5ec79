"""Where a verb will write, looked at before the long work, so that a refusal comes early and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from hcal_root_ad.errors import OutputError


def check_places(files: Sequence[Path], folders: Sequence[Path] = (), inputs: Sequence[Path] = ()) -> None:
    """Make sure that files, and folders with files in them, can be written.

    Raises:
        OutputError: a place that cannot be made or written, or that is another output's or an input.
    """
    all_folders = [*folders, *(file.parent for file in files)]
    made = {above for folder in all_folders for above in (folder.resolve(), *folder.resolve().parents)}
    for number, file in enumerate(files):
        if file.is_dir() or file.resolve() in made:
            raise OutputError(f"{file} is a folder; name a file to write.")
        if file.exists() and not file.is_file():
            raise OutputError(f"{file} is a pipe or a device; name a file to write.")
        if file.exists() and any(file.samefile(path) for path in inputs):
            raise OutputError(f"The input {file} would be replaced; choose another place.")
        if file.resolve() in [earlier.resolve() for earlier in files[:number]]:
            raise OutputError(f"{file} would be written twice; give each output a place of its own.")
    for folder in dict.fromkeys(all_folders):
        _check_folder(folder)


def _check_folder(folder: Path) -> None:
    """Try the folder, or the nearest above it that is there, with a file that goes at once."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise OutputError(f"{there} is a file, but a folder is needed; choose another place.")
    try:
        with TemporaryFile(dir=there):
            return
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from error
