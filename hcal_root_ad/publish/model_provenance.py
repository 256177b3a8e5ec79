"""What a model was made of, beside its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import HEAD, REFERENCE, WEIGHTS, Model
from hcal_root_ad.publish.provenance import Material, Option, provenance_of_maps
from hcal_root_ad.publish.provenance_beside import write_beside


def write_model_provenance(
    verb: str, folder: Path, runs: Sequence[LumiMaps], sources: Sequence[Model], options: Mapping[str, Option | None]
) -> None:
    """``runs``: clean runs that it learned from. ``sources``: models that it began with."""
    materials = [Material("model", source.name, source.digest) for source in sources]
    files = [folder / name for name in (HEAD, REFERENCE, WEIGHTS)]
    write_beside(
        provenance_of_maps(verb, runs, materials, options), folder, "model", [file for file in files if file.exists()]
    )
