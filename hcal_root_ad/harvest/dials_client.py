"""Maps of a run fetched from DIALS through its client ``cmsdials``, kept as the parquet export that DIALS users make.

The service gives one map per monitor element and LS as ``data[iy][ix]``, rows of iphi (``th2/`` of its API).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import InputError, NoHcalError, UsageError
from hcal_root_ad.files import whole_file
from hcal_root_ad.harvest.definition import ContainerKind, Definition, choose_definitions
from hcal_root_ad.harvest.lumisection import needed_depths

Progress = Callable[[int, int], None]
PREFIX, WORKSPACE, PAGE = "dials:", "hcal", 100
_NAME = re.compile(rf"{PREFIX}(?P<run>\d+)(@(?P<dataset>/.+))?")
_SCHEMA = pa.schema(
    [
        ("me", pa.string()),
        ("run_number", pa.int64()),
        ("ls_number", pa.int64()),
        ("data", pa.list_(pa.list_(pa.float32()))),
    ]
)


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
    found = _NAME.fullmatch(name)
    if found is None:
        raise InputError(f"{name}: expected {PREFIX}RUN or {PREFIX}RUN@/DATASET, for example {PREFIX}370101.")
    return DialsRun(int(found["run"]), found["dataset"])


@dataclass(frozen=True)
class DialsClient:
    """``cmsdials.Dials`` and its class of filters for two-dimensional maps."""

    service: Any
    filters: Any

    def maps(self, wanted: DialsRun, element: str) -> Sequence[Any]:
        """All maps of an element in a run.

        Raises:
            InputError: the service cannot be asked.
        """
        asked = self.filters(me=element, run_number=wanted.run, dataset=wanted.dataset, page_size=PAGE)
        try:
            found: Sequence[Any] = self.service.h2d.list_all(asked).results
        except Exception as error:  # whatever the network, the login and the server may do
            raise InputError(
                f"DIALS cannot be asked for run {wanted.run} ({type(error).__name__}: {error}); "
                "check network and login, or give its parquet export."
            ) from error
        return found


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


def fetch(wanted: DialsRun, path: Path, client: DialsClient, progress: Progress | None = None) -> None:
    """Write the maps of a run as a parquet export; ``progress`` is called with depths done, and depths in all.

    Raises:
        InputError: the service cannot be asked, or several datasets hold the run.
        NoHcalError: DIALS has no HCAL maps of the run.
    """
    for definition in sorted(_definitions(), key=lambda one: one.rank):
        rows = list(_rows(wanted, definition, client, progress))
        if rows:
            _write(rows, path)
            return
    of = f" in {wanted.dataset}" if wanted.dataset else ""
    raise NoHcalError(f"DIALS has no HCAL maps of run {wanted.run}{of}; check the run number and the dataset.")


def _definitions() -> list[Definition]:
    return [one for one in choose_definitions(None) if one.container is ContainerKind.DIALS]


def _rows(
    wanted: DialsRun, definition: Definition, client: DialsClient, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    """Rows of the export, depth by depth."""
    datasets: set[str] = set()
    depths = needed_depths(era_of_run(wanted.run))
    for done, depth in enumerate(depths):
        if progress:
            progress(done, len(depths))
        element = definition.map_element(definition.subsystems[0], depth)
        for one in client.maps(wanted, element):
            datasets.add(one.dataset)
            if len(datasets) > 1:
                raise InputError(
                    f"DIALS holds run {wanted.run} in several datasets ({', '.join(sorted(datasets))}, …); "
                    f"name one: {PREFIX}{wanted.run}@{min(datasets)}."
                )
            yield {"me": one.me, "run_number": one.run_number, "ls_number": one.ls_number, "data": one.data}


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    with whole_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), partial, compression="zstd", write_page_checksum=True)
