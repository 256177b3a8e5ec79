"""Runs from DIALS, by a stand-in with the client's documented interface."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, NoHcalError, UsageError
from hcal_root_ad.harvest.dials import DialsClient, DialsRun, dials_run, fetch, open_client
from hcal_root_ad.harvest.read import read_lumi_maps

RUN = 370101
ZERO_BIAS, OTHER = "/ZeroBias/Run2023C-PromptReco-v1/DQMIO", "/StreamExpress/Run2023C-Express-v1/DQMIO"


class Service:
    """As ``cmsdials.Dials``: ``h2d.list_all(filters)`` gives an object whose ``results`` are maps."""

    def __init__(self, quantity: str = "Occupancy", datasets: tuple[str, ...] = (ZERO_BIAS,)) -> None:
        self.h2d, self.quantity, self.datasets = self, quantity, datasets
        self.asked: list[dict[str, Any]] = []

    def list_all(self, filters: dict[str, Any]) -> SimpleNamespace:
        self.asked.append(filters)
        wanted = f"Hcal/DigiTask/{self.quantity}/depth/depth{filters['me'][-1]}"
        found = [name for name in self.datasets if filters["dataset"] in (None, name)]
        maps = [self.map(name, ls, int(wanted[-1])) for name in found for ls in (4, 5)]
        return SimpleNamespace(results=maps if filters["me"] == wanted else [])

    def map(self, dataset: str, lumisection: int, depth: int) -> SimpleNamespace:
        """Every channel of the depth counts its iphi, so that swapped axes would show."""
        table = channel_table()
        rows = np.flatnonzero(table.depth == depth)
        contents = np.zeros((72, 84))  # data[iy][ix]: iphi by ieta
        contents[table.dqm_y[rows], table.dqm_x[rows]] = table.iphi[rows]
        name = f"Hcal/DigiTask/{self.quantity}/depth/depth{depth}"
        return SimpleNamespace(dataset=dataset, me=name, run_number=RUN, ls_number=lumisection, data=contents.tolist())


def client(service: Service) -> DialsClient:
    return DialsClient(service, dict)


@pytest.mark.parametrize("quantity", ["Occupancy", "OccupancyCut"])
def test_a_fetched_run_is_an_export_that_is_read_as_any_other(tmp_path: Path, quantity: str) -> None:
    path = tmp_path / "new" / "run.parquet"
    fetch(DialsRun(RUN), path, client(Service(quantity)))
    (maps,) = read_lumi_maps(path)
    assert (maps.run, maps.lumisections.tolist()) == (RUN, [4, 5])
    assert maps.definition == f"dials-{quantity.lower()}"
    iphi = maps.channels.iphi
    ours = maps.channels.rows_of("HB")
    assert (maps.counts[0, ours] == np.minimum(iphi[ours], 72)).all()
    assert [left.name for left in path.parent.iterdir()] == ["run.parquet"]


def test_one_element_at_a_time_in_the_wished_dataset(tmp_path: Path) -> None:
    service, steps = Service(datasets=(ZERO_BIAS, OTHER)), []
    fetch(
        DialsRun(RUN, OTHER), tmp_path / "a.parquet", client(service), lambda done, total: steps.append((done, total))
    )
    assert [asked["me"] for asked in service.asked] == [f"Hcal/DigiTask/Occupancy/depth/depth{d}" for d in range(1, 8)]
    assert {asked["dataset"] for asked in service.asked} == {OTHER}
    assert steps == [(n, 7) for n in range(7)]


def test_several_datasets_are_not_summed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"name one: dials:{RUN}@{OTHER}"):
        fetch(DialsRun(RUN), tmp_path / "a.parquet", client(Service(datasets=(ZERO_BIAS, OTHER))))
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_maps(tmp_path: Path) -> None:
    with pytest.raises(NoHcalError, match=f"DIALS has no HCAL maps of run {RUN} in /no/such/DQMIO"):
        fetch(DialsRun(RUN, "/no/such/DQMIO"), tmp_path / "a.parquet", client(Service()))


def test_what_the_network_says_is_one_sentence(tmp_path: Path) -> None:
    class Silent(Service):
        def list_all(self, _: object) -> SimpleNamespace:
            raise ConnectionError("no route to host")

    with pytest.raises(InputError, match=r"DIALS cannot be asked for run 370101 \(ConnectionError: no route"):
        fetch(DialsRun(RUN), tmp_path / "a.parquet", client(Silent()))


def test_names() -> None:
    assert dials_run("dials:370101") == DialsRun(370101)
    assert dials_run(f"dials:370101@{ZERO_BIAS}") == DialsRun(370101, ZERO_BIAS)
    assert dials_run("file.root") is None
    assert DialsRun(1, "/A-b/C").file_name == "dials_run1_A_b_C.parquet"
    with pytest.raises(InputError, match="expected dials:RUN"):
        dials_run("dials:era")


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmsdials", None)
    with pytest.raises(UsageError, match=r"pip install 'hcal-root-ad\[dials\]'"):
        open_client()
