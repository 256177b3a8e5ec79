"""What is published, in numbers that one can do by hand. The small run is described in conftest."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import CommonPart, Finding, Interval, Kind, Level, State, Trust
from hcal_root_ad.publish.elements import AXIS_LIMIT, TITLE_LIMIT
from hcal_root_ad.publish.fault_elements import ROWS
from hcal_root_ad.publish.publish import monitor_elements
from hcal_root_ad.publish.state_elements import newest, outer_units

TASK, CLIENT = "Hcal/HcalADTask", "Hcal/HcalADClient"
JUDGED = [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13]
DEAD = [5, 6, 7, 9, 10, 11, 12]
HALVES = ("HBM", "HBP", "HEM", "HEP")


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


def scalars(elements, folder=f"{CLIENT}/EventInfo/"):
    return {s.path.removeprefix(folder): s.value for s in elements.scalars if s.path.startswith(folder)}


def quality(elements):
    return {result.path: result for result in elements.quality}


def test_paths_are_those_of_the_field(elements):
    paths = {element.path for element in elements.elements}
    expected = {f"{CLIENT}/StateSummary/depth/depth{depth}" for depth in range(1, 8)}
    expected |= {f"{CLIENT}/Loss/depth/depth{depth}" for depth in range(1, 8)}
    expected |= {f"{CLIENT}/StateSummaryvsLS/SubdetPM/{half}" for half in HALVES}
    expected |= {f"{TASK}/PullvsLS/Subdet/{name}" for name in ("HB", "HE")}
    client = (
        "StateSummary/RBXNow", "StateSummary/RBXRun", "StateSummary/FaultList", "StateSummaryvsLS/StateSummaryvsLS",
        "StateSummaryvsLS/FED", "FlaggedKindsvsLS/FlaggedKindsvsLS", "FlaggedChannelsvsLS/uHTR",
        "LossvsLS/RBX", "ExcessvsLS/RBX", "Excess/depth/depth2",
        "EventInfo/runSummary", "EventInfo/TrustSummary",
    )  # fmt: skip
    expected |= {f"{CLIENT}/{path}" for path in client}
    task = ("Occupancy/Occupancy", "ReconstructedOccupancy/ReconstructedOccupancy", "EventsvsLS/EventsvsLS")
    expected |= {f"{TASK}/{path}" for path in task}
    assert paths == expected
    assert len(elements.elements) == len(paths)


def test_a_run_with_every_kind_of_fault_in_every_depth_has_no_more_than_45_histograms(small_run):
    parts = []
    for name in ("HB", "HE", "HO", "HF"):
        verdict = small_run.verdict(name) if name in ("HB", "HE") else beyond(small_run, name, lambda *_: None)
        everywhere = [int(np.flatnonzero(verdict.channels.depth == d)[0]) for d in np.unique(verdict.channels.depth)]
        intervals = [Interval(row, kind, 5, 9, 10, 5.0, 9.0) for row in everywhere for kind in (Kind.DEAD, Kind.HOT)]
        parts.append(replace(verdict, intervals=tuple(intervals)))
    run = RunVerdict(small_run.maps(), tuple(parts), common=common_part())
    assert len(monitor_elements(run).elements) == 45


def test_only_maps_of_states_have_summary_in_their_path(elements, strips):
    for element in (*elements.elements, *strips.elements):
        if "Summary" in element.path:
            assert element.root_class == "TH2F"
            assert set(np.unique(element.histogram.values())) <= {0, 1, 2, 3, 4, 5}


def test_no_map_has_a_sign_and_titles_are_short(elements, strips):
    for element in (*elements.elements, *strips.elements):
        assert len(element.title) <= TITLE_LIMIT
        assert all(len(axis.label) <= AXIS_LIMIT for axis in element.histogram.axes)
        if element.root_class == "TH2F":
            assert element.histogram.values().min() >= 0


def test_one_channel_on_all_maps(elements):
    place = (20 + 41, 25)  # value of ieta 20 on the DQM axis
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth3", *place) == State.BAD
    assert at(elements, f"{CLIENT}/Loss/depth/depth3", *place) == 100
    hot = (4 + 41, 33)
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth2", *hot) == State.BAD
    assert at(elements, f"{CLIENT}/Excess/depth/depth2", *hot) == pytest.approx(100, abs=15)
    assert at(elements, f"{CLIENT}/Loss/depth/depth2", *hot) == 0
    assert np.count_nonzero(values(elements, f"{CLIENT}/Excess/depth/depth2")) == 1


def test_a_masked_channel_is_not_connected_and_no_hole_in_what_was_seen(elements):
    place = (-20 + 42, 11)
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth3", *place) == State.NOT_CONNECTED
    assert at(elements, f"{CLIENT}/Loss/depth/depth3", *place) == 0
    seen, wanted = (
        at(elements, f"{TASK}/{name}/{name}", -20 + 42, 3) for name in ("Occupancy", "ReconstructedOccupancy")
    )
    assert seen == pytest.approx(wanted, rel=0.01), "the mean of the 71 that are left"


def test_occupancies_are_means_over_the_judged_channels_and_sums_over_the_judged_lumisections(elements, verdict):
    he = verdict.verdicts[1]
    rows = [row for row, ls in enumerate(he.lumisections) if ls in JUDGED]
    ring = (he.channels.ieta == 25) & (he.channels.depth == 4)
    for name, counts in (("Occupancy", he.observed), ("ReconstructedOccupancy", he.expected)):
        mean = counts[np.ix_(rows, ring)].sum() / ring.sum()
        assert at(elements, f"{TASK}/{name}/{name}", 25 + 41, 4) == pytest.approx(mean)


def test_occupancy_is_left_out_beside_digi_tasks_own(verdict):
    paths = {element.path for element in monitor_elements(verdict, beside_digi_task=True).elements}
    assert f"{TASK}/Occupancy/Occupancy" not in paths
    assert f"{TASK}/ReconstructedOccupancy/ReconstructedOccupancy" in paths


def test_events_are_plain_counts_and_the_only_trend_that_may_be_scaled(elements):
    events = elements[f"{TASK}/EventsvsLS/EventsvsLS"]
    assert events.histogram.values().tolist() == [0 if ls == 8 else 20 if ls == 3 else 1500 for ls in range(1, 14)]
    trends = [one for one in elements.elements if one.root_class == "TH1F" and one.against_lumisections]
    assert [one.path for one in trends if not one.efficiency] == [events.path]
    assert events.errors is None
    assert all(one.errors is not None for one in trends if one.efficiency)


def test_pulls_are_points_with_errors_and_none_where_nothing_was_judged(elements):
    pull = elements[f"{TASK}/PullvsLS/Subdet/HE"]
    contents = pull.histogram.values()
    assert contents[0] == pytest.approx(1, abs=0.05)
    assert contents[4] > 5
    assert pull.errors[0] == pytest.approx(contents[0] / np.sqrt(2 * 6767))
    assert [int(ls) for ls in np.flatnonzero(pull.errors == 0) + 1] == [3, 8]
    assert contents[2] == contents[7] == 0


def names_of(element):
    """Names of the rows of a map, without their size."""
    return [re.sub(r"#scale\[[\d.]+\]{(.*)}", r"\1", label) for label in element.bin_labels[1]]


def kind_rows(elements):
    """Flagged channels against LS of each row of the map by kind, from the lowest row to the highest."""
    element = elements[f"{CLIENT}/FlaggedKindsvsLS/FlaggedKindsvsLS"]
    return dict(zip(names_of(element), element.histogram.values().T.tolist(), strict=True))


def test_kinds_are_rows_of_one_map(elements):
    kinds = kind_rows(elements)
    assert list(kinds) == [f"{name} {kind}" for name in ("HE", "HB") for kind in reversed(Kind)]
    assert kinds.pop("HE dead") == [188 if ls in DEAD else 0 for ls in range(1, 14)]
    assert kinds.pop("HB hot") == [1 if ls >= 10 else 0 for ls in range(1, 14)]
    assert not any(map(any, kinds.values()))


def test_what_a_box_misses_is_in_percent_of_what_it_should_have(elements):
    loss = f"{CLIENT}/LossvsLS/RBX"
    assert at(elements, loss, 5, 61) == pytest.approx(100)  # HEP07 is box 61 of 72
    assert np.count_nonzero(values(elements, loss)) == len(DEAD)
    excess = values(elements, f"{CLIENT}/ExcessvsLS/RBX")
    assert [int(box) for box in np.unique(np.nonzero(excess)[1]) + 1] == [18 + 9]  # iphi 33 is HBP09
    assert 0.1 <= excess.max() < 1
    assert elements[loss].bin_labels[1][54] == "HEP01"


def test_states_of_boxes_subdetectors_and_feds(elements):
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
    feds = elements[f"{CLIENT}/StateSummaryvsLS/FED"]
    assert feds.bin_labels[1] == tuple(str(number) for number in range(1100, 1118))
    bad = np.flatnonzero((feds.histogram.values() == State.BAD).any(axis=0))
    assert [feds.bin_labels[1][row] for row in bad] == ["1105"]  # RBX07, plus side


def test_a_lost_uhtr_is_one_line_and_turns_its_fed_red(small_run):
    verdict = small_run.verdict("HB")
    channels = verdict.channels
    rows = np.flatnonzero((channels.crate == 24) & (channels.slot == 2))  # HB 13 to 16 of one box: under a quarter
    states = verdict.states.copy()
    states[4:6, rows] = State.BAD
    elements = monitor_elements(RunVerdict(small_run.maps(), (replace(verdict, states=states),)))
    lines = elements[f"{CLIENT}/FlaggedChannelsvsLS/uHTR"]
    at_once = lines.histogram.values()[4]
    assert np.count_nonzero(at_once) == 1
    assert at_once.max() == len(rows) == 60
    feds = elements[f"{CLIENT}/StateSummaryvsLS/FED"]
    assert feds.histogram.values()[4, feds.bin_labels[1].index("1100")] == State.BAD
    assert at(elements, f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBM", 5, 2) == State.PROBLEMATIC


def test_now_is_the_last_assessed_lumisections_and_the_run_is_all_of_them(elements):
    run, now = (elements[f"{CLIENT}/StateSummary/RBX{name}"] for name in ("Run", "Now"))
    assert run.bin_labels[0] == HALVES
    assert run.histogram.values()[3, 6] == now.histogram.values()[3, 6] == State.BAD
    assert run.histogram.values()[1, 8] == State.PROBLEMATIC
    assert (run.histogram.values() == State.GOOD).sum() == 70
    states = np.full((30, 1), State.GOOD, dtype=np.uint8)
    states[:15], states[25:] = State.BAD, State.NOT_ASSESSED
    assert newest(states)[:, 0].tolist() == [3] * 10, "LS 16 to 25: what came after was not assessed"


def test_the_run_summary_follows_hcaldqms_rule(elements, small_run):
    found = scalars(elements)
    assert found["reportSummary"] == pytest.approx(1 - len(DEAD) / len(JUDGED))
    assert found["reportSummaryContents/HE"] == found["reportSummary"]
    assert found["reportSummaryContents/HB"] == 1
    assert values(elements, f"{CLIENT}/EventInfo/runSummary").tolist() == [[State.BAD]]
    assert not any("reportSummaryMap" in element.path for element in elements.elements)
    hb = monitor_elements(RunVerdict(small_run.maps(), (small_run.verdict("HB"),)))
    assert values(hb, f"{CLIENT}/EventInfo/runSummary").tolist() == [[State.GOOD]]


def test_texts_for_people_fit_into_one_line_of_a_picture(elements, strips):
    """Strings are drawn in 16 pixels, centred, and cut at both sides: some 52 characters of 480 pixels."""
    for part in (elements, strips):
        found = scalars(part)
        assert all(len(str(found[name])) <= 52 for name in ("verdict", "trust", "reportSummary"))


def test_what_is_looked_for_by_name_has_a_name_of_its_own(elements):
    """The newer GUI searches the last part of a path only."""
    last = [element.path.rpartition("/")[2] for element in elements.elements]
    for name in ("RBXNow", "RBXRun", "FaultList", "runSummary", "TrustSummary", "FED", "uHTR", "EventsvsLS"):
        assert last.count(name) == 1


def test_the_event_info_says_which_run_it_is(elements):
    found = scalars(elements)
    assert (found["iRun"], found["iLumiSection"]) == (370101, 13)
    assert found["processedEvents"] == 11 * 1500 + 20


@pytest.mark.parametrize(
    ("trust", "state", "summary"),
    [(Trust.ADAPTED, 3, 1.0), (Trust.REFERENCE_RUN, 3, 1.0), (Trust.OTHER_PERIOD, 4, -1.0), (Trust.NONE, 5, -1.0)],
)
def test_a_run_without_a_trusted_reference_is_never_called_good(small_run, trust, state, summary):
    reason = "" if trust.trusted else "nothing knows this detector"
    verdict = replace(small_run.verdict("HB"), trust=trust, trust_reason=reason)
    elements = monitor_elements(RunVerdict(small_run.maps(), (verdict,)))
    found = scalars(elements)
    assert found["reportSummary"] == found["reportSummaryContents/HB"] == summary
    assert found["trust"] == str(trust)
    assert values(elements, f"{CLIENT}/EventInfo/TrustSummary").tolist() == [[state]]
    good = State.GOOD if trust.trusted else State.NOT_ASSESSED
    assert values(elements, f"{CLIENT}/EventInfo/runSummary").tolist() == [[good]]
    assert found["verdict"].startswith(
        "no unit" if trust.trusted else "not judged (no trust), units lost in 0.0% of LS"
    )
    assert found.get("trustReason01") == (None if trust.trusted else "nothing knows this detector")


def test_a_dead_box_is_red_without_a_trusted_reference_too(small_run):
    verdict = replace(small_run.verdict("HE"), trust=Trust.NONE)
    elements = monitor_elements(RunVerdict(small_run.maps(), (verdict,)))
    assert values(elements, f"{CLIENT}/EventInfo/runSummary").tolist() == [[State.BAD]]
    assert scalars(elements)["reportSummary"] == -1


def finding(unit, kind, ranges, rows=(0,), subdetector="HE"):
    return Finding(subdetector, Level.RBX, unit, kind, ranges, 3, 1.0, rows, 0, 100.0, 0.0, 0.0, 30.0)


def test_the_list_of_faults_has_a_row_for_each_with_the_worst_on_top(small_run):
    verdict = replace(
        small_run.verdict("HE"),
        findings=(
            finding("HEP02", Kind.WARM, ((1, 2),)),
            finding("HEP07-RM2", Kind.DEAD, ((5, 7), (9, 12)), tuple(range(46))),
        ),
    )
    faults = monitor_elements(RunVerdict(small_run.maps(), (verdict,)))[f"{CLIENT}/StateSummary/FaultList"]
    labels = faults.bin_labels[1]
    assert len(labels) == ROWS <= 30
    assert labels[-1] == "#scale[0.66]{#splitline{HEP07 RM2}{dead 5-12}}"
    assert labels[-2] == "#scale[0.66]{#splitline{HEP02}{warm 1-2}}"
    assert not any(labels[:-2])
    rows = faults.histogram.values()
    assert rows[:, -1].tolist() == [5 if ls in DEAD else 2 if ls in (3, 8) else 3 for ls in range(1, 14)]
    assert rows[:, -2].tolist() == [4 if ls <= 2 else 2 if ls in (3, 8) else 3 for ls in range(1, 14)]
    assert not rows[:, :-2].any()


def test_a_list_without_faults_says_so_and_a_long_one_how_many_it_leaves_out(small_run):
    quiet = replace(small_run.verdict("HE"), findings=())
    faults = monitor_elements(RunVerdict(small_run.maps(), (quiet,)))[f"{CLIENT}/StateSummary/FaultList"]
    assert "{nothing}{flagged}" in faults.bin_labels[1][-1]
    assert faults.histogram.values()[:, -1].tolist() == [2 if ls in (3, 8) else 3 for ls in range(1, 14)]
    many = replace(quiet, findings=tuple(finding(f"HEP{n:02d}", Kind.DEAD, ((1, 1),)) for n in range(1, 19)))
    faults = monitor_elements(RunVerdict(small_run.maps(), (many,)))[f"{CLIENT}/StateSummary/FaultList"]
    assert faults.title == "strongest faults, 2 more not shown"


def test_quality_sits_on_the_maps_of_the_shift_layout(elements):
    results = quality(elements)
    layout = [f"{CLIENT}/StateSummaryvsLS/SubdetPM/{half}" for half in HALVES]
    layout += [f"{CLIENT}/StateSummary/RBXNow", f"{CLIENT}/EventInfo/runSummary", f"{TASK}/EventsvsLS/EventsvsLS"]
    assert set(results) == set(layout)
    lost = results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP"]
    assert (int(lost.status), lost.result) == (300, pytest.approx(4 / 11))
    assert int(results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBP"].status) == 100, "one hot channel is no alarm"
    assert int(results[f"{CLIENT}/StateSummary/RBXNow"].status) == 300
    assert all(";" not in result.message for result in results.values())


def test_a_warning_takes_a_module_for_a_moment_or_a_rate_of_channels(small_run):
    verdict = small_run.verdict("HB")
    path = f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBM"

    def status(states):
        return int(
            quality(monitor_elements(RunVerdict(small_run.maps(), (replace(verdict, states=states),))))[path].status
        )

    channels, states = verdict.channels, verdict.states.copy()
    module = np.flatnonzero((channels.box == 3) & (channels.rm == 2))
    states[:, np.flatnonzero(channels.box == 5)[:8]] = State.PROBLEMATIC
    assert status(states) == 100, "8 of 4536 channels"
    states[:, np.flatnonzero(channels.box == 6)[:4]] = State.PROBLEMATIC
    assert status(states) == 200, "12 of 4536 channels"
    states = verdict.states.copy()
    states[0, module] = State.BAD
    assert status(states) == 300, "a module in 1 of 11 LS, which is more than 5 %"


def test_findings_are_named_in_the_messages(small_run):
    verdict = replace(small_run.verdict("HE"), findings=(finding("HEP07", Kind.DEAD, ((5, 12),)),))
    results = quality(monitor_elements(RunVerdict(small_run.maps(), (verdict,))))
    assert "strongest: HEP07 dead, LS 5-12" in results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP"].message
    assert "strongest" not in results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEM"].message


def test_nothing_assessed_is_insufficient_and_never_good(small_run):
    verdict = small_run.verdict("HE")
    nothing = replace(
        verdict,
        assessed=np.zeros_like(verdict.assessed),
        states=np.where(verdict.states == 1, 1, 2).astype(np.uint8),
        intervals=(),
        findings=(),
    )
    elements = monitor_elements(RunVerdict(small_run.maps(), (nothing,)))
    assert {int(q.status) for q in elements.quality} == {70}
    found = scalars(elements)
    assert found["reportSummary"] == found["reportSummaryContents/HE"] == -1
    assert found["verdict"] == "not judged: no LS could be assessed"
    for element in elements.elements:
        if "Summary" in element.path and not element.path.endswith("TrustSummary"):
            assert set(np.unique(element.histogram.values())) <= {0, 1, 2}


def test_a_run_with_one_subdetector_leaves_the_other_empty(small_run):
    elements = monitor_elements(RunVerdict(small_run.maps(), (small_run.verdict("HE"),)))
    paths = {element.path for element in elements.elements}
    assert f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP" in paths
    assert f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBP" not in paths
    assert not elements[f"{CLIENT}/StateSummary/RBXRun"].histogram.values()[:2].any()


def test_lumisections_begin_where_the_run_does(small_run):
    he, maps = small_run.verdict("HE"), small_run.maps()
    later = RunVerdict(
        replace(maps, lumisections=maps.lumisections + 40),
        (replace(he, lumisections=he.lumisections + 40, intervals=()),),
    )
    elements = monitor_elements(later)
    for element in elements.elements:
        if element.against_lumisections:
            assert (element.histogram.axes[0].edges[0], element.histogram.axes[0].edges[-1]) == (41, 54)
    assert at(elements, f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP", 45, 7) == State.BAD


def common_part():
    n = 12
    zeros = np.zeros((n, 4), dtype=np.float32)
    half = zeros.copy()
    half[4, 3] = np.log(0.9)
    return CommonPart(
        lumisections=np.array([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13], dtype=np.int32),
        log_pileup=np.where(np.arange(n) == 2, np.nan, np.log(0.5)).astype(np.float32),
        log_pileup_error=np.full(n, 0.01, dtype=np.float32),
        subdetector={"HE": np.full(n, np.log(1.02), dtype=np.float32)},
        half=half,
        ring=np.full((n, 3), np.log(1.05), dtype=np.float32) * np.array([0, 1, 0.5], dtype=np.float32),
        rings=("HB 1 d1", "HE 20 d1", "HE 25 d1"),
        box=np.zeros((n, 72), dtype=np.float32),
    )


def test_the_common_part_is_against_lumisections_and_unsigned(verdict):
    elements = monitor_elements(replace(verdict, common=common_part()))
    pileup = elements[f"{TASK}/CommonPart/PileupvsLS"]
    assert pileup.histogram.values()[0] == pytest.approx(0.5)
    assert pileup.errors[0] == pytest.approx(0.005)
    assert pileup.errors[2] == pileup.errors[7] == 0, "LS 3 was not assessed, LS 8 is not there"
    assert pileup.efficiency
    shifts = elements[f"{TASK}/CommonPart/ShiftsvsLS"]
    assert shifts.bin_labels[1] == ("RBX", "ring", "HEP", "HEM", "HBP", "HBM", "HE/HB")
    assert shifts.histogram.values()[4].tolist() == pytest.approx([0, 5, 10, 0, 0, 0, 2], rel=1e-5, abs=1e-6)


def test_without_a_common_part_none_is_published(elements):
    assert not [element.path for element in elements.elements if "CommonPart" in element.path]


def beyond(small_run, name, bad, **changes):
    """A verdict on HO or HF, which have no boxes here: ``bad`` sets states."""
    hb, channels = small_run.verdict("HB"), channel_table(Era.RUN3).select(name)
    states = np.full((len(hb.lumisections), len(channels)), State.GOOD, dtype=np.uint8)
    bad(states, channels)
    counts = np.ones(states.shape)
    arrays = {
        "observed": counts.astype(np.int32),
        "expected": counts.astype(np.float32),
        "score": np.zeros_like(counts),
    }
    rest = {"intervals": (), "findings": ()} | changes
    return replace(hb, subdetector=name, channels=channels, states=states, **arrays, **rest)


def test_ho_has_a_map_of_its_own_and_hf_its_own_bins(small_run):
    def one(row):
        return lambda states, _: states.__setitem__((4, row), State.BAD)

    parts = [
        beyond(small_run, name, one(row), intervals=(Interval(row, Kind.DEAD, 5, 5, 0, 10.0, 9.0),))
        for name, row in (("HO", 5), ("HF", 7))
    ]
    elements = monitor_elements(RunVerdict(small_run.maps(), (small_run.verdict("HB"), *parts)))
    ho, hf = (channel_table(Era.RUN3).select(name) for name in ("HO", "HF"))
    assert values(elements, f"{CLIENT}/StateSummary/depth/depthHO")[ho.dqm_x[5], ho.dqm_y[5]] == State.BAD
    assert not [element.path for element in elements.elements if "Loss/depth/depthHO" in element.path]
    depth = f"depth{hf.depth[7]}"
    assert values(elements, f"{CLIENT}/StateSummary/depth/{depth}")[hf.dqm_x[7], hf.dqm_y[7]] == State.BAD
    assert values(elements, f"{CLIENT}/Loss/depth/{depth}")[hf.dqm_x[7], hf.dqm_y[7]] == 100
    assert kind_rows(elements)["HF dead"] == kind_rows(elements)["HO dead"] == [0, 0, 0, 0, 1, *[0] * 8]
    assert len(elements[f"{CLIENT}/StateSummaryvsLS/HOHF"].bin_labels[1]) == 36 + 8
    rows = elements[f"{CLIENT}/StateSummaryvsLS/StateSummaryvsLS"]
    assert rows.bin_labels[1] == ("HB", "HO", "HF")
    assert rows.histogram.values()[4].tolist() == [State.GOOD, State.PROBLEMATIC, State.PROBLEMATIC]
    assert elements[f"{TASK}/Occupancy/Occupancy"].bin_labels[1][-1] == "HO"


@pytest.mark.parametrize(("name", "unit", "rows"), [("HO", "HO1P02", 36), ("HF", "HF+ 1-18", 8)])
def test_half_of_a_unit_of_ho_or_hf_is_a_lost_one(small_run, name, unit, rows):
    def lost(states, channels):
        names, units = outer_units(channels)
        inside = np.flatnonzero(units == names.index(unit))
        states[4:8, inside[: len(inside) // 2]] = State.BAD

    elements = monitor_elements(RunVerdict(small_run.maps(), (beyond(small_run, name, lost),)))
    assert scalars(elements)[f"reportSummaryContents/{name}"] == pytest.approx(1 - 4 / 12)
    states = elements[f"{CLIENT}/StateSummaryvsLS/HOHF"]
    assert len(states.bin_labels[1]) == rows
    column = states.histogram.values()[:, names_of(states).index(unit)]
    assert column.tolist() == [5 if ls in (5, 6, 7, 9) else 2 if ls == 8 else 3 for ls in range(1, 14)]
    assert (states.histogram.values() == State.BAD).sum() == 4


def test_strips_are_published_against_ls_and_iphi(strips):
    state = f"{CLIENT}/StateSummaryvsiphivsLS/SubdetPM/HEP"
    assert [at(strips, state, 5, iphi) for iphi in (22, 23, 26, 27)] == [3, 5, 5, 3]
    assert strips[f"{CLIENT}/StateSummary/RBXRun"].histogram.values()[3, 6] == State.BAD
    assert at(strips, f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP", 5, 7) == State.BAD
    assert at(strips, f"{CLIENT}/LossvsLS/RBX", 5, 61) == pytest.approx(100)
    assert strips[f"{CLIENT}/StateSummary/FaultList"].bin_labels[1][-1].endswith("{HEP07}{dead 5-12}}")
    results = quality(strips)
    assert int(results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP"].status) == 300
    assert int(results[f"{CLIENT}/StateSummaryvsLS/SubdetPM/HBM"].status) == 100
    assert scalars(strips)["reportSummary"] == -1, "compared with itself"
    assert scalars(strips, f"{CLIENT}/Provenance/")["granularity_strips"] == "iphi strips per lumisection"


def test_totals_of_the_run_do_not_fill_lumisections_that_the_strips_left_out(small_run, strip_verdict):
    he = small_run.verdict("HE")
    total = replace(
        he,
        granularity="run",
        intervals=(),
        **{name: getattr(he, name)[:1] for name in ("lumisections", "events", "assessed", "observed", "expected")},
        **{name: getattr(he, name)[:1] for name in ("score", "states")},
    )
    elements = monitor_elements(replace(strip_verdict, verdicts=(total,)))
    states = values(elements, f"{CLIENT}/StateSummaryvsLS/SubdetPM/HEP")
    assert (states[[2, 7]] == State.NOT_ASSESSED).all()
    assert scalars(elements)["reportSummary"] == -1
    assert values(elements, f"{CLIENT}/EventInfo/TrustSummary").tolist() == [[State.BAD], [State.BAD]]
    found = scalars(elements)
    assert (found["trust"], found["trustReason01"]) == ("no reference", "strips are compared with themselves")


def test_strips_come_with_the_events_and_whether_they_were_enough(strips):
    path = f"{TASK}/EventsvsLS/EventsvsLS"
    assert values(strips, path).tolist() == [0 if ls == 8 else 20 if ls == 3 else 1500 for ls in range(1, 14)]
    assert (int(quality(strips)[path].status), quality(strips)[path].result) == (100, 11 / 12)


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
    assert trends == [f"{TASK}/EventsvsLS/EventsvsLS"]
    unknown = replace(small_run.maps(), events=np.zeros_like(small_run.maps().events))
    elements = monitor_elements(RunVerdict(unknown, (total,)))
    assert not [element.path for element in elements.elements if "vsLS" in element.path]
    assert at(elements, f"{CLIENT}/StateSummary/depth/depth3", 20 + 41, 25) == State.BAD
    assert elements[f"{CLIENT}/StateSummary/RBXRun"].histogram.values()[2:].min() == State.GOOD
    assert scalars(elements, f"{CLIENT}/Provenance/")["granularity_HE"] == "run"


def test_provenance_names_program_models_inputs_and_notes_once(elements):
    found = scalars(elements, f"{CLIENT}/Provenance/")
    assert found["program"].startswith("hcal-root-ad ")
    assert found["definition"] == "nanodqmio"
    assert found["model_HE"] == "he-graphstad 1"
    assert found["modelDigest_HB"] == "ab12"
    assert (found["threshold_HE"], found["falseAlarmsPer100LS_HE"]) == (6.5, 1.0)
    assert found["input0001"] == "nanodqmio_run370101.root, 1234 bytes, sha256 00ff"
    assert [found[f"note{n:02d}"] for n in (1, 2)] == ["A note on the run.", "A note with <brackets> and a µ."]
    assert "note03" not in found


def test_production_s_names_come_with_production_s_element(verdict):
    elements = monitor_elements(verdict, as_production=True)
    folders = {"/".join(element.path.split("/")[:2]) for element in elements.elements}
    assert folders == {"Hcal/HcalMLTask", "Hcal/HcalMLClient"}
    flags = elements["Hcal/HcalMLTask/MLBadFlagedChannelsvsLS/Subdet/HE"]
    assert (flags.title, flags.efficiency) == ("HE", True)
    assert flags.histogram.values().tolist() == [188 if ls in DEAD else 0 for ls in range(1, 14)]
    assert flags.errors[2] == 0 < flags.errors[0], "LS 3 was not assessed, in LS 1 nothing was flagged"
    assert {one.path.split("/")[1] for one in (*elements.scalars, *elements.quality)} == {"HcalMLTask", "HcalMLClient"}
