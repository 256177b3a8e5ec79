"""Save run, lumisections, events and counts (LS × 64 × 72 × 7, HB and HE) as a numpy file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.options import add_definition, add_inputs, add_output, input_files, read_runs
from hcal_root_ad.cli.terminal import remark, show
from hcal_root_ad.errors import NoHcalError
from hcal_root_ad.files import check_places
from hcal_root_ad.lumi_maps import LumiMaps

if TYPE_CHECKING:
    from hcal_root_ad.harvest.read import LeftOut
    from hcal_root_ad.provenance import Provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    add_output(parser, "maps.npz", "file to write; of several runs each gets its own, maps_R<run>.npz")
    add_definition(parser)


def execute(arguments: argparse.Namespace) -> int:
    left_out: list[LeftOut] = []
    runs = read_runs(arguments.inputs, arguments.definition, left_out)
    for maps in runs:
        if not maps.present.any():
            raise NoHcalError(
                f"Run {maps.run}: {', '.join(source.name for source in maps.sources)} holds no HCAL maps per "
                "lumisection, so there is no tensor to save; `hcal-root-ad inspect` shows what it has."
            )
    paths = _paths(arguments.output, runs)
    check_places(paths, inputs=input_files(arguments.inputs))
    for maps, path in zip(runs, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        maps.save(path, _provenance(maps, arguments.definition).text())
        show(*_summary(maps, path))
    remark(*(f"{one.path} was left out: {one.error}" for one in left_out))
    return int(bool(left_out))


def _paths(output: Path, runs: Sequence[LumiMaps]) -> list[Path]:
    if len(runs) == 1:
        return [output]
    return [output.with_name(f"{output.stem}_R{maps.run}{output.suffix}") for maps in runs]


def _provenance(maps: LumiMaps, definition: str | None) -> Provenance:
    from hcal_root_ad.provenance import provenance_of_maps

    return provenance_of_maps("harvest", [maps], options={"definition": definition})


def _summary(maps: LumiMaps, path: Path) -> Iterator[str]:
    saved = maps.lumisections[maps.present]
    yield (
        f"{path}: run {maps.run}, {len(saved)} lumisections ({saved[0]}–{saved[-1]}), "
        f"{maps.events[maps.present].sum()} events, definition {maps.definition}"
    )
    yield from (f"  {note}" for note in maps.notes)
