"""What several verbs share: options declared once, number types, inputs by path or name, and who judges."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.terminal import progress
from hcal_root_ad.errors import UsageError
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.harvest.inputs import InputFile
    from hcal_root_ad.harvest.read import LeftOut
    from hcal_root_ad.pipeline import Judging
    from hcal_root_ad.state.history import StateStore


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


def add_output(parser: argparse.ArgumentParser, metavar: str, what: str) -> None:
    """``-o``: the file or folder to write."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=what)


def add_inputs(parser: argparse.ArgumentParser, name: str = "inputs", metavar: str = "INPUT", what: str = "") -> None:
    """Runs by file or name, one or more."""
    parser.add_argument(name, nargs="+", metavar=metavar, help=what or "DQM file, or name of a reference run")


def add_definition(parser: argparse.ArgumentParser) -> None:
    """``--definition``."""
    parser.add_argument("--definition", metavar="NAME", help="harvester definition (default: the one that fits)")


def add_judging(parser: argparse.ArgumentParser) -> None:
    """``--model``, ``--false-alarms`` and ``--mask``."""
    parser.add_argument("--model", action="append", metavar="NAME_OR_PATH",
                        help="who judges; repeatable, one per sub-detector (default: the shipped ones)")  # fmt: skip
    parser.add_argument("--false-alarms", type=positive, metavar="PER_100_LS",
                        help="false findings per 100 LS and sub-detector (default: the model's)")  # fmt: skip
    parser.add_argument("--mask", type=Path, metavar="FILE.toml",
                        help="channels that are known to be broken: not judged, gray (docs/masks.md)")  # fmt: skip


def add_states(parser: argparse.ArgumentParser) -> None:
    """``--state``."""
    parser.add_argument("--state", action="append", type=Path, metavar="STATE",
                        help="detector state that judges, as it was before the run; it learns nothing (docs/states.md);"
                        " repeatable, the first that fits")  # fmt: skip


def stores_of(folders: Sequence[Path] | None) -> tuple[StateStore, ...]:
    """The states of ``--state``; raises StateError where one is missing or damaged."""
    from hcal_root_ad.state.history import StateStore

    stores = tuple(StateStore(folder.absolute()) for folder in folders or ())
    for store in stores:
        store.history()
    return stores


def add_without_reference(parser: argparse.ArgumentParser) -> None:
    """``--without-reference``."""
    parser.add_argument("--without-reference", action="store_true",
                        help="judge each run against itself; nothing of it is then trusted")  # fmt: skip


def judging_of(arguments: argparse.Namespace) -> Judging:
    """What the options ask for, with the models loaded."""
    from hcal_root_ad.mask import read_mask
    from hcal_root_ad.pipeline import Judging, load_models

    without_reference = getattr(arguments, "without_reference", False)
    mask = read_mask(arguments.mask) if arguments.mask else None
    stores = stores_of(getattr(arguments, "state", None))
    if stores and without_reference:
        raise UsageError("--without-reference judges a run against itself, not by a state; leave one of them out.")
    return Judging(load_models(arguments.model), arguments.false_alarms, without_reference, mask, states=stores)


def all_files(names: Sequence[str]) -> tuple[InputFile, ...]:
    """The files and addresses that the named inputs stand for, folders and patterns resolved."""
    from hcal_root_ad.harvest.inputs import expand_paths
    from hcal_root_ad.references.catalogue import input_paths

    return expand_paths([path for name in names for path in input_paths(name)])


def input_files(names: Sequence[str]) -> tuple[Path, ...]:
    """The files here that the named inputs stand for; addresses are left out."""
    return tuple(file for file in all_files(names) if isinstance(file, Path))


def read_runs(
    names: Sequence[str], definition: str | None = None, left_out: list[LeftOut] | None = None
) -> tuple[LumiMaps, ...]:
    """All runs in the named inputs, with a progress bar; files that cannot be read are added to ``left_out``."""
    from hcal_root_ad.harvest.read import read_lumi_maps
    from hcal_root_ad.references.catalogue import input_paths

    paths = [path for name in names for path in input_paths(name)]
    with progress("Reading") as report:
        return read_lumi_maps(paths, definition, report, left_out)
