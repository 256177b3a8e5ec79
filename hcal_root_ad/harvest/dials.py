"""Exports as parquet tables: one row per map, with columns for its element, run, lumisection and contents.

DIALS gives a map as rows [iphi][ieta] (``data[iy][ix]``, ``th2/`` of its API); its runs are fetched through its client
``cmsdials``, and kept as the export that DIALS users make. Flat exports, as `dqmiotools` makes them, give one list:
84 × 72 contents with ieta slowest, or 74 × 86 with under- and overflow and iphi slowest (its
``getSingleMEsToDataFrame``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI, era_of_run
from hcal_root_ad.errors import InputError, NoHcalError, UsageError
from hcal_root_ad.files import whole_file
from hcal_root_ad.harvest import gathering, harvester
from hcal_root_ad.harvest.harvester import ContainerKind, Definition, Element, FileContent
from hcal_root_ad.harvest.inputs import InputFile, damage_as_input_error
from hcal_root_ad.root_io.records import check_size

_BATCH = 256
_CELLS, _CELLS_WITH_FLOW = N_DQM_IETA * N_IPHI, (N_DQM_IETA + 2) * (N_IPHI + 2)
_MOST_ROWS, _MOST_VALUES = 20_000_000, 2**26
"""Rows of an export; contents of it beyond those that maps of HCAL need."""
_CEILINGS = (2**15 - 1, 2**24)
"""Contents at which the histogram that was exported stopped to count: exactly a TH2S, from there on a TH2F."""
_AXES = {
    "Xbins": N_DQM_IETA,
    "Xmin": 0.0,
    "Xmax": float(N_DQM_IETA),
    "Ybins": N_IPHI,
    "Ymin": 0.5,
    "Ymax": N_IPHI + 0.5,
}
_DATASETS = ("dataset", "dataset_id")


class TableFile:
    """An open export; ``kind`` and ``columns`` (element, run, LS, contents) are those of a definition."""

    def __init__(self, parquet: pq.ParquetFile, path: Path, kind: ContainerKind, columns: tuple[str, ...]) -> None:
        self._parquet, self._columns = parquet, columns
        self.path: InputFile = path
        self.kind = kind
        self.format = "DIALS export (parquet)" if kind is ContainerKind.DIALS else "flat export (parquet)"
        index = parquet.read(columns=list(columns[:3])).unify_dictionaries()
        lacking = [name for name in columns[:3] if index[name].null_count]
        if lacking:
            raise InputError(f"{path} has rows without {lacking[0]}; every map of an export has one.")
        self._names, self._name_numbers = self._coded(index[columns[0]])
        self._runs, self._lumisections = (self._whole(index[name], name) for name in columns[1:3])
        self._places = sorted({*zip(self._runs.tolist(), self._lumisections.tolist(), strict=True)})
        for run, lumisection in self._places:
            gathering.check_numbers(path, run, lumisection)
        self.runs = tuple(int(run) for run in np.unique(self._runs))

    def _coded(self, column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
        """The different texts of a column, and the number of each row's."""
        if not len(column):
            return [], np.zeros(0, dtype=np.int64)
        coded = column.combine_chunks()
        coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
        if not (pa.types.is_string(coded.type.value_type) or pa.types.is_large_string(coded.type.value_type)):
            raise InputError(
                f"The column {self._columns[0]} of {self.path} holds {coded.type.value_type}; names were expected."
            )
        return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)

    def _whole(self, column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
        words = f"The column {name} of {self.path}"
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise InputError(f"{words} holds {column.type}; whole numbers were expected.")
        return gathering.whole_column(column.to_numpy(), words)

    @cached_property
    def elements(self) -> Mapping[str, Element]:
        places: dict[int, set[tuple[int, int]]] = {}
        rows = zip(self._name_numbers.tolist(), self._runs.tolist(), self._lumisections.tolist(), strict=True)
        for number, run, ls in rows:
            places.setdefault(number, set()).add((run, ls))
        return {self._names[n]: Element(self._names[n], "TH2 as a list", len(places[n])) for n in sorted(places)}

    def element(self, name: str) -> Element | None:
        return self.elements.get(name)

    def last_lumisection(self, definition: Definition) -> int:  # noqa: ARG002
        return int(self._lumisections.max(initial=0))

    def content(self, definition: Definition, within: range | None = None) -> FileContent:
        source = harvester.fitting(self, definition) or definition
        numbers = {source.map_element(n): n for run in self.runs for n in gathering.maps_of(era_of_run(run))}
        chosen = [place for place in self._places if within is None or place[1] in within]
        sections = {(*place, 0): gathering.LumisectionCounts(*place) for place in chosen}
        came: dict[tuple[str, int, int], int] = {}
        for name, run, ls, values in self._maps(numbers):
            if (run, ls, 0) in sections:
                again = came[name, run, ls] = came.get((name, run, ls), -1) + 1
                section = sections.setdefault((run, ls, again), gathering.LumisectionCounts(run, ls))
                section.add_map(numbers[name], values, gathering.where(self.path, name, run, ls))
                if values.max(initial=0) == _CEILINGS[0] or values.max(initial=0) >= _CEILINGS[1]:
                    section.doubt(gathering.SATURATED)
        return FileContent(self.path, definition, tuple(sections.values()), datasets=self._datasets)

    @cached_property
    def _datasets(self) -> Mapping[int, str]:
        """The dataset of each run.

        Raises:
            InputError: a run of several.
        """
        datasets: dict[int, str] = {}
        for name in (name for name in _DATASETS if name in self._parquet.schema_arrow.names):
            kind = self._parquet.schema_arrow.field(name).type
            if pa.types.is_nested(kind):
                raise InputError(f"The column {name} of {self.path} holds {kind}; names were expected.")
            column = self._parquet.read(columns=[name])[name].cast(pa.string()).fill_null("").dictionary_encode()
            coded = column.unify_dictionaries().combine_chunks()
            texts = coded.dictionary.to_pylist()
            pairs = np.unique(np.stack([self._runs, coded.indices.to_numpy()]), axis=1).T.tolist()
            for run in self.runs:
                names = sorted(texts[number] for run_there, number in pairs if run_there == run)
                if len(names) > 1:
                    raise InputError(
                        f"{self.path} holds run {run} in {len(names)} datasets ({name} {', '.join(names[:3])}), which "
                        "may be the same events; keep the rows of one."
                    )
                datasets.setdefault(run, names[0])
        return datasets

    def _maps(self, names: Mapping[str, int]) -> Iterator[tuple[str, int, int, NDArray[np.generic]]]:
        """The wanted maps as (84, 72) arrays [ieta][iphi]."""
        name_column, _, _, contents = self._columns
        axes = [name for name in _AXES if name in self._parquet.schema_arrow.names]
        elements = pa.array(list(names))
        first = 0
        for batch in self._parquet.iter_batches(batch_size=_BATCH, columns=[name_column, contents, *axes]):
            rows = slice(first, first + len(batch))
            first = rows.stop
            element = batch[name_column].cast(pa.string())
            fits = pc.is_in(element, value_set=elements)
            chosen = batch.filter(fits)
            if not len(chosen):
                continue
            kept = fits.to_numpy(zero_copy_only=False)
            first_name = element.filter(fits)[0].as_py()
            self._check_axes(chosen, axes, first_name)
            maps = self._rows(chosen[contents], first_name)
            places = (element.filter(fits).to_pylist(), self._runs[rows][kept], self._lumisections[rows][kept], maps)
            for name, run, ls, values in zip(*places, strict=True):
                yield name, int(run), int(ls), values

    def _check_axes(self, chosen: pa.RecordBatch, axes: list[str], name: str) -> None:
        for axis in axes:
            values = pc.unique(chosen[axis]).to_pylist()
            if values != [_AXES[axis]]:
                raise InputError(
                    f"{name} in {self.path} has {axis} = {', '.join(map(str, values))}; a depth map of HCAL's DQM has "
                    f"{_AXES[axis]:g}."
                )

    def _rows(self, data: pa.Array, name: str) -> NDArray[np.generic]:
        """Contents as (maps, 84, 72).

        Raises:
            InputError: not numbers, not lists, or of other lengths.
        """
        if self.kind is ContainerKind.DIALS:
            return self._nested(data, name).transpose(0, 2, 1)
        contents = self._columns[3]
        if not _is_list(data.type):
            raise InputError(f"The column {contents} of {self.path} holds {data.type}; one list per map was expected.")
        lengths = pc.unique(pc.list_value_length(data)).to_pylist()
        flat = self._numbers(data.flatten())
        if lengths == [_CELLS]:
            return flat.reshape(-1, N_DQM_IETA, N_IPHI)
        if lengths == [_CELLS_WITH_FLOW]:
            return flat.reshape(-1, N_IPHI + 2, N_DQM_IETA + 2)[:, 1:-1, 1:-1].transpose(0, 2, 1)
        raise InputError(
            f"{name} in {self.path} has {', '.join(map(str, lengths))} contents; {_CELLS} (84 ieta × 72 iphi), or "
            f"{_CELLS_WITH_FLOW} with under- and overflow, were expected."
        )

    def _nested(self, data: pa.Array, name: str) -> NDArray[np.float64]:
        """Nested lists as (maps, 72, 84). A flat list is refused: writers disagree on its order."""
        if not (_is_list(data.type) and _is_list(data.type.value_type)):
            raise InputError(f"The column data of {self.path} holds {data.type}; rows [iphi][ieta] were expected.")
        lines = data.flatten()
        heights, widths = (set(pc.unique(pc.list_value_length(column)).to_pylist()) for column in (data, lines))
        if heights != {N_IPHI} or widths != {N_DQM_IETA}:
            shape = f"{sorted(map(str, heights))} rows of {sorted(map(str, widths))}"
            raise InputError(f"{name} in {self.path} has {shape} bins; 72 rows (iphi) of 84 (ieta) were expected.")
        return self._numbers(lines.flatten()).reshape(-1, N_IPHI, N_DQM_IETA)

    def _numbers(self, values: pa.Array) -> NDArray[np.float64]:
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise InputError(
                f"The column {self._columns[3]} of {self.path} holds {values.type}; counts of digis were expected."
            )
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


@contextmanager
def open_table(path: Path) -> Iterator[TableFile]:
    """Open an export; anything that breaks while it is read ends in an :class:`InputError`."""
    with damage_as_input_error(path), pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        kind, columns = _columns_of(parquet, path)
        _check_sizes(parquet, path, columns)
    with (
        damage_as_input_error(path),
        pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=[columns[0]]) as parquet,
    ):
        yield TableFile(parquet, path, kind, columns)


def _columns_of(parquet: pq.ParquetFile, path: Path) -> tuple[ContainerKind, tuple[str, ...]]:
    """Kind of export, and the columns of the first definition that it has.

    Raises:
        InputError: it has those of none.
    """
    columns_there = set(parquet.schema_arrow.names)
    tables = [(d.container, d.columns) for d in harvester.load_definitions() if d.columns]
    for kind, columns in tables:
        if columns_there.issuperset(columns):
            return kind, columns
    nearest = max(tables, key=lambda table: len(columns_there.intersection(table[1])))[1]
    missing = next(name for name in nearest if name not in columns_there)
    raise InputError(
        f"{path} lacks the column {missing!r} of an export of maps ({', '.join(nearest)}); it has "
        f"{', '.join(sorted(columns_there)[:8]) or 'none'}."
    )


def _check_sizes(parquet: pq.ParquetFile, path: Path, columns: tuple[str, ...]) -> None:
    """Raises InputError for a table that would take more memory than one of HCAL's maps can."""
    table = parquet.metadata
    if table.num_rows > _MOST_ROWS:
        raise InputError(f"{path} has {table.num_rows} rows; an export has no more than {_MOST_ROWS}.")
    for number in range(table.num_row_groups):
        group = table.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema.partition(".")[0]
            if name in columns[:3]:
                check_size(column.total_uncompressed_size, f"The column {name}")
            elif name == columns[3] and column.num_values - group.num_rows * _CELLS_WITH_FLOW > _MOST_VALUES:
                raise InputError(
                    f"The column {name} of {path} has {column.num_values} contents in {group.num_rows} rows; a depth "
                    f"map has {_CELLS}."
                )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


Progress = Callable[[int, int], None]
PREFIX, WORKSPACE, PAGE = "dials:", "hcal", 100
_NAME = re.compile(rf"{PREFIX}(?P<run>\d+)(@(?P<dataset>/.+))?")
_SCHEMA = pa.schema({
    "me": pa.string(), "run_number": pa.int64(), "ls_number": pa.int64(), "data": pa.list_(pa.list_(pa.float32())),
})  # fmt: skip


@dataclass(frozen=True)
class DialsRun:
    """A run in DIALS, by ``dials:RUN``, or ``dials:RUN@DATASET`` where several datasets hold it."""

    run: int
    dataset: str | None = None

    @property
    def file_name(self) -> str:
        dataset = "" if self.dataset is None else re.sub(r"\W+", "_", self.dataset)
        return f"dials_run{self.run}{dataset}.parquet"


def dials_run(name: str) -> DialsRun | None:
    """What a name of that form stands for; None for other names.

    Raises:
        InputError: it begins as one, but is none.
    """
    if not name.startswith(PREFIX):
        return None
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name}: expected {PREFIX}RUN or {PREFIX}RUN@/DATASET, for example {PREFIX}370101.")
    return DialsRun(int(match["run"]), match["dataset"])


@dataclass(frozen=True)
class DialsClient:
    """``cmsdials.Dials`` and its class of filters for two-dimensional maps."""

    service: Any
    filters: Any

    def maps(self, run: DialsRun, element: str) -> Sequence[Any]:
        """All maps of an element in a run.

        Raises:
            InputError: the service cannot be asked.
        """
        asked = self.filters(me=element, run_number=run.run, dataset=run.dataset, page_size=PAGE)
        try:
            results: Sequence[Any] = self.service.h2d.list_all(asked).results
        except Exception as error:  # whatever the network, the login and the server may do
            raise InputError(
                f"DIALS cannot be asked for run {run.run} ({type(error).__name__}: {error}); "
                "check network and login, or give its parquet export."
            ) from error
        return results


def open_client() -> DialsClient:
    """The client, with the login that ``cmsdials`` keeps (it asks for one the first time).

    Raises:
        UsageError: ``cmsdials`` is not installed.
    """
    try:
        from cmsdials import Dials
        from cmsdials.auth.device import Credentials
        from cmsdials.filters import LumisectionHistogram2DFilters
    except ImportError as error:
        raise UsageError(
            f"Runs from DIALS need {error.name}, which is not installed: pip install 'hcal-root-ad[dials]', "
            "or give the parquet export."
        ) from error
    return DialsClient(Dials(Credentials.from_creds_file(), workspace=WORKSPACE), LumisectionHistogram2DFilters)


def fetch(run: DialsRun, path: Path, client: DialsClient, progress: Progress | None = None) -> None:
    """Write the maps of a run as a parquet export; ``progress`` is called with depths done, and depths in all.

    Raises:
        InputError: the service cannot be asked, or several datasets hold the run.
        NoHcalError: DIALS has no HCAL maps of the run.
    """
    for definition in harvester.choose_definitions(None):  # by rank
        if definition.container is ContainerKind.DIALS and (rows := list(_rows(run, definition, client, progress))):
            with whole_file(path) as partial:
                table = pa.Table.from_pylist(rows, _SCHEMA)
                pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
            return
    of = f" in {run.dataset}" if run.dataset else ""
    raise NoHcalError(f"DIALS has no HCAL maps of run {run.run}{of}; check the run number and the dataset.")


def _rows(
    run: DialsRun, definition: Definition, client: DialsClient, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    """Rows of the export, depth by depth."""
    datasets: set[str] = set()
    depths = gathering.needed_depths(era_of_run(run.run))
    for done, depth in enumerate(depths):
        if progress:
            progress(done, len(depths))
        element = definition.map_element(depth)
        for row in client.maps(run, element):
            datasets.add(row.dataset)
            if len(datasets) > 1:
                raise InputError(
                    f"DIALS holds run {run.run} in several datasets ({', '.join(sorted(datasets))}, …); "
                    f"name one: {PREFIX}{run.run}@{min(datasets)}."
                )
            yield {"me": row.me, "run_number": row.run_number, "ls_number": row.ls_number, "data": row.data}
