"""Inputs that several verbs share: files by path, reference runs by name."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad import content
from hcal_root_ad.cli.terminal import progress
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.harvest.input_file import RemoteFile


def input_path(name: str) -> Path | RemoteFile:
    """The address, file, folder or glob pattern of that path, else the reference run of that name.

    Raises:
        InputError: neither exists.
    """
    from hcal_root_ad.harvest.input_file import RemoteFile, input_file

    path = input_file(name)
    if isinstance(path, RemoteFile) or path.exists() or glob.has_magic(name):
        return path
    reference_run = content.find("reference_runs", name)
    if reference_run is None:
        known = ", ".join(_reference_runs()) or "none"
        raise InputError(f"{name}: no such file, and no reference run of that name (there are: {known}).")
    return reference_run


def input_files(names: Sequence[str]) -> tuple[Path, ...]:
    """The files here that the named inputs stand for, folders and patterns resolved; addresses are left out."""
    from hcal_root_ad.harvest.input_file import expand_paths

    files = expand_paths([input_path(name) for name in names])
    return tuple(file for file in files if isinstance(file, Path))


def _reference_runs() -> list[str]:
    """Names of the reference runs: folders, or files, with DQM data."""
    found = {name: content.find("reference_runs", name) for name in content.names("reference_runs")}
    return [name for name, path in found.items() if path and (path.is_dir() or path.suffix == ".root")]


def read_runs(names: Sequence[str], definition: str | None = None) -> tuple[LumiMaps, ...]:
    """All runs in the named inputs, with a progress bar."""
    from hcal_root_ad.harvest.read import read_lumi_maps

    paths = [input_path(name) for name in names]
    with progress("Reading") as report:
        return read_lumi_maps(paths, definition, progress=report)


def positive(text: str) -> float:
    """Option type: a number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return number


def count(text: str) -> int:
    """Option type: a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text}")
    return number
