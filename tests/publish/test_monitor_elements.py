"""What is published, in numbers that one can do by hand. The small run is described in conftest."""

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.judge.verdict import RunVerdict, State
from hcal_root_ad.publish.monitor_elements import monitor_elements

TASK, CLIENT = "Hcal/HcalMLTask", "Hcal/HcalMLClient"
JUDGED = [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13]
DEAD = [5, 6, 7, 9, 10, 11, 12]


@pytest.fixture(scope="module")
def elements(verdict):
    return monitor_elements(verdict)


@pytest.fixture(scope="module")
def strips(strip_verdict):
    return monitor_elements(strip_verdict)


def values(elements, path):
    return elements[path].histogram.values()


def at(elements, path, x, y):
    """Content at axis values, for example LS and RBX, or DQM ieta value and iphi."""
    histogram = elements[path].histogram
    return histogram.values()[histogram.axes[0].index(x), histogram.axes[1].index(y)]


def test_paths_are_those_of_the_field(elements):
    paths = {element.path for element in elements.elements}
    per_depth = [f"{TASK}/{q}" for q in ("Occupancy", "ReconstructedOccupancy", "ResidualOccupancy")]
    per_depth += [f"{TASK}/ScoreMax", f"{TASK}/ScoreMean", f"{CLIENT}/StateSummary", f"{CLIENT}/FlaggedFraction"]
    expected = {f"{folder}/depth/depth{depth}" for folder in per_depth for depth in range(1, 8)}
    trends = [f"{TASK}/{q}vsLS" for q in ("Events", "ReconstructionError", "MLBadFlagedChannels")]
    trends += [f"{CLIENT}/{kind}ChannelsvsLS" for kind in ("Dead", "Degraded", "Warm", "Hot", "Noisy")]
    expected |= {f"{folder}/Subdet/{name}" for folder in trends for name in ("HB", "HE")}
    boxes = [f"{TASK}/ScorevsRBXvsLS", f"{TASK}/FlaggedChannelsvsRBXvsLS", f"{CLIENT}/StateSummaryvsLS"]
    expected |= {f"{folder}/SubdetPM/{half}" for folder in boxes for half in ("HBM", "HBP", "HEM", "HEP")}
    expected |= {f"{CLIENT}/StateSummaryvsLS/StateSummaryvsLS", f"{CLIENT}/EventInfo/reportSummaryMap"}
    assert paths == expected
    assert len(elements.elements) == len(paths)


def test_only_maps_of_states_have_summary_in_their_path(elements, strips):
    for element in (*elements.elements, *strips.elements):
        if "Summary" in element.path:
            assert element.root_class == "TH2F"
            assert set(np.unique(element.histogram.values())) <= {0, 1, 2, 3, 4, 5}


def test_occupancy_is_the_sum_over_judged_lumisections(elements, verdict):
    total = sum(values(elements, f"{TASK}/Occupancy/depth/depth{depth}").sum() for depth in range(1, 8))
    rows = [row for row, ls in enumerate(verdict.maps.lumisections) if ls in JUDGED]
    assert total == sum(v.observed[rows].sum() for v in verdict.verdicts)
    assert (
        elements[f"{TASK}/Occupancy/depth/depth1"].entries == values(elements, f"{TASK}/Occupancy/depth/depth1").sum()
    )


def test_one_channel_on_all_maps(elements, verdict):
    he = verdict.verdicts[1]
    row = int(np.flatnonzero((he.channels.ieta == 20) & (he.channels.iphi == 25) & (he.channels.depth == 3))[0])
    rows = [r for r, ls in enumerate(he.lumisections) if ls in JUDGED]
    seen, wanted = he.observed[rows, row].sum(), he.expected[rows, row].sum()
    place = (20 + 41, 25)  # value of ieta 20 on the DQM axis
    assert at(elements, f"{TASK}/Occupancy/depth/depth3", *place) == seen
    assert at(elements, f"{TASK}/ReconstructedOccupancy/depth/depth3", *place) == pytest.approx(wanted)
    assert at(elements, f"{TASK}/ResidualOccupancy/depth/depth3", *place) == pytest.approx(seen - wanted)
    assert at(elements, f"{TASK}/ScoreMax/depth/depth3", *place) == -40
    assert at(elements, f"{TASK}/ScoreMean/depth/depth3", *place) == pytest.approx(40 * len(DEAD) / len(JUDGED))
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth3", *place) == State.BAD
    assert at(elements, f"{CLIENT}/FlaggedFraction/depth/depth3", *place) == pytest.approx(len(DEAD) / len(JUDGED))


def test_a_masked_channel_is_not_connected_and_not_an_anomaly(elements):
    place = (-20 + 42, 11)
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth3", *place) == State.NOT_CONNECTED
    assert at(elements, f"{TASK}/ResidualOccupancy/depth/depth3", *place) == 0
    assert at(elements, f"{CLIENT}/FlaggedFraction/depth/depth3", *place) == 0


def test_trends_hold_each_lumisection_in_its_own_bin(elements):
    events = values(elements, f"{TASK}/EventsvsLS/Subdet/HE")
    assert events.tolist() == [0 if ls == 8 else 20 if ls == 3 else 1500 for ls in range(1, 14)]
    for path in (f"{TASK}/MLBadFlagedChannelsvsLS/Subdet/HE", f"{CLIENT}/DeadChannelsvsLS/Subdet/HE"):
        assert values(elements, path).tolist() == [188 if ls in DEAD else 0 for ls in range(1, 14)]
    hot = values(elements, f"{CLIENT}/HotChannelsvsLS/Subdet/HB")
    assert hot.tolist() == [1 if ls >= 10 else 0 for ls in range(1, 14)]
    error = values(elements, f"{TASK}/ReconstructionErrorvsLS/Subdet/HE")
    assert error[0] == pytest.approx(1, abs=0.05)
    assert error[4] > 5
    assert error[7] == error[2] == 0


def test_box_maps_find_the_dead_box(elements):
    flagged = f"{TASK}/FlaggedChannelsvsRBXvsLS/SubdetPM/HEP"
    assert at(elements, flagged, 5, 7) == 188
    assert values(elements, flagged).sum() == 188 * len(DEAD)
    assert elements[flagged].bin_labels[1][6] == "HEP07"
    assert at(elements, f"{TASK}/ScorevsRBXvsLS/SubdetPM/HEP", 5, 7) == -40
    assert at(elements, f"{TASK}/ScorevsRBXvsLS/SubdetPM/HBP", 10, 9) == pytest.approx(40 / 252)


def test_states_of_boxes_and_subdetectors(elements):
    boxes = f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP"
    assert at(elements, boxes, 5, 7) == State.BAD
    assert at(elements, boxes, 4, 7) == at(elements, boxes, 5, 8) == State.GOOD
    assert (values(elements, boxes)[[2, 7]] == State.NOT_ASSESSED).all()
    assert at(elements, f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBP", 10, 9) == State.PROBLEMATIC
    both = f"{CLIENT}/StateSummaryvsLS/StateSummaryvsLS"
    assert elements[both].bin_labels[1] == ("HB", "HE")
    assert values(elements, both)[:, 1].tolist() == [
        5 if ls in DEAD else 2 if ls in (3, 8) else 3 for ls in range(1, 14)
    ]
    assert values(elements, both)[:, 0].tolist() == [4 if ls >= 10 else 2 if ls in (3, 8) else 3 for ls in range(1, 14)]
    summary = elements[f"{CLIENT}/EventInfo/reportSummaryMap"]
    assert summary.bin_labels[0] == ("HBM", "HBP", "HEM", "HEP")
    assert summary.histogram.values()[3, 6] == State.BAD
    assert summary.histogram.values()[1, 8] == State.PROBLEMATIC
    assert (summary.histogram.values() == State.GOOD).sum() == 70


def test_report_summary_is_the_share_of_good_pairs(elements):
    scalars = {scalar.path.removeprefix(f"{CLIENT}/"): scalar.value for scalar in elements.scalars}
    he_pairs = (6768 - 1) * len(JUDGED)
    assert scalars["EventInfo/reportSummaryContents/HE"] == pytest.approx(1 - 188 * len(DEAD) / he_pairs)
    assert scalars["EventInfo/reportSummaryContents/HB"] == pytest.approx(1 - 4 / (9072 * len(JUDGED)))
    total = he_pairs + 9072 * len(JUDGED)
    assert scalars["EventInfo/reportSummary"] == pytest.approx(1 - (188 * len(DEAD) + 4) / total)


def test_provenance_names_program_bundles_inputs_and_notes_once(elements):
    scalars = {s.path.rpartition("/")[2]: s.value for s in elements.scalars if "/Provenance/" in s.path}
    assert scalars["program"].startswith("hcal-root-ad ")
    assert scalars["definition"] == "nanodqmio"
    assert scalars["bundle_HE"] == "he-graphstad 1"
    assert scalars["bundleDigest_HB"] == "ab12"
    assert (scalars["threshold_HE"], scalars["falseAlarmsPer100LS_HE"]) == (6.5, 1.0)
    assert scalars["input0001"] == "nanodqmio_run370101.root, 1234 bytes, sha256 00ff"
    assert [scalars[f"note{n:02d}"] for n in (1, 2)] == ["A note on the run.", "A note with <brackets> and a µ."]
    assert "note03" not in scalars


def test_quality_says_error_for_a_lost_box_warning_for_one_channel_and_ok_else(elements):
    status = {(q.path.removeprefix("Hcal/"), int(q.status)): q for q in elements.quality}
    flags = "HcalMLTask/MLBadFlagedChannelsvsLS/Subdet"
    assert status[f"{flags}/HE", 300].result == pytest.approx(4 / 11)
    assert status[f"{flags}/HB", 200].result == pytest.approx(7 / 11)
    assert ("HcalMLClient/DeadChannelsvsLS/Subdet/HE", 300) in status
    assert ("HcalMLClient/HotChannelsvsLS/Subdet/HB", 200) in status
    assert ("HcalMLClient/DegradedChannelsvsLS/Subdet/HE", 100) in status
    assert "HEP07 dead, LS 5-12" in status[f"{flags}/HE", 300].message
    assert {q.path for q in elements.quality} <= {e.path for e in elements.elements}


def test_nothing_assessed_is_insufficient_and_never_good(small_run):
    verdict = small_run.verdict("HE")
    nothing = replace(
        verdict,
        assessed=np.zeros_like(verdict.assessed),
        states=np.where(verdict.states == 1, 1, 2).astype(np.uint8),
        intervals=(),
        groups=(),
    )
    elements = monitor_elements(RunVerdict(small_run.maps(), (nothing,)))
    assert {int(q.status) for q in elements.quality} == {70}
    flags = [q for q in elements.quality if q.qtest != "MLEnoughEvents"]
    assert {(q.result, q.message) for q in flags} == {(0.0, "no LS could be judged: too few events or no data")}
    scalars = {scalar.path.rpartition("/")[2]: scalar.value for scalar in elements.scalars}
    assert scalars["reportSummary"] == scalars["HE"] == scalars["HB"] == -1
    for element in elements.elements:
        if "Summary" in element.path:
            assert set(np.unique(element.histogram.values())) <= {0, 1, 2}


def test_a_run_with_one_subdetector_leaves_the_other_empty(small_run):
    elements = monitor_elements(RunVerdict(small_run.maps(), (small_run.verdict("HE"),)))
    paths = {element.path for element in elements.elements}
    assert f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP" in paths
    assert f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBP" not in paths
    assert not elements[f"{CLIENT}/EventInfo/reportSummaryMap"].histogram.values()[:2].any()


def test_strips_are_published_against_ls_and_iphi(strips):
    for name in ("Occupancy", "ReconstructedOccupancy", "ResidualOccupancy", "Score"):
        assert values(strips, f"{TASK}/{name}vsiphivsLS/SubdetPM/HEP").shape == (13, 72)
    state = f"{CLIENT}/StateSummaryvsiphivsLS/SubdetPM/HEP"
    assert [at(strips, state, 5, iphi) for iphi in (22, 23, 26, 27)] == [3, 5, 5, 3]
    assert values(strips, f"{CLIENT}/FlaggedStripsvsLS/Subdet/HE").tolist() == [
        4 if ls in DEAD else 0 for ls in range(1, 14)
    ]
    assert at(strips, f"{TASK}/ResidualOccupancyvsiphivsLS/SubdetPM/HEP", 5, 24) == -30000
    assert strips[f"{CLIENT}/EventInfo/reportSummaryMap"].histogram.values()[3, 6] == State.BAD
    status = {q.path.removeprefix(f"{CLIENT}/"): int(q.status) for q in strips.quality if q.path.startswith(CLIENT)}
    assert status == {"FlaggedStripsvsLS/Subdet/HB": 100, "FlaggedStripsvsLS/Subdet/HE": 300}
    scalars = {s.path.rpartition("/")[2]: s.value for s in strips.scalars}
    assert scalars["granularity_strips"] == "iphi strips per lumisection"


def test_strips_come_with_the_events_and_whether_they_were_enough(strips):
    for name in ("HB", "HE"):
        path = f"{TASK}/EventsvsLS/Subdet/{name}"
        assert values(strips, path).tolist() == [0 if ls == 8 else 20 if ls == 3 else 1500 for ls in range(1, 14)]
        (result,) = [q for q in strips.quality if q.path == path]
        assert (result.qtest, int(result.status), result.result) == ("MLEnoughEvents", 100, 11 / 12)


def test_run_totals_give_maps_and_no_trends_but_the_events(small_run):
    he = small_run.verdict("HE")
    last = slice(-2, -1)
    total = replace(
        he,
        granularity="run",
        lumisections=he.lumisections[last],
        events=he.events[last],
        assessed=he.assessed[last],
        observed=he.observed[last],
        expected=he.expected[last],
        score=he.score[last],
        states=he.states[last],
    )
    elements = monitor_elements(RunVerdict(small_run.maps(), (total,)))
    trends = [element.path for element in elements.elements if "vsLS" in element.path]
    assert trends == [f"{TASK}/EventsvsLS/Subdet/HB", f"{TASK}/EventsvsLS/Subdet/HE"]
    assert values(elements, trends[0]).tolist() == [0 if ls == 8 else 20 if ls == 3 else 1500 for ls in range(1, 14)]
    assert not elements.quality
    unknown = replace(small_run.maps(), events=np.zeros_like(small_run.maps().events))
    elements = monitor_elements(RunVerdict(unknown, (total,)))
    assert not [element.path for element in elements.elements if "vsLS" in element.path]
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth3", 20 + 41, 25) == State.BAD
    assert elements[f"{CLIENT}/EventInfo/reportSummaryMap"].histogram.values()[2:].min() == State.GOOD
    assert {s.path.rpartition("/")[2]: s.value for s in elements.scalars}["granularity_HE"] == "run"
