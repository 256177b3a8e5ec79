"""Make an output again from the same inputs, and say whether it is identical or what differs (exit code 1).

Inputs are looked for beside FILE, in this folder, among the reference runs, where a campaign had them, and below
--inputs; each must have the digest that FILE says.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from hcal_root_ad.cli.terminal import remark, show
from hcal_root_ad.errors import UsageError

SHOWN = 20
"""Differences that are named of an output."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="FILE", help="an output of this program, or a folder of them")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep what is made in this new folder")
    parser.add_argument("--inputs", type=Path, nargs="+", default=[], metavar="FOLDER",
                        help="where inputs and models lie, in folders below too")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.reproduce.origins import origins
    from hcal_root_ad.reproduce.rerun import compared, make_again, other_versions

    (origin, *more) = origins(arguments.path)
    if any(one.provenance != origin.provenance for one in more):
        raise UsageError(f"{arguments.path} holds outputs of several calls; name one of its files.")
    remark(*(f"made with other versions: {sentence}" for sentence in other_versions(origin)))
    differs = False
    with _target(arguments.output) as target:
        make_again(origin, arguments.inputs, target, _run)
        for one in (result for part in (origin, *more) for result in compared(part, target)):
            differs = differs or bool(one.differences)
            show(f"{one.name}: {_verdict(len(one.differences), one.parts)}")
            show(*(f"  {sentence}" for sentence in one.differences[:SHOWN]))
    return int(differs)


def _verdict(differing: int, parts: int) -> str:
    return f"differs, {differing} of {parts} parts" if differing else f"identical, {parts} parts"


def _run(words: Sequence[str]) -> int:
    """Run a verb without the settings of whoever asks; what it prints as its result is not ours."""
    from hcal_root_ad.cli.config import CONFIG_VARIABLE
    from hcal_root_ad.cli.main import main

    settings = os.environ.get(CONFIG_VARIABLE)
    os.environ[CONFIG_VARIABLE] = ""
    try:
        with redirect_stdout(io.StringIO()):
            return main(words)
    finally:
        os.environ.pop(CONFIG_VARIABLE)
        if settings is not None:
            os.environ[CONFIG_VARIABLE] = settings


@contextmanager
def _target(folder: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or one that goes afterwards."""
    from tempfile import TemporaryDirectory

    if folder is None:
        with TemporaryDirectory(prefix="hcal-root-ad-") as temporary:
            yield Path(temporary)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; name a new one with -o.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
