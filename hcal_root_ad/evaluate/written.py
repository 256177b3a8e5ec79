"""What a study leaves on disk: text files that are there whole or not at all, in a folder that it may go on with."""

from __future__ import annotations

from pathlib import Path

from hcal_root_ad.errors import UsageError

POINTS = "points"
"""Folder of results, one file each."""


def write_text(path: Path, text: str) -> None:
    """Write under a temporary name beside it, then replace; ends with one line break. Its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text.rstrip("\n") + "\n")
    partial.replace(path)


def study_folder(folder: Path, resume: bool) -> None:
    """Make the folder of a study.

    Raises:
        UsageError: it has something in it, and ``resume`` is not wanted.
    """
    if folder.exists() and not resume and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; add --resume to go on with the study in it, or name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
