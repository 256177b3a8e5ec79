"""DIALS exports: parquet with the columns me, run_number, ls_number and data, a map as rows [iphi][ieta]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI, era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.container import Element, FileContent, fitting_subsystem
from hcal_root_ad.harvest.definition import ContainerKind, Definition
from hcal_root_ad.harvest.input_file import InputFile, damage_as_input_error
from hcal_root_ad.harvest.section import Section, check_numbers, maps_of, where
from hcal_root_ad.lumi_ranges import ls_ranges

_COLUMNS = ("me", "run_number", "ls_number", "data")
_BATCH = 256


class DialsFile:
    """An open DIALS export."""

    kind = ContainerKind.DIALS
    format = "DIALS export (parquet)"

    def __init__(self, parquet: pq.ParquetFile, path: Path) -> None:
        self._parquet = parquet
        self.path: InputFile = path
        missing = [name for name in _COLUMNS if name not in parquet.schema_arrow.names]
        if missing:
            raise InputError(
                f"{path} lacks the column {missing[0]!r} of a DIALS export (me, run_number, ls_number, data)."
            )
        index = parquet.read(columns=list(_COLUMNS[:3]))
        lacking = [name for name in _COLUMNS[:3] if index[name].null_count]
        if lacking:
            raise InputError(f"{path} has rows without {lacking[0]}; every map of a DIALS export has one.")
        self._names = index["me"].to_numpy(zero_copy_only=False)
        self._runs = index["run_number"].to_numpy().astype(np.int64)
        self._lumisections = index["ls_number"].to_numpy().astype(np.int64)
        for run, lumisection in {*zip(self._runs.tolist(), self._lumisections.tolist(), strict=True)}:
            check_numbers(path, run, lumisection)
        self.runs = tuple(int(run) for run in np.unique(self._runs))

    @cached_property
    def elements(self) -> Mapping[str, Element]:
        seen: dict[str, set[tuple[int, int]]] = {}
        for name, run, ls in zip(self._names, self._runs.tolist(), self._lumisections.tolist(), strict=True):
            seen.setdefault(str(name), set()).add((run, ls))
        return {name: Element(name, "TH2 as rows", len(ls)) for name, ls in sorted(seen.items())}

    def element(self, name: str) -> Element | None:
        return self.elements.get(name)

    def last_lumisection(self, definition: Definition) -> int:  # noqa: ARG002
        return int(self._lumisections.max(initial=0))

    def content(self, definition: Definition, within: range | None = None) -> FileContent:
        subsystem = fitting_subsystem(self, definition) or definition.subsystems[0]
        numbers = {definition.map_element(subsystem, n): n for run in self.runs for n in maps_of(era_of_run(run))}
        pairs = sorted({*zip(self._runs.tolist(), self._lumisections.tolist(), strict=True)})
        sections = {(run, ls): Section(run, ls) for run, ls in pairs if within is None or ls in within}
        for name, run, ls, values in self._maps(numbers):
            if (run, ls) in sections:
                sections[run, ls].add_map(numbers[name], values, where(self.path, name, run, ls))
        twice = [s.lumisection for s in sections.values() if s.complete and s.seen.max() > 1]
        notes = (f"{ls_ranges(twice)}: came in several rows of {self.path.name} and were summed.",) if twice else ()
        return FileContent(self.path, definition, tuple(sections.values()), notes=notes)

    def _maps(self, names: Mapping[str, int]) -> Iterator[tuple[str, int, int, NDArray[np.generic]]]:
        """The wanted maps as (84, 72) arrays [ieta][iphi]."""
        wanted = pa.array(list(names))
        for batch in self._parquet.iter_batches(batch_size=_BATCH, columns=list(_COLUMNS)):
            chosen = batch.filter(pc.is_in(batch["me"], value_set=wanted))
            if not len(chosen):
                continue
            rows = zip(*(chosen[key].to_pylist() for key in _COLUMNS[:3]), strict=True)
            for (name, run, ls), values in zip(rows, self._rows(chosen["data"], chosen["me"][0].as_py()), strict=True):
                yield name, int(run), int(ls), values.T

    def _rows(self, data: pa.Array, name: str) -> NDArray[np.generic]:
        """Nested lists as (maps, 72, 84).

        Raises:
            InputError: not lists of lists, or other lengths. A flat list is refused: writers disagree on its order.
        """
        if not (_is_list(data.type) and _is_list(data.type.value_type)):
            raise InputError(f"The column data of {self.path} holds {data.type}; rows [iphi][ieta] were expected.")
        lines = data.flatten()
        heights, widths = (set(pc.unique(pc.list_value_length(column)).to_pylist()) for column in (data, lines))
        if heights != {N_IPHI} or widths != {N_DQM_IETA}:
            found = f"{sorted(map(str, heights))} rows of {sorted(map(str, widths))}"
            raise InputError(f"{name} in {self.path} has {found} bins; 72 rows (iphi) of 84 (ieta) were expected.")
        flat = lines.flatten().to_numpy(zero_copy_only=False)
        rows: NDArray[np.generic] = np.asarray(flat, dtype=np.float64).reshape(-1, N_IPHI, N_DQM_IETA)
        return rows


@contextmanager
def open_dials(path: Path) -> Iterator[DialsFile]:
    """Open a DIALS export; anything that breaks while it is read ends in an :class:`InputError`."""
    with damage_as_input_error(path), pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        yield DialsFile(parquet, path)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
