"""The main job on one run: which model serves, what is left out and why, and what each kind of fault is told as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import InputError, ModelError, NoHcalError, UsageError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.run import RunJudge, judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Kind, State, Trust
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.common_part import CommonLevels, CommonPartFit
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.simulate.formats import write_dials
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

MakeModel = Callable[..., Model]
MakeMaps = Callable[..., LumiMaps]
CHANNELS = channel_table().select("HB", "HE")
HB, HE = CHANNELS.rows_of("HB"), CHANNELS.rows_of("HE")
HEP = HE[CHANNELS.ieta[HE] > 0]
HEP07 = HEP[CHANNELS.rbx[HEP] == 7]
Lines = list[tuple[str, Kind, tuple[tuple[int, int], ...], int]]


def _rows(maps: LumiMaps, rows: np.ndarray) -> LumiMaps:
    """Some lumisections, in arrays of their own."""
    names = ("lumisections", "events", "event_source", "present", "counts")
    return replace(maps, **{name: getattr(maps, name)[rows] for name in names})


def lines(verdict: RunVerdict) -> Lines:
    return [(f.unit, f.kind, f.ranges, f.channels) for one in verdict.verdicts for f in one.findings]


def test_a_healthy_run_is_good_everywhere(make_maps: MakeMaps, both: list[Model]) -> None:
    verdict = judge_run(make_maps(), both)
    assert [(one.subdetector, one.trust) for one in verdict.verdicts] == [("HB", Trust.ADAPTED), ("HE", Trust.ADAPTED)]
    assert lines(verdict) == []
    assert all((one.states == State.GOOD).all() for one in verdict.verdicts)
    assert verdict.every_note == ()
    assert verdict.common is not None
    assert verdict.common.log_pileup == pytest.approx(0.0, abs=1e-3)


def test_counting_statistics_raise_nothing_and_faults_among_them_are_found(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(20)
    maps.counts[:] = np.random.default_rng(11).binomial(1000, 0.3, maps.counts.shape)
    maps.counts[6:11, HEP07] = 0
    maps.counts[3:, HE[1234]] = np.random.default_rng(12).binomial(1000, 0.6, 17)
    verdict = judge_run(maps, both)
    hot = f"HE {CHANNELS.ieta[HE[1234]]:+d}/{CHANNELS.iphi[HE[1234]]}/{CHANNELS.depth[HE[1234]]}"
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((7, 11),), 188), (hot, Kind.HOT, ((4, 20),), 1)]


def test_a_luminosity_step_is_a_condition_and_no_fault(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(12)
    # λ falls to 0.8 of its value in LS 7: p = 1 − 0.7^0.8.
    maps.counts[6:] = round(1000 * (1 - 0.7**0.8))
    verdict = judge_run(maps, both)
    assert lines(verdict) == []
    assert verdict.common is not None
    assert verdict.common.log_pileup == pytest.approx([0.0] * 6 + [np.log(0.8)] * 6, abs=0.01)


def test_only_what_a_model_serves_is_judged_and_the_rest_is_said(make_maps: MakeMaps, make_model: MakeModel) -> None:
    verdict = judge_run(make_maps(3), [make_model("HE")])
    assert [one.subdetector for one in verdict.verdicts] == ["HE"]
    assert verdict.every_note == ("no model for HB: its channels were not judged",)


def test_false_findings_are_asked_of_the_model_unless_asked_otherwise(make_maps: MakeMaps, both: list[Model]) -> None:
    quiet = [replace(model, false_alarms=0.25) for model in both]
    given, asked = judge_run(make_maps(2), quiet), judge_run(make_maps(2), quiet, false_alarms=3.0)
    assert [one.judge.false_alarms for one in given.verdicts] == [0.25, 0.25]
    assert [one.judge.false_alarms for one in asked.verdicts] == [3.0, 3.0]
    assert asked.verdicts[0].judge.threshold < given.verdicts[0].judge.threshold
    with pytest.raises(UsageError, match="choose a number above 0 and up to 50"):
        judge_run(make_maps(2), quiet, false_alarms=51.0)


def test_two_models_for_one_subdetector_are_refused(make_maps: MakeMaps, make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match="two models for HE were given"):
        judge_run(make_maps(2), [make_model("HE", name="this"), make_model("HE", name="that")])


def test_models_that_serve_nothing_are_refused(make_maps: MakeMaps, make_model: MakeModel) -> None:
    other = make_model("HB", era=Era.RUN2_2018)
    with pytest.raises(ModelError, match=r"run 370101 holds HB, HE of Run3, the models given are flat-hb \(HB, 2018\)"):
        judge_run(make_maps(2), [other])
    with pytest.raises(ModelError, match="the models given are none"):
        judge_run(make_maps(2), [])


def test_a_run_without_a_digi_is_no_hcal(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(2)
    maps.counts[:] = 0
    with pytest.raises(NoHcalError, match="no digi of HB or HE"):
        judge_run(maps, both)


def test_few_events_are_judged_in_blocks_and_too_few_not_at_all(make_maps: MakeMaps, both: list[Model]) -> None:
    with pytest.raises(NoHcalError, match="at least 100 events"):
        judge_run(make_maps(2, events=50), both)
    assert judge_run(make_maps(3, events=100), both).verdicts[0].assessed.all()
    maps = make_maps(41, events=50)
    maps.counts[12:24, HEP07] = 0
    verdict = judge_run(maps, both)
    # Four LS of 50 events make a block of 200; the last LS is left over.
    assert verdict.verdicts[1].assessed.tolist() == [True] * 40 + [False]
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((13, 24),), 188)]


def test_lumisections_without_maps_are_not_assessed_and_not_dead(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps([1, 2, 3, 7, 8], events=[1000, 50, 1000, 1000, 1000])
    maps.counts[1] = 0
    maps.counts[3] = 0
    maps.present[3] = False
    verdict = judge_run(maps, both)
    assert lines(verdict) == []
    for one in verdict.verdicts:
        assert one.states[:, 5].tolist() == [3, 2, 3, 2, 3]
        assert one.lumisections.tolist() == [1, 2, 3, 7, 8]


def test_channels_that_the_clean_runs_never_saw_are_not_connected(make_maps: MakeMaps, both: list[Model]) -> None:
    hb, he = both
    live = np.arange(len(HE)) != 17
    he = replace(he, reference=replace(he.reference, live=live))
    maps = make_maps(3)
    maps.counts[:, HE[17]] = 0
    states = judge_run(maps, [hb, he]).verdicts[1].states
    assert (states[:, 17] == State.NOT_CONNECTED).all()
    assert (states[:, live] == State.GOOD).all()


def test_a_dead_box_is_one_finding_and_its_intervals_carry_its_name(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps([1, 2, 3, 4, 8, 9, 10])
    maps.counts[2:6, HEP07] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((3, 9),), 188)]
    he = verdict.verdicts[1]
    assert {(i.first, i.last, i.observed, i.group) for i in he.intervals} == {(3, 9, 0, "HEP07")}
    # By hand: 4 LS of 300 digis each.
    assert [i.expected for i in he.intervals] == pytest.approx([1200.0] * 188, rel=0.01)
    assert he.findings[0].expected == pytest.approx(188 * 1200, rel=0.01)
    assert (he.findings[0].size, he.findings[0].lumisections, he.findings[0].duty) == (0.0, 4, 1.0)
    assert (he.states[:, HEP07 - HE[0]].T == [3, 3, 5, 5, 5, 5, 3]).all()


def test_a_box_that_is_dead_in_the_whole_run_is_dead_and_not_masked(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(12)
    maps.counts[:, HEP07] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((1, 12),), 188)]
    assert (verdict.verdicts[1].states[:, HEP07 - HE[0]] == State.BAD).all()


@pytest.mark.parametrize("first", [1, 4])
def test_a_subdetector_that_dies_while_the_other_sees_collisions_is_dead(
    make_maps: MakeMaps, both: list[Model], first: int
) -> None:
    maps = make_maps(12)
    maps.counts[first - 1 : 6, HE] = 0
    assert lines(judge_run(maps, both)) == [("HE", Kind.DEAD, ((first, 6),), len(HE))]


def test_without_collisions_nothing_is_assessed(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(20)
    maps.counts[3:15] = 0
    verdict = judge_run(maps, both)
    assert lines(verdict) == []
    assert verdict.verdicts[0].assessed.tolist() == [True] * 3 + [False] * 12 + [True] * 5
    assert any(note.startswith("12 lumisections not assessed, hardly a digi") for note in verdict.notes)


def test_another_detector_is_not_judged_and_says_so(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(12)
    rate = np.exp(np.random.default_rng(3).normal(0, 0.2, len(HE)))
    maps.counts[:, HE] = np.rint(1000 * (1 - 0.7**rate)).astype(np.int32)
    verdict = judge_run(maps, both)
    hb, he = verdict.verdicts
    assert (hb.trust, he.trust, verdict.trust) == (Trust.ADAPTED, Trust.NONE, Trust.NONE)
    assert lines(verdict) == []
    assert not he.assessed.any()
    assert (he.states == State.NOT_ASSESSED).all()
    assert "flat-he does not know this detector" in he.trust_reason


def test_a_reference_run_takes_the_place_of_a_model_that_does_not_know_the_detector(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(12)
    rate = np.exp(np.random.default_rng(3).normal(0, 0.2, len(HE)))
    maps.counts[:, HE] = np.rint(1000 * (1 - 0.7**rate)).astype(np.int32)
    maps.counts[4:8, HEP07] = 0
    asked: list[int] = []

    def find(run: LumiMaps) -> Mapping[str, Reference]:
        asked.append(run.run)
        reference = both[1].reference
        return {"HE": replace(reference, level=reference.level + np.log(rate))}

    verdict = judge_run(maps, both, find_reference=find)
    assert [one.trust for one in verdict.verdicts] == [Trust.ADAPTED, Trust.REFERENCE_RUN]
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((5, 8),), 188)]
    assert asked == [370101]


def test_without_a_reference_nothing_is_trusted_and_a_silent_module_is_dead(make_maps: MakeMaps) -> None:
    maps = make_maps(12)
    rate = np.exp(np.random.default_rng(3).normal(0, 0.1, len(CHANNELS)))
    p = 1 - 0.7**rate
    maps.counts[:] = np.random.default_rng(4).binomial(1000, p, maps.counts.shape)
    maps.counts[:, HEP07] = 0
    verdict = judge_run(maps, [], without_reference=True)
    assert [one.trust for one in verdict.verdicts] == [Trust.NONE, Trust.NONE]
    assert all("judged against this run itself" in one.trust_reason for one in verdict.verdicts)
    assert [(unit, kind) for unit, kind, *_ in lines(verdict)] == [("HEP07", Kind.DEAD)]
    assert verdict.verdicts[0].judge.name == "this run itself"


def test_pieces_are_judged_as_the_whole(make_maps: MakeMaps, both: list[Model]) -> None:
    maps = make_maps(24)
    maps.counts[:] = np.random.default_rng(5).binomial(1000, 0.3, maps.counts.shape)
    maps.counts[6:18, HEP07] //= 2
    whole = judge_run(maps, both)
    judge = RunJudge(both)
    for first, last in ((0, 1), (1, 9), (9, 24)):
        judge.add(maps.rows(slice(first, last)))
    pieces = judge.verdict()
    again = RunJudge(both)
    again.restore(judge.state())
    for verdict in (pieces, again.verdict()):
        for one, other in zip(verdict.verdicts, whole.verdicts, strict=True):
            assert (one.findings, one.intervals, one.trust) == (other.findings, other.intervals, other.trust)
            assert np.array_equal(one.states, other.states)
            assert np.array_equal(one.score, other.score)
            assert np.array_equal(one.expected, other.expected)


def test_a_late_lumisection_has_the_others_fitted_no_more(
    make_maps: MakeMaps, both: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = make_maps(40)
    maps.counts[:] = np.random.default_rng(6).binomial(1000, 0.3, maps.counts.shape)
    maps.counts[6:18, HEP07] //= 2
    maps.events[[20, 21, 22]] = 80  # judged together: a late one changes who goes with whom
    maps.counts[20:23] //= 13
    early = np.delete(np.arange(40), [9, 21])
    before = RunJudge(both)
    before.add(_rows(maps, early))
    maps.counts[30, HB] += 1
    fitted: list[int] = []
    fit = CommonPartFit.fit

    def counting(self: CommonPartFit, counts: Any, *rest: Any) -> CommonLevels:
        fitted.append(len(counts))
        return fit(self, counts, *rest)

    monkeypatch.setattr(CommonPartFit, "fit", counting)
    judge = RunJudge(both).after(before)
    judge.add(maps)
    assert sum(fitted) == 3  # LS 10, the three with few events as one, and LS 31, which came again
    for one, other in zip(judge.verdict().verdicts, judge_run(maps, both).verdicts, strict=True):
        assert (one.findings, one.intervals, one.trust) == (other.findings, other.intervals, other.trust)
        assert np.array_equal(one.states, other.states)
        assert np.array_equal(one.score, other.score)
        assert np.array_equal(one.expected, other.expected)


def test_pieces_must_follow_each_other(make_maps: MakeMaps, both: list[Model]) -> None:
    judge = RunJudge(both)
    with pytest.raises(NoHcalError, match="no lumisection was given"):
        judge.verdict()
    judge.add(make_maps([3, 4]))
    with pytest.raises(InputError, match="expected lumisections after LS 4, found LS 4"):
        judge.add(make_maps([4, 5]))
    assert len(judge) == 2


def test_files_in_any_order_are_judged_the_same(tmp_path: Path, both: list[Model]) -> None:
    simulated = simulate_run(simulate_detector(5), simulate_conditions(8, seed=1), seed=1, run=370001)
    (path,) = write_dials(simulated, tmp_path)
    table = pq.read_table(path)
    order = np.random.default_rng(3).permutation(len(table))
    half = len(order) // 2
    for name, rows in (("a", order[half:]), ("b", order[:half])):
        pq.write_table(table.take(rows), tmp_path / f"{name}.parquet")
    sorted_run, shuffled_run = (
        judge_run(read_lumi_maps(paths)[0], both, without_reference=True).verdicts[0]
        for paths in ([path], [tmp_path / "a.parquet", tmp_path / "b.parquet"])
    )
    assert sorted_run.findings == shuffled_run.findings
    assert np.array_equal(sorted_run.score, shuffled_run.score)
    assert np.array_equal(sorted_run.states, shuffled_run.states)


def test_a_subdetector_whose_maps_did_not_come_is_not_assessed_and_not_dead(
    make_maps: MakeMaps, both: list[Model]
) -> None:
    maps = make_maps(12)
    maps.counts[4:8, HE] = 0
    maps.counts[8:, HEP07] = 0
    lacking = np.isin(np.arange(12), (4, 5, 6, 7))
    verdict = judge_run(replace(maps, missing={"HE": lacking}), both)
    assert lines(verdict) == [("HEP07", Kind.DEAD, ((9, 12),), 188)]
    hb, he = verdict.verdicts
    assert hb.assessed.all()
    assert he.assessed.tolist() == (~lacking).tolist()
    assert (he.states[lacking] == State.NOT_ASSESSED).all()
