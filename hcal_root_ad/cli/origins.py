"""Where outputs come from: ``provenance`` shows it, ``reproduce`` makes them again."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.terminal import remark, show
from hcal_root_ad.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from hcal_root_ad.provenance import Provenance
    from hcal_root_ad.reproduce.read_back import Origin


def add_provenance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="FILE", help="an output of this program, or a folder of outputs")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def execute_provenance(arguments: argparse.Namespace) -> int:
    """Show what an output was made of and with: versions, options, inputs, models and definitions, with digests."""
    from hcal_root_ad.reproduce.read_back import origins

    found = origins(arguments.path)
    if arguments.json:
        _print_json([origin.provenance for origin in found])
        return 0
    for origin in found:
        show(_origin_title(origin), _materials_table(origin.provenance))
    return 0


def _print_json(found: list[Provenance]) -> None:
    """One object, or a list where a folder has several."""
    import json

    tables = [one.as_table() for one in found]
    print(json.dumps(tables[0] if len(tables) == 1 else tables, indent=1))


def _origin_title(origin: Origin) -> str:
    said = f"{origin.output}: made by {origin.provenance.verb}"
    if origin.beside:
        said += f", says {origin.beside.path.name}"
    return f"{said}; it was changed since." if origin.changed else said


def _materials_table(provenance: Provenance) -> Table:
    from rich.table import Column, Table

    table = Table("what", Column("name", overflow="fold"), "bytes", Column("SHA-256", overflow="fold"))
    for one in provenance.materials:
        table.add_row(one.role.removesuffix("s"), one.name, f"{one.size:,}" if one.size else "", one.sha256 or "none")
    for what, name in _facts(provenance):
        table.add_row(what, name, "", "")
    return table


def _facts(provenance: Provenance) -> Iterator[tuple[str, str]]:
    for name, value in provenance.options.items():
        yield "option", f"{name} = {value}"
    for name, trust in provenance.trust.items():
        yield "trust", f"{name}: {trust}"
    for name, value in provenance.versions.items():
        yield "version", f"{name} {value}"


SHOWN = 20
"""Differences that are named of an output."""


def add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="FILE", help="an output of this program, or a folder of them")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep what is made in this new folder")
    parser.add_argument("--inputs", type=Path, nargs="+", default=[], metavar="FOLDER",
                        help="where inputs and models lie, in folders below too")  # fmt: skip


def execute_reproduce(arguments: argparse.Namespace) -> int:
    """Make an output again from the same inputs, and say whether it is identical or what differs (exit code 1).

    Inputs are looked for beside FILE, in this folder, among the reference runs, where a campaign had them, and below
    --inputs; each must have the digest that FILE says.
    """
    from hcal_root_ad.reproduce.read_back import origins
    from hcal_root_ad.reproduce.rerun import compared, make_again, other_versions

    (origin, *more) = origins(arguments.path)
    if any(one.provenance != origin.provenance for one in more):
        raise UsageError(f"{arguments.path} holds outputs of several calls; name one of its files.")
    remark(*(f"made with other versions: {sentence}" for sentence in other_versions(origin)))
    differs = False
    with _target_folder(arguments.output) as target:
        make_again(origin, arguments.inputs, target, _run_verb)
        for one in (result for part in (origin, *more) for result in compared(part, target)):
            differs = differs or bool(one.differences)
            show(f"{one.name}: {_verdict(len(one.differences), one.parts)}")
            show(*(f"  {sentence}" for sentence in one.differences[:SHOWN]))
    return int(differs)


def _verdict(differing: int, parts: int) -> str:
    return f"differs, {differing} of {parts} parts" if differing else f"identical, {parts} parts"


def _run_verb(words: Sequence[str]) -> int:
    """Run a verb without the settings of whoever asks; what it prints as its result is not ours."""
    from hcal_root_ad.cli.main import main
    from hcal_root_ad.cli.options import CONFIG_VARIABLE

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
def _target_folder(folder: Path | None) -> Iterator[Path]:
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
