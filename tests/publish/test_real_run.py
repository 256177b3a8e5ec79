"""The real run 306138 (ten lumisections, one harvested file each) as a published file, in genuine ROOT's eyes."""

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import ModelInfo, State, Verdict
from hcal_root_ad.publish.gui_rules import check_file
from hcal_root_ad.publish.publish import publish

DATA = Path(__file__).parents[3] / "shared" / "data" / "run306138_real"


@pytest.fixture(scope="module")
def files():
    found = sorted(DATA.glob("*.root"))
    if not found:
        pytest.skip("the sample data are not here")
    return found


@pytest.fixture(scope="module")
def real_run(files):
    """Every channel expected at its mean rate of the run, and found good."""
    (maps,) = read_lumi_maps(files)

    def verdict(name):
        rows = maps.channels.rows_of(name)
        counts = maps.counts[:, rows]
        expected = np.outer(maps.events, counts.sum(axis=0) / maps.events.sum()).astype(np.float32)
        states = np.full(counts.shape, State.GOOD, dtype=np.uint8)
        states[:, counts.sum(axis=0) == 0] = State.NOT_CONNECTED
        return Verdict(
            name, maps.channels.take(rows), maps.lumisections, maps.events, maps.present, counts, expected,
            np.zeros_like(expected), states, (), ModelInfo("mean", "1", "", 6.0, 1.0),
        )  # fmt: skip

    return RunVerdict(maps, (verdict("HB"), verdict("HE")))


def contents(histogram):
    """Bin contents of a TH2F by (x, y), flow bins included."""
    shape = histogram.GetNbinsY() + 2, histogram.GetNbinsX() + 2
    return np.frombuffer(histogram.GetArray(), dtype=np.float32, count=histogram.GetSize()).reshape(shape).T.copy()


def test_the_real_numbers_are_published(real_run, files, tmp_path):
    ROOT = pytest.importorskip("ROOT")
    path = publish(real_run, tmp_path)
    assert path.name == "DQM_V0001_R000306138__JetHT__Run2017F_HcalAD-v1__DQMIO.root"
    assert check_file(path) == ()
    file = ROOT.TFile.Open(str(path))
    task = "DQMData/Run 306138/Hcal/Run summary/HcalADTask"
    inputs = [ROOT.TFile.Open(str(name)) for name in files]
    table = real_run.maps.channels.select("HB", "HE")
    mine = contents(file.Get(f"{task}/Occupancy/Occupancy"))
    for depth in range(1, 8):
        theirs = sum(
            contents(f.Get(f"DQMData/Run 306138/HcalAll/Run summary/DigiTask/Occupancy/depth/depth{depth}"))
            for f in inputs
        )
        use = table.depth == depth
        x, y = table.dqm_x[use] + 1, table.dqm_y[use] + 1
        filled = theirs[x, y] > 0
        sums, channels = (np.bincount(x[filled], weights, minlength=86) for weights in (theirs[x, y][filled], None))
        np.testing.assert_allclose(mine[:, depth], sums / np.maximum(channels, 1), rtol=1e-6)
        assert mine[:, depth].any()
    events = file.Get(f"{task}/EventsvsLS/EventsvsLS")
    assert [events.GetBinContent(ls) for ls in range(1, 11)] == [
        1350, 1379, 1366, 1332, 1422, 1930, 1868, 1911, 1939, 2020,
    ]  # fmt: skip
    error = file.Get(f"{task}/PullvsLS/Subdet/HE")
    assert all(0.8 < error.GetBinContent(ls) < 1.2 for ls in range(1, 11))
    for opened in (file, *inputs):
        opened.Close()


def test_a_real_file_can_be_attached_to(real_run, files, tmp_path, listing):
    path = publish(real_run, tmp_path, attach_to=files[0])
    assert path.name == files[0].name
    assert check_file(path) == ()
    assert set(listing(files[0].read_bytes())) <= set(listing(path.read_bytes()))
