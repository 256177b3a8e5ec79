"""What a bundle was made of, beside its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hcal_root_ad.learn.bundle import CALIBRATION, HEAD, WEIGHTS, Bundle
from hcal_root_ad.learn.loop import Schedule
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.publish.provenance import Option, bundle_material, provenance_of_maps
from hcal_root_ad.publish.provenance_beside import write_beside


def write_bundle_provenance(
    verb: str, folder: Path, runs: Sequence[LumiMaps], sources: Sequence[Bundle], options: Mapping[str, Option | None]
) -> None:
    """``runs``: clean runs that it learned from. ``sources``: bundles that it began with."""
    seeded = {**options, "seed": Schedule().seed}
    provenance = provenance_of_maps(verb, runs, map(bundle_material, sources), seeded)
    write_beside(provenance, folder, "bundle", [folder / name for name in (HEAD, WEIGHTS, CALIBRATION)])
