"""What is written in each container is what the harvester reads."""

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import Era, Subdetector
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import EventSource
from hcal_root_ad.simulate.formats import FORMATS, write_format
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

SOURCES = {
    "nanodqmio": EventSource.OTHER_SUBSYSTEM,
    "dqm_file": EventSource.COUNTER,
    "per_lumisection": EventSource.HF_PLATEAU,
    "snapshots": EventSource.COUNTER,
    "hcalanalyzer": EventSource.COUNTER,
    "dials": EventSource.HF_PLATEAU,
}


@pytest.mark.parametrize("container", SOURCES)
def test_counts_and_events_come_back(detector: SimulatedDetector, tmp_path: Path, container: str) -> None:
    pytest.importorskip("ROOT")
    simulated = simulate_run(detector, simulate_conditions(3, 4), seed=5)
    (maps,) = read_lumi_maps(write_format(simulated, tmp_path, container))
    written = simulated.maps
    assert maps.run == written.run
    np.testing.assert_array_equal(maps.lumisections, written.lumisections)
    np.testing.assert_array_equal(maps.events, written.events)
    held = ("HB", "HE") if container == "hcalanalyzer" else tuple(Subdetector.__members__)
    assert maps.found == held
    np.testing.assert_array_equal(maps.counts, written.counts[:, written.channels.rows_of(*held)])
    assert all(maps.present_of(name).all() for name in held)
    assert (maps.event_source == SOURCES[container]).all()


def test_the_online_file_gives_its_strips_and_totals(detector: SimulatedDetector, tmp_path: Path) -> None:
    pytest.importorskip("ROOT")
    simulated = simulate_run(detector, simulate_conditions(3, 4), seed=5)
    (maps,) = read_lumi_maps(write_format(simulated, tmp_path, "online"))
    channels = detector.channels
    assert maps.coarse is not None
    assert maps.coarse.totals is not None
    assert maps.coarse.strips is not None
    np.testing.assert_array_equal(maps.events, simulated.maps.events)
    np.testing.assert_array_equal(maps.coarse.totals, simulated.maps.counts.sum(axis=0))
    strip = (channels.half == 2) & (channels.iphi == 7)
    np.testing.assert_array_equal(maps.coarse.strips[:, 2, 6], simulated.cut_counts[:, strip].sum(axis=1))


@pytest.mark.parametrize("container", ["dials", "nanodqmio", "per_lumisection"])
@pytest.mark.parametrize("era", [Era.RUN2_2017, Era.RUN2_2018])
def test_earlier_eras_come_back_with_their_channels(tmp_path: Path, era: Era, container: str) -> None:
    """Their HO lies in the map of depth 4."""
    pytest.importorskip("ROOT")
    simulated = simulate_run(simulate_detector(2, era), simulate_conditions(2, 4))
    (maps,) = read_lumi_maps(write_format(simulated, tmp_path, container))
    assert maps.channels.era == era
    assert maps.present_of("HO").all()
    np.testing.assert_array_equal(maps.counts, simulated.maps.counts)


def test_every_format_is_tried() -> None:
    assert {*SOURCES, "online"} == set(FORMATS)
