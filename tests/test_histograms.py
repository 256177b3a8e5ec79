"""Histograms with named axes: every digi in its bin, the double 29 only where it is asked for."""

from __future__ import annotations

import hist
import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import UsageError
from hcal_root_ad.histograms import channel_histogram, strongest, worst
from hcal_root_ad.lumi_maps import LumiMaps

LS = np.array([3, 4, 6], dtype=np.int32)


@pytest.fixture(scope="module")
def maps() -> LumiMaps:
    """LS 3, 4 and 6 of all channels; channel number n has n % 7 digis, one more in each later LS; LS 4 lacks HO."""
    channels = channel_table()
    counts = (np.arange(len(channels)) % 7 + np.arange(3)[:, None]).astype(np.int32)
    return LumiMaps(
        370101, channels, LS, np.full(3, 100), np.ones(3, dtype=np.uint8), counts, np.ones(3, dtype=bool), "test",
        missing={"HO": np.array([False, True, False])},
    )  # fmt: skip


def test_axes_are_named_and_every_digi_is_in_its_bin(maps: LumiMaps) -> None:
    histogram = maps.to_hist()
    assert histogram.axes.name == ("ls", "ieta", "iphi", "depth")
    rows = maps.channels.rows_of("HB", "HE")
    assert histogram.sum() == maps.counts[:, rows].sum()
    for row in rows[::997]:
        ieta, iphi, depth = (int(getattr(maps.channels, name)[row]) for name in ("ieta", "iphi", "depth"))
        at = {"ls": hist.loc(6), "ieta": hist.loc(ieta), "iphi": hist.loc(iphi), "depth": hist.loc(depth)}
        assert histogram[at] == maps.counts[2, row]
    assert histogram[{"ls": hist.loc(5)}].sum() == 0


def test_a_number_drops_its_axis_and_the_others_are_summed(maps: LumiMaps) -> None:
    histogram = maps.to_hist("iphi", "ieta", depth=4, ls=range(3, 5))
    assert histogram.axes.name == ("iphi", "ieta")
    rows = np.flatnonzero((maps.channels.depth == 4) & np.isin(maps.channels.names, ["HB", "HE"]))
    assert histogram.sum() == maps.counts[:2, rows].sum()
    assert maps.to_hist(depth=4).axes.name == ("ls", "ieta", "iphi")
    assert maps.to_hist(depth=4, ls=3).axes == maps.to_hist(depth=1, ls=4).axes
    np.testing.assert_array_equal(maps.to_hist(ls=3, depth=2).values(), maps.to_hist(depth=2)[{"ls": 0}].values())


def test_minus_29_is_that_of_he_and_hf_has_its_own_where_it_is_asked_for(maps: LumiMaps) -> None:
    he = (maps.channels.ieta == -29) & np.isin(maps.channels.names, ["HE"])
    assert maps.to_hist("ieta")[hist.loc(-29)] == maps.counts[:, he].sum()
    both = maps.to_hist("dqm_ieta", subdetector=["HE", "HF"])
    assert len(both.axes[0]) == 84
    hf = (maps.channels.ieta == -29) & np.isin(maps.channels.names, ["HF"])
    assert (both[12], both[13]) == (maps.counts[:, hf].sum(), maps.counts[:, he].sum())
    with pytest.raises(UsageError, match=r"HE and HF share \|ieta\| 29"):
        maps.to_hist("ieta", subdetector=["HE", "HF"])
    with pytest.raises(UsageError, match="HB and HO share depth 4"):
        maps.to_hist("dqm_ieta", subdetector=["HB", "HO"])


def test_a_lumisection_without_maps_has_no_digi(maps: LumiMaps) -> None:
    by_ls = maps.to_hist("ls", subdetector="HO")
    ho = maps.channels.rows_of("HO")
    assert by_ls.values().tolist() == [maps.counts[0, ho].sum(), 0, 0, maps.counts[2, ho].sum()]
    assert maps.counts[1, ho].any()  # the maps are as they were


def test_states_keep_the_worst_and_scores_the_largest_of_a_bin() -> None:
    channels = channel_table().select("HB")
    values = np.zeros((2, len(channels)))
    tower = np.flatnonzero((channels.ieta == 5) & (channels.iphi == 7))
    values[0, tower[0]], values[1, tower[1]] = -9.0, 8.0
    scores = channel_histogram(channels, values, LS[:2], ("ieta", "iphi"), together=strongest)
    assert scores[hist.loc(5), hist.loc(7)] == -9
    states = channel_histogram(channels, np.abs(values).astype(np.uint8), LS[:2], ("ls",), together=worst)
    assert states.values().tolist() == [9, 8]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"subdetector": "HX"}, "no sub-detector 'HX'; HB, HE, HO and HF are"),
        ({"depth": 9}, "no channel has .*depth=9"),
        ({"ls": 5}, "no lumisection 5 is there; there are LS 3 to 6"),
    ],
)
def test_what_is_not_there_is_said(maps: LumiMaps, arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        maps.to_hist(**arguments)
    with pytest.raises(UsageError, match="no axis 'eta'; the axes are ls, ieta, iphi, depth and dqm_ieta"):
        maps.to_hist("eta")


def test_maps_are_cut_by_number_by_position_and_by_channel(maps: LumiMaps) -> None:
    assert maps.loc[4:6].lumisections.tolist() == [4, 6]
    assert maps.loc[:4].lumisections.tolist() == [3, 4]
    assert maps.loc[6].counts.tolist() == maps[2].counts.tolist() == maps[-1].counts.tolist()
    assert [one.lumisections.tolist() for one in maps] == [[3], [4], [6]]
    assert len(maps) == len(list(maps)) == 3
    with pytest.raises(UsageError, match="run 370101 has no LS 5; it has LS 3–4, 6"):
        maps.loc[5]
    with pytest.raises(IndexError):
        maps[3]
    some = maps.select(subdetector="HO", ieta=range(1, 5), ls=[4, 6])
    assert (len(some), len(some.channels)) == (2, 4 * 72)
    assert some.present_of("HO").tolist() == [False, True]
    with pytest.raises(UsageError, match="no channel has"):
        maps.select(subdetector="HF", depth=7)


def test_maps_say_in_a_line_what_they_hold(maps: LumiMaps) -> None:
    line = "<LumiMaps run 370101: LS 3–4, 6, 21,456 channels, digis in HB, HE, HO, HF>"
    assert repr(maps) == line
    assert "<td>3 (LS 3–4, 6)</td>" in maps._repr_html_()
