"""DIALS export of a simulated run: a parquet table with one row per monitor element and LS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hcal_root_ad.files import whole_file
from hcal_root_ad.simulate.dqm_files import depth_maps
from hcal_root_ad.simulate.run import SimulatedRun

_SCHEMA = pa.schema(
    [
        ("me", pa.string()),
        ("run_number", pa.int64()),
        ("ls_number", pa.int64()),
        ("data", pa.list_(pa.list_(pa.float32()))),
    ]
)


def write_dials(simulated: SimulatedRun, folder: Path) -> tuple[Path, ...]:
    """``dials_run<N>.parquet``: columns me, run_number, ls_number, data; data are 72 rows (iphi) of 84 (ieta)."""
    path = folder / f"dials_run{simulated.run}.parquet"
    with whole_file(path) as partial, pq.ParquetWriter(partial, _SCHEMA, compression="zstd") as writer:
        for row, ls in enumerate(simulated.maps.lumisections):
            for kind, cut in (("Occupancy", False), ("OccupancyCut", True)):
                writer.write_batch(_batch(simulated, kind, int(ls), depth_maps(simulated, row, cut)))
    return (path,)


def _batch(simulated: SimulatedRun, kind: str, ls: int, maps: Mapping[str, NDArray[np.int64]]) -> pa.RecordBatch:
    """The maps of one kind of element in one LS."""
    rows = np.stack([*maps.values()]).transpose(0, 2, 1).astype(np.float32)
    inner = pa.ListArray.from_arrays(np.arange(0, rows.size + 1, rows.shape[2], dtype=np.int32), rows.ravel())
    data = pa.ListArray.from_arrays(np.arange(0, len(rows) * rows.shape[1] + 1, rows.shape[1], dtype=np.int32), inner)
    names = [f"Hcal/DigiTask/{kind}/depth/{name}" for name in maps]
    columns = [pa.array(names), pa.array([simulated.run] * len(maps)), pa.array([ls] * len(maps)), data]
    return pa.record_batch(columns, schema=_SCHEMA)
