"""The sound files that are damaged: small simulated runs in every container and codec, packed beside the tests.

They are kept, not made again, because ROOT puts the time and a UUID into each file: a find would never come again.
``python -m benchmarks.fuzz.originals`` makes them again; the finds, which are edits of these very bytes, go with them.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

FOLDER = Path(__file__).parents[2] / "tests" / "fuzz" / "originals"
RUN, LUMISECTIONS = 370_001, 2
LIVE_IPHI = 1
"""Channels beyond are masked, so that the files are small."""
PACKED = ".xz"


@cache
def originals(kind: str) -> dict[str, bytes]:
    """The files of a kind of container, by name."""
    found = {path.name.removesuffix(PACKED): path for path in sorted((FOLDER / kind).glob(f"*{PACKED}"))}
    return {name: lzma.decompress(path.read_bytes()) for name, path in found.items()}


@cache
def kinds() -> list[str]:
    """Kinds of container that there are."""
    return sorted(path.name for path in FOLDER.iterdir())


def make() -> None:
    """Write all of them again. Raises OutputError without genuine ROOT."""
    run = _small_run()
    with TemporaryDirectory() as folder:
        for kind, variant, path in _written(run, Path(folder)):
            target = FOLDER / kind / f"{variant}-{path.name}{PACKED}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(lzma.compress(path.read_bytes(), preset=9))


def _small_run() -> Any:
    from hcal_root_ad.detector import Subdetector
    from hcal_root_ad.simulate.scenario import FillShape, simulate_conditions
    from hcal_root_ad.simulate.simulated_detector import simulate_detector
    from hcal_root_ad.simulate.simulated_run import simulate_run

    detector = simulate_detector(1)
    channels = detector.channels
    mostly_masked = replace(detector, masked=(channels.iphi > LIVE_IPHI) & (channels.subdetector != Subdetector.HF))
    few = FillShape(events=(12.0, 15.0))
    return simulate_run(mostly_masked, simulate_conditions(LUMISECTIONS, 1, shape=few), (), 1, RUN)


def _written(run: Any, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Kind, codec and file of each."""
    from hcal_root_ad.simulate import formats, root_files

    for codec, number in (("zlib", 101), ("plain", 0), ("lzma", 205), ("lz4", 404), ("zstd", 505)):
        place = folder / codec
        yield "nanodqmio", codec, formats.write_nanodqmio(run, place / "nano", others=0, compression=number)[0]
    for codec, number in (("zlib", 101), ("plain", 0)):
        place = folder / codec

        def compressed(path: Path, title: str = "", compression: int = number) -> Any:
            return root_files.root_file(path, title, compression)

        with patch.object(root_files, "root_file", compressed), patch.object(formats, "root_file", compressed):
            yield "dqm_file", codec, root_files.write_dqm_file(run, place / "harvested")[0]
            yield "per_lumisection", codec, root_files.write_per_lumisection(run, place / "per")[0]
            with patch.object(formats, "_N_LS", LUMISECTIONS + 1):
                yield "hcalanalyzer", codec, formats.write_hcalanalyzer(run, place)[0]
            yield "dqmio", codec, _dqmio(run, place / "dqmio.root", number)
    # The axes of lumisections end at the last one.
    with patch.object(root_files, "max", lambda *_: LUMISECTIONS, create=True):
        yield "online", "zlib", root_files.write_online(run, folder / "online")[0]
    for codec in ("zstd", "none"):
        with patch("hcal_root_ad.simulate.formats.pq.ParquetWriter", _parquet_writer(codec)):
            yield "dials", codec, formats.write_dials(run, folder / codec)[0]


def _parquet_writer(codec: str) -> Any:
    from pyarrow.parquet import ParquetWriter

    return lambda path, schema, **_: ParquetWriter(path, schema, compression=codec)


def _dqmio(run: Any, path: Path, compression: int) -> Path:
    """DQMIO as full jobs write it: the run's own elements behind those of the lumisections, an own counter in each."""
    from hcal_root_ad.simulate import formats, root_files

    with root_files.root_file(path, title="1", compression=compression) as file:
        file.cd()
        index, names = formats._Index(RUN), list(formats._TREES)
        trees = {name: formats._Elements(name, formats._empty_value(name)) for name in ("Ints", "TH1Ds", "TH2Fs")}
        events = root_files.digis_vs_ls(
            "HE", run.maps.lumisections, run.maps.events, np.ones(LUMISECTIONS, dtype=np.int64), np.ones(LUMISECTIONS)
        )
        trees["TProfiles"] = formats._Elements("TProfiles", events)
        for row in range(LUMISECTIONS):
            formats._fill_lumisection(trees, index, run, row, np.zeros((0, 84, 72), dtype=np.int64))
            trees["TH1Ds"].value.SetBins(1, 0.0, 1.0)
            trees["TH1Ds"].value.SetBinContent(1, float(run.maps.events[row]))
            place = trees["TH1Ds"].fill("Hcal/RunInfo/NumberOfEvents")
            index.fill(row + 1, kind=names.index("TH1Ds"), first=place, last=place)
        place = trees["TProfiles"].fill("Hcal/DigiTask/OccupancyvsLS/Subdet/HE")
        index.fill(0, kind=names.index("TProfiles"), first=place, last=place)
        for tree in (index.tree, *(elements.tree for elements in trees.values())):
            tree.Write()
    return path


if __name__ == "__main__":
    make()
