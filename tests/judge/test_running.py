"""A run judged as it grows: the verdict does not depend on how its lumisections came, nor on restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import BundleError, InputError, NoHcalError, UsageError
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.running import RunJudge
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.learn.bundle import Bundle, load_bundle
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps, Source
from hcal_root_ad.simulate.conditions import simulate_conditions
from hcal_root_ad.simulate.detector import simulate_detector
from hcal_root_ad.simulate.faults import make_fault
from hcal_root_ad.simulate.run import simulate_run

MakeBundle = Callable[..., Bundle]
MakeMaps = Callable[..., LumiMaps]
CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")
EXACT = 1e-6
"""Network and statistics do not know how many lumisections came with theirs; what remains is rounding in float32."""


def part(maps: LumiMaps, rows: slice) -> LumiMaps:
    names = ("lumisections", "events", "event_source", "counts", "present")
    return replace(maps, **{name: getattr(maps, name)[rows] for name in names})


def pieces(maps: LumiMaps, size: int) -> Iterator[LumiMaps]:
    yield from (part(maps, slice(first, first + size)) for first in range(0, len(maps), size))


def grown(maps: Sequence[LumiMaps], bundles: Sequence[Bundle]) -> RunVerdict:
    judge = RunJudge(bundles)
    for one in maps:
        judge.add(one)
    return judge.verdict()


def check_same(found: RunVerdict, wanted: RunVerdict) -> None:
    """Every field of every verdict: flags exactly, floats to rounding."""
    assert found.notes == wanted.notes
    assert found.maps.notes == wanted.maps.notes
    assert np.array_equal(found.maps.counts, wanted.maps.counts)
    for one, other in zip(found.verdicts, wanted.verdicts, strict=True):
        for field in fields(one):
            value, expected = getattr(one, field.name), getattr(other, field.name)
            if field.name in ("expected", "score"):
                assert np.allclose(value, expected, rtol=EXACT, atol=EXACT), field.name
            elif field.name in ("intervals", "groups"):
                assert [_exact(line) for line in value] == [_exact(line) for line in expected]
                assert [line.score for line in value] == pytest.approx([line.score for line in expected], rel=EXACT)
            elif field.name == "forecasts":
                assert [replace(line, now=0, loss=0) for line in value] == [
                    replace(line, now=0, loss=0) for line in expected
                ]
            elif isinstance(value, np.ndarray):
                assert np.array_equal(value, expected), field.name
            elif field.name != "channels":
                assert value == expected, field.name


def _exact(line: object) -> object:
    return replace(line, score=0.0, expected=0.0)  # type: ignore[type-var]


@pytest.fixture(scope="module")
def shipped() -> list[Bundle]:
    return [load_bundle("hb-graphstad-from-he"), load_bundle("he-graphstad")]


@pytest.fixture(scope="module")
def simulated() -> LumiMaps:
    """A run of the detector that the shipped bundles know, with faults, gaps and lumisections that say nothing."""
    detector = simulate_detector(2022)
    faults = [
        make_fault(detector, "dead", "HEP04", 9, 30, 0.0),
        make_fault(detector, "degraded", "HBM15-RM2", 20, 70, 0.7),
        make_fault(detector, "ageing", "HBP03-RM1", 5, 70, 0.6),
    ]
    maps = simulate_run(detector, simulate_conditions(70, seed=3), faults, seed=3).maps
    keep = np.flatnonzero(~np.isin(maps.lumisections, [12, 13, 40]))
    maps.events[50] = 7
    maps.present[[17, 18]] = False
    names = ("lumisections", "events", "event_source", "counts", "present")
    return replace(maps, **{name: getattr(maps, name)[keep] for name in names}, sources=(Source("a.root", 7, "ff"),))


@pytest.fixture(scope="module")
def whole(simulated: LumiMaps, shipped: list[Bundle]) -> RunVerdict:
    return judge_run(simulated, shipped)


def test_the_simulated_run_has_all_that_could_go_wrong(whole: RunVerdict) -> None:
    assert {group.unit for one in whole.verdicts for group in one.groups} >= {"HEP04", "HBM15-RM2", "HBP03-RM1"}
    assert any(one.forecasts for one in whole.verdicts)
    assert not all(one.assessed.all() for one in whole.verdicts)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_verdict_does_not_depend_on_how_the_lumisections_came(
    simulated: LumiMaps, shipped: list[Bundle], whole: RunVerdict, size: int
) -> None:
    check_same(grown(list(pieces(simulated, size)), shipped), whole)


def test_every_verdict_on_the_way_is_that_of_the_run_so_far(simulated: LumiMaps, shipped: list[Bundle]) -> None:
    judge = RunJudge(shipped)
    kept = []
    for one in pieces(simulated, 16):
        judge.add(one)
        kept.append((judge.verdict(), judge_run(part(simulated, slice(0, len(judge))), shipped)))
    for found, wanted in kept:  # later lumisections leave earlier verdicts alone
        check_same(found, wanted)


def test_a_restart_in_the_middle_changes_nothing(
    simulated: LumiMaps, shipped: list[Bundle], whole: RunVerdict, tmp_path: Path
) -> None:
    first = RunJudge(shipped)
    saved: list[Path] = []
    for one in pieces(part(simulated, slice(0, 40)), 10):
        since = len(first)
        first.add(one)
        saved.append(tmp_path / f"{since}.npz")
        np.savez(saved[-1], **first.state(since))
    second = RunJudge(shipped)
    for path in saved:
        with np.load(path) as arrays:  # no pickle
            second.restore(arrays)
    assert len(second) == 40
    second.add(part(simulated, slice(40, None)))
    check_same(second.verdict(), whole)
    assert second.verdict().maps.sources == simulated.sources


def test_the_whole_state_at_once(simulated: LumiMaps, shipped: list[Bundle]) -> None:
    first, second = RunJudge(shipped), RunJudge(shipped)
    assert first.state() == {}
    second.restore(first.state())
    first.add(part(simulated, slice(0, 9)))
    second.restore(first.state())
    check_same(second.verdict(), first.verdict())


@pytest.mark.parametrize("size", [1, 3])
def test_a_reference_that_ceases_to_fit(make_maps: MakeMaps, make_bundle: MakeBundle, size: int) -> None:
    # Half of the channels are twice as bright in all but the first LS; alone, that one fits.
    maps, bundle = make_maps(9), make_bundle("HE")
    maps.counts[1:, HE[::2]] = 510
    bundle = replace(bundle, model_error=np.full(len(bundle.channels), 0.01))
    judge = RunJudge([bundle])
    judge.add(part(maps, slice(0, 1)))
    assert judge.verdict().every_note == ("no bundle for HB: its channels were not judged",)
    for one in pieces(part(maps, slice(1, None)), size):
        judge.add(one)
    assert "does not know this detector" in "".join(judge.verdict().every_note)
    check_same(judge.verdict(), judge_run(maps, [bundle]))


def test_another_era_is_held_against_itself_as_it_grows(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    maps, bundle = make_maps(7), make_bundle("HE", era=Era.RUN2_2017)
    check_same(grown(list(pieces(maps, 2)), [bundle]), judge_run(maps, [bundle]))


def test_a_subdetector_that_wakes_late(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    maps, both = make_maps(8), [make_bundle("HB"), make_bundle("HE")]
    maps.counts[:3, HE] = 0
    check_same(grown(list(pieces(maps, 1)), both), judge_run(maps, both))


def test_a_subdetector_that_dies_while_the_other_sees_collisions(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    maps, both = make_maps(8), [make_bundle("HB"), make_bundle("HE")]
    maps.counts[4:6, HE] = 0
    found = grown(list(pieces(maps, 1)), both)
    assert [group.unit for one in found.verdicts for group in one.groups] == ["HE"]
    check_same(found, judge_run(maps, both))


def test_before_anything_can_be_judged_there_is_no_verdict(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    judge = RunJudge([make_bundle("HE")])
    with pytest.raises(NoHcalError, match="no lumisection was given"):
        judge.verdict()
    maps = make_maps(4, events=[50, 50, 1000, 1000])
    judge.add(part(maps, slice(0, 2)))
    with pytest.raises(NoHcalError, match="at least 100 events"):
        judge.verdict()
    judge.add(part(maps, slice(2, 4)))
    check_same(judge.verdict(), judge_run(maps, [make_bundle("HE")]))


def test_two_bundles_for_one_subdetector_are_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="are both for HE"):
        RunJudge([make_bundle("HE"), make_bundle("HE")])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"run": 370102}, "expected more of run 370101, found run 370102"),
        ({"channels": channel_table(Era.RUN2_2018).select("HB", "HE")}, "different channels"),
        ({"coarse": CoarseMaps(None, None)}, "cannot be judged in pieces"),
        ({}, "expected lumisections after LS 3, found LS 1"),
    ],
)
def test_what_does_not_go_on_is_refused(
    make_maps: MakeMaps, make_bundle: MakeBundle, change: dict[str, object], complaint: str
) -> None:
    judge = RunJudge([make_bundle("HE")])
    judge.add(make_maps(3))
    with pytest.raises(InputError, match=complaint):
        judge.add(replace(make_maps(3), **change))  # type: ignore[arg-type]
    assert len(judge) == 3


def test_where_ho_is_missing_is_remembered(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    """In pieces, and over a restart; a piece that lacks nothing need not say so."""
    maps = make_maps(5)
    lacking = replace(maps.rows(slice(2, 4)), missing={"HO": np.array([True, False])})
    judge, again = RunJudge([make_bundle("HE")]), RunJudge([make_bundle("HE")])
    for one in (maps.rows(slice(0, 2)), lacking, maps.rows(slice(4, 5))):
        judge.add(one)
    again.restore(judge.state())
    for one in (judge, again):
        assert one.verdict().maps.missing["HO"].tolist() == [False, False, True, False, False]


def test_strips_and_totals_have_no_state(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    judge = RunJudge([make_bundle("HE")])
    judge.add(make_maps(3, coarse=CoarseMaps(None, None)))
    with pytest.raises(UsageError, match="come as a whole"):
        judge.state()


def test_the_maps_given_are_never_changed(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    first, second = make_maps([1, 2]), make_maps([3, 4])
    before = first.counts.copy()
    judge = RunJudge([make_bundle("HE")])
    judge.add(first)
    judge.add(second)
    judge.add(make_maps([5]))
    assert np.array_equal(first.counts, before)
    assert len(judge.verdict().maps) == 5
