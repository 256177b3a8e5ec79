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
    from hcal_root_ad.harvest.inputs import InputFile
    from hcal_root_ad.harvest.read import LeftOut


def input_paths(name: str) -> tuple[InputFile, ...]:
    """The address, file, folder or glob pattern of that path, else the files of the reference run of that name.

    Raises:
        InputError: neither exists. CatalogueError: a catalogue of reference runs is wrong.
    """
    from hcal_root_ad.harvest.inputs import RemoteFile, input_file
    from hcal_root_ad.references.catalogue import entries

    path = input_file(name)
    if isinstance(path, RemoteFile) or path.exists() or glob.has_magic(name):
        return (path,)
    catalogue = entries()
    if name in catalogue:
        return catalogue[name].inputs
    reference_run = content.find("reference_runs", name)
    if reference_run is None:
        known = ", ".join(sorted({*catalogue, *_loose_runs()})) or "none"
        raise InputError(f"{name}: no such file, and no reference run of that name (there are: {known}).")
    return (reference_run,)


def all_files(names: Sequence[str]) -> tuple[InputFile, ...]:
    """The files and addresses that the named inputs stand for, folders and patterns resolved."""
    from hcal_root_ad.harvest.inputs import expand_paths

    return expand_paths([path for name in names for path in input_paths(name)])


def input_files(names: Sequence[str]) -> tuple[Path, ...]:
    """The files here that the named inputs stand for; addresses are left out."""
    return tuple(file for file in all_files(names) if isinstance(file, Path))


def _loose_runs() -> list[str]:
    """Folders, or files, with DQM data that lie among the reference runs without an entry in a catalogue."""
    found = {name: content.find("reference_runs", name) for name in content.names("reference_runs")}
    return [name for name, path in found.items() if path and (path.is_dir() or path.suffix == ".root")]


def read_runs(
    names: Sequence[str], definition: str | None = None, left_out: list[LeftOut] | None = None
) -> tuple[LumiMaps, ...]:
    """All runs in the named inputs, with a progress bar; files that cannot be read are added to ``left_out``."""
    from hcal_root_ad.harvest.read import read_lumi_maps

    paths = [path for name in names for path in input_paths(name)]
    with progress("Reading") as report:
        return read_lumi_maps(paths, definition, report, left_out)


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
