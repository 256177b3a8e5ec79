"""The folder of a study, which it may go on with."""

from __future__ import annotations

from pathlib import Path

from hcal_root_ad.errors import UsageError

POINTS = "points"
"""Folder of results, one file each."""


def study_folder(folder: Path, resume: bool) -> None:
    """Make the folder of a study.

    Raises:
        UsageError: it has something in it, and ``resume`` is not wanted.
    """
    if folder.exists() and not resume and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; add --resume to go on with the study in it, or name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
