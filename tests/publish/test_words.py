"""What people read on every published element: title, contents, axes. Nobody forgives a wrong one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from hcal_root_ad.judge.verdict import Interval, Kind, RunVerdict, State
from hcal_root_ad.publish import reductions
from hcal_root_ad.publish.elements import CLIENT, TASK, MonitorElements, QualityResult, QualityStatus
from hcal_root_ad.publish.monitor_elements import monitor_elements
from hcal_root_ad.publish.reductions import channel_sums, reconstruction_error
from hcal_root_ad.room import sweep

RATIO = "log10 likelihood ratio"
DEPTH, BOX, STRIP, LS = ("ieta", "iphi"), ("LS", "RBX"), ("LS", "iphi"), ("LS",)
WORDS = {
    # folder: title ({} is the element's name), contents, axes
    f"{TASK}/Occupancy/depth": ("{}: digis seen, sum over judged LS", "digis", DEPTH),
    f"{TASK}/ReconstructedOccupancy/depth": ("{}: digis expected, sum over judged LS", "digis", DEPTH),
    f"{TASK}/ResidualOccupancy/depth": ("{}: digis seen - expected, sum over judged LS", "digis", DEPTH),
    f"{TASK}/ScoreMax/depth": ("{}: largest score over LS, with its sign (+ excess, - loss)", RATIO, DEPTH),
    f"{TASK}/ScoreMean/depth": ("{}: mean of |score| over judged LS", RATIO, DEPTH),
    f"{TASK}/EventsvsLS/Subdet": ("{}: events", "events", LS),
    f"{TASK}/ReconstructionErrorvsLS/Subdet": (
        "{}: reconstruction error, RMS pull of judged channels (1 is statistics alone)",
        "RMS of (seen - expected)/sigma",
        LS,
    ),
    f"{TASK}/MLBadFlagedChannelsvsLS/Subdet": ("{}", "N", LS),
    f"{TASK}/ScorevsRBXvsLS/SubdetPM": ("{}: mean score of the judged channels (+ excess, - loss)", RATIO, BOX),
    f"{TASK}/FlaggedChannelsvsRBXvsLS/SubdetPM": ("{}: flagged channels", "channels", BOX),
    f"{TASK}/OccupancyvsiphivsLS/SubdetPM": ("{}: digis seen", "digis", STRIP),
    f"{TASK}/ReconstructedOccupancyvsiphivsLS/SubdetPM": ("{}: digis expected", "digis", STRIP),
    f"{TASK}/ResidualOccupancyvsiphivsLS/SubdetPM": ("{}: digis seen - expected", "digis", STRIP),
    f"{TASK}/ScorevsiphivsLS/SubdetPM": ("{}: score (+ excess, - loss)", RATIO, STRIP),
    f"{CLIENT}/EventInfo": ("ML: worst state of each RBX over the run", "state", ("sub-detector side", "RBX")),
    f"{CLIENT}/StateSummaryvsLS": ("state of the worst readout box", "state", ("LS", "sub-detector")),
    f"{CLIENT}/StateSummaryvsLS/SubdetPM": ("{}: state", "state", BOX),
    f"{CLIENT}/StateSummary/depth": ("{}: worst state of the run", "state", DEPTH),
    f"{CLIENT}/FlaggedFraction/depth": ("{}: fraction of judged LS flagged", "fraction of LS", DEPTH),
    f"{CLIENT}/StateSummaryvsiphivsLS/SubdetPM": ("{}: state of strips", "state", STRIP),
    f"{CLIENT}/FlaggedStripsvsLS/Subdet": ("{}: flagged strips of one iphi", "strips", LS),
    **{f"{CLIENT}/{kind.capitalize()}ChannelsvsLS/Subdet": (f"{{}}: {kind} channels", "channels", LS) for kind in Kind},
}
JUDGED_ROWS = [row for row in range(12) if row != 2]


@pytest.fixture(scope="module")
def channels(verdict: RunVerdict) -> MonitorElements:
    return monitor_elements(verdict)


@pytest.fixture(scope="module")
def strips(strip_verdict: RunVerdict) -> MonitorElements:
    return monitor_elements(strip_verdict)


def test_every_element_has_its_words(channels: MonitorElements, strips: MonitorElements) -> None:
    seen = set()
    for element in (*channels.elements, *strips.elements):
        folder, _, name = element.path.rpartition("/")
        title, contents, axes = WORDS[folder]
        assert element.title == title.format(name)
        assert element.histogram.label == contents
        assert tuple(axis.label for axis in element.histogram.axes) == axes
        seen.add(folder)
    assert seen == set(WORDS)


def test_strips_not_judged_are_neither_expected_nor_missed(strips: MonitorElements, strip_verdict: RunVerdict) -> None:
    judged = strip_verdict.strips
    assert judged is not None
    expected = strips[f"{TASK}/ReconstructedOccupancyvsiphivsLS/SubdetPM/HBP"].histogram.values()
    residual = strips[f"{TASK}/ResidualOccupancyvsiphivsLS/SubdetPM/HBP"].histogram.values()
    columns = slice(72, 144)
    rows = judged.lumisections[JUDGED_ROWS] - 1
    np.testing.assert_allclose(expected[rows], judged.expected[JUDGED_ROWS, columns])
    np.testing.assert_allclose(
        residual[rows], judged.observed[JUDGED_ROWS, columns] - judged.expected[JUDGED_ROWS, columns], atol=0.5
    )
    assert not expected[2].any()
    assert not residual[2].any()


def test_strips_of_either_end_count_for_their_own_subdetector(strip_verdict: RunVerdict) -> None:
    """One strip flagged in LS 4: the first of HEM, the last of HBP."""
    judged = strip_verdict.strips
    assert judged is not None
    for column, name in ((2 * 72, "HE"), (2 * 72 - 1, "HB")):
        states = np.full_like(judged.states, State.GOOD)
        states[3, column] = State.BAD
        run = RunVerdict(strip_verdict.maps, (), strips=replace(judged, states=states))
        elements = monitor_elements(run)
        for one in ("HB", "HE"):
            counts = elements[f"{CLIENT}/FlaggedStripsvsLS/Subdet/{one}"].histogram.values()
            assert counts.tolist() == [float(ls == 4 and one == name) for ls in range(1, 14)]


def test_sums_of_channels_by_hand(verdict: RunVerdict) -> None:
    he = verdict.verdicts[1]
    sums = channel_sums(he)
    np.testing.assert_array_equal(sums.observed[:50], he.observed[JUDGED_ROWS, :50].sum(axis=0))
    np.testing.assert_allclose(sums.expected[:50], he.expected[JUDGED_ROWS, :50].sum(axis=0), rtol=1e-6)


def test_words_of_quality_results(channels: MonitorElements, strips: MonitorElements) -> None:
    results = {(one.path.removeprefix("Hcal/"), one.qtest): one for one in (*channels.quality, *strips.quality)}
    events = results["HcalMLTask/EventsvsLS/Subdet/HE", "MLEnoughEvents"]
    assert events.message == "11 of 12 LS had enough events and data to be judged"
    assert (events.status, events.result) == (QualityStatus.OK, pytest.approx(11 / 12))
    assert results["HcalMLClient/DegradedChannelsvsLS/Subdet/HE", "MLDegradedChannels"].message == "nothing flagged"
    dead = results["HcalMLClient/DeadChannelsvsLS/Subdet/HE", "MLDeadChannels"]
    assert dead.message == "up to 188 flagged in one LS, 7 of 11 LS; strongest: HEP07 dead, LS 5-12"
    hot = results["HcalMLClient/HotChannelsvsLS/Subdet/HB", "MLHotChannels"]
    assert (hot.status, hot.result) == (QualityStatus.WARNING, pytest.approx(7 / 11))
    assert results["HcalMLClient/FlaggedStripsvsLS/Subdet/HE", "MLFlaggedStrips"].status is QualityStatus.ERROR
    assert results["HcalMLClient/FlaggedStripsvsLS/Subdet/HB", "MLFlaggedStrips"].status is QualityStatus.OK
    assert all(isinstance(one, QualityResult) and one.algorithm == "HcalRootAd" for one in results.values())


def test_a_long_run_is_summed_in_blocks(verdict: RunVerdict, monkeypatch: pytest.MonkeyPatch) -> None:
    hb = verdict.verdicts[0]
    whole, error = channel_sums(hb), reconstruction_error(hb)
    monkeypatch.setattr(reductions, "sweep", partial(sweep, rows=5))
    np.testing.assert_allclose(reconstruction_error(hb), error)
    for name in ("observed", "expected", "score", "mean_score"):
        np.testing.assert_allclose(getattr(channel_sums(hb), name), getattr(whole, name), rtol=1e-6)


@pytest.mark.parametrize(("channels_dead", "status"), [(63, QualityStatus.ERROR), (62, QualityStatus.WARNING)])
def test_a_quarter_of_a_box_is_an_error(small_run: SimpleNamespace, channels_dead: int, status: QualityStatus) -> None:
    """A box of HB has 252 channels; its modules 63."""
    hb = small_run.verdict("HB")
    rows = np.flatnonzero(hb.channels.box == 2)[:channels_dead]
    states = np.where(hb.states >= State.PROBLEMATIC, State.GOOD, hb.states)
    states[5, rows] = State.BAD
    ls = int(hb.lumisections[5])
    intervals = tuple(Interval(int(row), Kind.DEAD, ls, ls, 0, 400.0, 40.0) for row in rows)
    elements = monitor_elements(RunVerdict(small_run.maps(), (replace(hb, states=states, intervals=intervals),)))
    found = {one.qtest: one.status for one in elements.quality}
    assert (found["MLFlaggedChannels"], found["MLDeadChannels"]) == (status, status)
    assert found["MLHotChannels"] is QualityStatus.OK
