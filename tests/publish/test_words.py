"""What people read on every published element: title and axes, and the words of quality results."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from hcal_root_ad.judge import aggregate
from hcal_root_ad.judge.aggregate import channel_sums, reconstruction_error, strongest_scores
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.machine import row_blocks
from hcal_root_ad.publish.elements import CLIENT, TASK, MonitorElements, QualityResult, QualityStatus
from hcal_root_ad.publish.publish import monitor_elements

DEPTH, BOX, STRIP, LS = ("ieta", "iphi"), ("LS", "RBX"), ("LS", "iphi"), ("LS",)
WORDS = {
    # folder or path: title ({} is the element's name), axes, title of the contents of one dimension
    f"{TASK}/Occupancy": ("digis observed per channel", ("ieta", "depth"), ""),
    f"{TASK}/ReconstructedOccupancy": ("digis expected per channel", ("ieta", "depth"), ""),
    f"{TASK}/EventsvsLS": ("events", LS, "events"),
    f"{TASK}/PullvsLS/Subdet": ("{}: RMS pull (1 is chance)", LS, "RMS pull"),
    f"{CLIENT}/EventInfo/runSummary": ("state of the run", (" ", " "), ""),
    f"{CLIENT}/EventInfo/TrustSummary": ("may the verdict be trusted?", (" ", " "), ""),
    f"{CLIENT}/StateSummary/RBXNow": ("RBX: worst state of the last 10 LS", ("side", "RBX"), ""),
    f"{CLIENT}/StateSummary/RBXRun": ("RBX: worst state since the run began", ("side", "RBX"), ""),
    f"{CLIENT}/StateSummary/FaultList": ("strongest faults", ("LS", " "), ""),
    f"{CLIENT}/StateSummary/depth": ("{}: worst state of the run", DEPTH, ""),
    f"{CLIENT}/StateSummaryvsLS/StateSummaryvsLS": ("worst state by sub-detector", ("LS", " "), ""),
    f"{CLIENT}/StateSummaryvsLS/FED": ("HB and HE: worst state by FED", ("LS", "FED"), ""),
    f"{CLIENT}/StateSummaryvsLS/SubdetPM": ("{}: state of each RBX", BOX, ""),
    f"{CLIENT}/StateSummaryvsiphivsLS/SubdetPM": ("{}: state of each strip of one iphi", STRIP, ""),
    f"{CLIENT}/FlaggedKindsvsLS": ("flagged channels by kind", ("LS", " "), ""),
    f"{CLIENT}/FlaggedChannelsvsLS": ("flagged channels by uHTR", ("LS", "uHTR"), ""),
    f"{CLIENT}/Loss/depth": ("{}: loss where flagged [%]", DEPTH, ""),
    f"{CLIENT}/Excess/depth": ("{}: excess where flagged [%]", DEPTH, ""),
    f"{CLIENT}/LossvsLS": ("loss of flagged channels [% of RBX]", BOX, ""),
    f"{CLIENT}/ExcessvsLS": ("excess of flagged channels [% of RBX]", BOX, ""),
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
        place = element.path if element.path in WORDS else folder
        title, axes, contents = WORDS[place]
        assert element.title == title.format(name)
        assert element.histogram.label in (contents, None)
        assert tuple(axis.label for axis in element.histogram.axes) == axes
        seen.add(place)
    assert seen == set(WORDS)


def test_sums_of_channels_by_hand(verdict: RunVerdict) -> None:
    he = verdict.verdicts[1]
    sums = channel_sums(he)
    np.testing.assert_array_equal(sums.observed[:50], he.observed[JUDGED_ROWS, :50].sum(axis=0))
    np.testing.assert_allclose(sums.expected[:50], he.expected[JUDGED_ROWS, :50].sum(axis=0), rtol=1e-6)


def test_words_of_quality_results(channels: MonitorElements, strips: MonitorElements) -> None:
    results = {one.path: one for one in channels.quality}
    events = results[f"{TASK}/EventsvsLS/EventsvsLS"]
    assert events.message == "11 of 12 LS had enough events and data to be judged"
    assert (events.status, events.result) == (QualityStatus.OK, pytest.approx(11 / 12))
    sound = results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEM"]
    assert sound.message == "no unit is lost, 0.00% of channels flagged"
    lost = results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP"]
    assert lost.message == (
        "a unit is lost in 63.6% of the assessed LS, also in the last 10, 3.54% of channels flagged, "
        "strongest: HEP07 dead, LS 5-12"
    )
    box = {one.path: one for one in strips.quality}[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP"]
    assert box.message.endswith("strongest: HEP07 dead, LS 5-12")
    every = (*channels.quality, *strips.quality)
    assert all(isinstance(one, QualityResult) and one.algorithm == "HcalRootAd" for one in every)


def test_a_long_run_is_summed_in_blocks(verdict: RunVerdict, monkeypatch: pytest.MonkeyPatch) -> None:
    hb = verdict.verdicts[0]
    whole, strongest, error = channel_sums(hb), strongest_scores(hb), reconstruction_error(hb)
    monkeypatch.setattr(aggregate, "row_blocks", partial(row_blocks, rows=5))
    np.testing.assert_allclose(reconstruction_error(hb), error)
    np.testing.assert_array_equal(strongest_scores(hb), strongest)
    for name in ("observed", "expected"):
        np.testing.assert_allclose(getattr(channel_sums(hb), name), getattr(whole, name), rtol=1e-6)
