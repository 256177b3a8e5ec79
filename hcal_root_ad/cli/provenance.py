"""Show what an output was made of and with: versions, options, inputs, models and definitions, with their digests."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.terminal import show

if TYPE_CHECKING:
    from rich.table import Table

    from hcal_root_ad.provenance import Provenance
    from hcal_root_ad.reproduce.origins import Origin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="FILE", help="an output of this program, or a folder of outputs")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.reproduce.origins import origins

    found = origins(arguments.path)
    if arguments.json:
        _print_json([origin.provenance for origin in found])
        return 0
    for origin in found:
        show(_title(origin), _table(origin.provenance))
    return 0


def _print_json(found: list[Provenance]) -> None:
    """One object, or a list where a folder has several."""
    import json

    tables = [one.as_table() for one in found]
    print(json.dumps(tables[0] if len(tables) == 1 else tables, indent=1))


def _title(origin: Origin) -> str:
    said = f"{origin.output}: made by {origin.provenance.verb}"
    if origin.beside:
        said += f", says {origin.beside.path.name}"
    return f"{said}; it was changed since." if origin.changed else said


def _table(provenance: Provenance) -> Table:
    from rich.table import Column, Table

    table = Table("what", Column("name", overflow="fold"), "bytes", Column("SHA-256", overflow="fold"))
    for one in provenance.materials:
        table.add_row(one.role.removesuffix("s"), one.name, f"{one.size:,}" if one.size else "", one.sha256 or "none")
    for what, name in _words(provenance):
        table.add_row(what, name, "", "")
    return table


def _words(provenance: Provenance) -> Iterator[tuple[str, str]]:
    for name, value in provenance.options.items():
        yield "option", f"{name} = {value}"
    for name, trust in provenance.trust.items():
        yield "trust", f"{name}: {trust}"
    for name, value in provenance.versions.items():
        yield "version", f"{name} {value}"
