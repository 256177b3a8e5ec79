"""Options of the verbs that judge: which models, how many false findings, whether without a reference."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.inputs import positive
from hcal_root_ad.errors import UsageError

if TYPE_CHECKING:
    from hcal_root_ad.pipeline import Judging
    from hcal_root_ad.state.store import StateStore


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
    from hcal_root_ad.state.store import StateStore

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
