"""The sample files: four containers of one run, and ten real lumisections."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hcal_root_ad
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource, LumiMaps

HARVESTED = "DQM_V0001_R000370101__ZeroBias__Run2023C-PromptReco-v1__DQMIO.root"
ONLINE = "DQM_V0001_Hcal_R000370101.root"


@pytest.fixture(scope="module")
def read(samples: Path) -> dict[str, LumiMaps]:
    names = {"nano": "nanodqmio_run370101.root", "analyzer": "hcalanalyzer_run370101.root",
             "harvested": HARVESTED, "online": ONLINE}  # fmt: skip
    return {key: read_lumi_maps(samples / name)[0] for key, name in names.items()}


def test_events_are_the_truth_everywhere(samples: Path, read: dict[str, LumiMaps]) -> None:
    truth = json.loads((samples / "run370101_truth.json").read_text())["events"]
    for maps in read.values():
        assert maps.run == 370_101
        assert list(maps.lumisections) == list(range(1, 49))
        assert list(maps.events) == truth
    sources = {key: {EventSource(s).name for s in maps.event_source} for key, maps in read.items()}
    assert sources == {
        "nano": {"OTHER_SUBSYSTEM"},
        "analyzer": {"COUNTER"},
        "harvested": {"COUNTER"},
        "online": {"COUNTER"},
    }


def test_counts_are_identical(read: dict[str, LumiMaps]) -> None:
    nano, analyzer, harvested = read["nano"], read["analyzer"], read["harvested"]
    assert set(analyzer.channels.names) == {"HB", "HE"}
    np.testing.assert_array_equal(analyzer.counts, harvested.counts[:, : len(analyzer.channels)])
    np.testing.assert_array_equal(nano.counts[nano.present], harvested.counts[nano.present])
    assert list(nano.lumisections[~nano.present]) == [25]
    assert harvested.present.all()
    assert analyzer.present.all()


def test_the_samples_hold_hf_but_no_map_of_ho(read: dict[str, LumiMaps]) -> None:
    for maps in (read["nano"], read["harvested"]):
        assert maps.found == ("HB", "HE", "HF")
        assert not maps.present_of("HO").any()
        np.testing.assert_array_equal(maps.present_of("HF"), maps.present)
        forward = maps.counts[:, maps.channels.rows_of("HF")]
        live = forward.any(axis=0)
        assert live.mean() > 0.98
        assert (forward[maps.present][:, live] == maps.events[maps.present, None]).all()
        assert not any("HO" in note for note in maps.notes)
    assert not read["analyzer"].present_of("HF").any()
    assert read["online"].coarse is not None
    assert read["online"].coarse.missing == ("HO",)


def test_the_online_file_has_strips_and_the_same_totals(read: dict[str, LumiMaps]) -> None:
    coarse = read["online"].coarse
    assert coarse is not None
    assert coarse.strips is not None
    assert coarse.strips.shape == (48, 4, 72)
    np.testing.assert_array_equal(coarse.totals, read["harvested"].counts.sum(axis=0))


def test_strips_add_up_to_the_totals_of_the_cut_maps(samples: Path) -> None:
    (maps,) = read_lumi_maps(samples / ONLINE, definition="OccupancyCut")
    assert maps.coarse is not None
    assert maps.coarse.strips is not None
    assert maps.coarse.totals is not None
    totals = np.zeros((4, 72), dtype=np.int64)
    inner = maps.channels.rows_of("HB", "HE")
    np.add.at(totals, (maps.channels.half[inner], maps.channels.iphi[inner] - 1), maps.coarse.totals[inner])
    np.testing.assert_array_equal(maps.coarse.strips.sum(axis=0), totals)


def test_ten_real_lumisections(samples: Path) -> None:
    (maps,) = read_lumi_maps(samples / "run306138_real")
    assert maps.run == 306_138
    assert list(maps.lumisections) == list(range(1, 11))
    assert list(maps.events) == [1350, 1379, 1366, 1332, 1422, 1930, 1868, 1911, 1939, 2020]
    assert set(maps.event_source) == {EventSource.HF_PLATEAU}
    assert maps.present.all()
    assert maps.found == ("HB", "HE", "HO", "HF")
    assert not any("no channel" in note for note in maps.notes)
    counts = maps.counts[:, maps.channels.rows_of("HB", "HE")]
    live = counts.any(axis=0).sum()
    assert live == 5283
    np.testing.assert_allclose(counts.sum(axis=1) / maps.events / live, 0.402, rtol=0.006)


def test_ho_and_hf_of_the_ten_real_lumisections(samples: Path) -> None:
    """HO lies in depth 4, as CMSSW filled it in 2017; every live HF channel holds the number of events."""
    (maps,) = read_lumi_maps(samples / "run306138_real")
    outer, forward = (maps.counts[:, maps.channels.rows_of(name)] for name in ("HO", "HF"))
    assert maps.present_of("HO").all()
    live = outer.any(axis=0)
    assert live.sum() == 2145
    np.testing.assert_allclose(outer[:, live].mean(axis=1) / maps.events, 0.327, rtol=0.004)
    assert forward.shape == (10, 3456)
    assert (forward == maps.events[:, None]).all()


def test_two_containers_of_one_run_are_not_added_up(samples: Path) -> None:
    with pytest.raises(InputError, match="give files of one kind"):
        read_lumi_maps([samples / HARVESTED, samples / "nanodqmio_run370101.root"])


def test_the_library_offers_what_it_names() -> None:
    assert all(callable(getattr(hcal_root_ad, name)) for name in hcal_root_ad.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hcal_root_ad.nothing
