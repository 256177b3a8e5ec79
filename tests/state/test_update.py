"""What a run teaches a state, and what it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.verdict import Level, Trust
from hcal_root_ad.model.reference import Limits
from hcal_root_ad.state.detector_state import LARGEST_LIMITS, LIMITS, AcceptedChange, DetectorState
from hcal_root_ad.state.guards import CLOSED_AFTER, Guards, accept, close, creeping
from hcal_root_ad.state.layers import LEVEL
from hcal_root_ad.state.update import ALL_MOVED, advance
from tests.state.conftest import MakeVerdict, line_of_box, line_of_channel

LOSS = float(np.log(0.9))


def level(state: DetectorState, row: int) -> float:
    return float(state.reference("HE").level[row])


def test_a_shift_is_learned_and_what_was_learned_is_recorded(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    after, record = advance(state, make_verdict(state, 370001, channel={row: 0.02}))
    assert level(state, row) < level(after, row) < level(state, row) + 0.02
    assert record.lumisections == {"HE": 4}
    assert record.learned["HE channel"] == int(state.subdetectors["HE"].live.sum())
    assert "HE: learned from 4 LS" in record.sentences
    assert after.lessons[-1].run == 370001


def test_a_box_takes_its_channels_along(state: DetectorState, make_verdict: MakeVerdict) -> None:
    after, _ = advance(state, make_verdict(state, 370001, box={3: 0.02}))
    moved = after.reference("HE").level - state.reference("HE").level
    inside = state.subdetectors["HE"].of("box") == 3
    assert (moved[inside] > 0.005).all()
    assert np.allclose(moved[~inside], 0)


@pytest.mark.parametrize("trust", [Trust.NONE, Trust.OTHER_PERIOD])
def test_a_verdict_that_is_not_trusted_teaches_nothing(
    state: DetectorState, row: int, make_verdict: MakeVerdict, trust: Trust
) -> None:
    after, record = advance(state, make_verdict(state, 370001, channel={row: 0.02}, trust=trust))
    assert after is state
    assert "rests on" in record.refused["HE"]


def test_a_run_without_field_teaches_nothing(state: DetectorState, make_verdict: MakeVerdict) -> None:
    state = replace(state, conditions=RunFacts(field=3.8))
    after, record = advance(state, make_verdict(state, 370001), conditions=RunFacts(field=0.0))
    assert after is state
    assert record.refused == {"HE": "the state is of 3.8 T, the run of 0 T"}


def test_a_channel_at_nine_tenths_is_never_learned(state: DetectorState, row: int, make_verdict: MakeVerdict) -> None:
    before, error = level(state, row), state.reference("HE").level_error[row]
    for run in range(370001, 370013):
        line = line_of_channel(state, row)
        state, _ = advance(state, make_verdict(state, run, lines=(line,), channel={row: LOSS}))
    assert level(state, row) == before
    assert state.reference("HE").level_error[row] == pytest.approx(error)
    (finding,) = state.findings
    assert (finding.first_run, finding.last_run, finding.runs) == (370001, 370012, 12)


def test_it_is_still_open_in_a_run_whose_judge_does_not_name_it(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    state, _ = advance(state, make_verdict(state, 370001, lines=(line_of_channel(state, row),), channel={row: LOSS}))
    state, record = advance(state, make_verdict(state, 370002, channel={row: LOSS}))
    assert [finding.unit for finding in record.still] == [state.subdetectors["HE"].channels.name_of(row)]


def test_two_runs_below_half_close_it_and_one_does_not(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    state, record = advance(
        state, make_verdict(state, 370001, lines=(line_of_channel(state, row),), channel={row: LOSS})
    )
    assert len(record.opened) == 1
    for run, shift, below in ((370002, 0.4 * LOSS, 1), (370003, 0.6 * LOSS, 0), (370004, 0.0, 1)):
        state, record = advance(state, make_verdict(state, run, channel={row: shift}))
        assert [finding.below for finding in state.findings] == [below]
        assert record.closed == ()
    state, record = advance(state, make_verdict(state, 370005))
    assert CLOSED_AFTER == 2
    assert state.findings == ()
    assert len(record.closed) == 1


def test_a_line_that_ends_before_the_run_does_opens_nothing_but_teaches_nothing_either(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    line = line_of_channel(state, row, last=1)
    after, record = advance(state, make_verdict(state, 370001, lines=(line,), channel={row: LOSS}))
    assert record.opened == ()
    assert level(after, row) == level(state, row)


def test_a_box_at_fault_freezes_its_modules_and_channels(state: DetectorState, make_verdict: MakeVerdict) -> None:
    after, _ = advance(state, make_verdict(state, 370001, lines=(line_of_box(state, 7),), box={7: LOSS}))
    frozen, part = after.frozen("HE"), state.subdetectors["HE"]
    assert np.flatnonzero(frozen["box"]).tolist() == [7]
    assert set(part.tree.box_of_module[frozen["module"]]) == {7}
    assert set(part.of("box")[frozen["channel"]]) == {7}
    assert not frozen["ring"].any()


def test_a_person_is_asked_when_a_finding_has_lasted_twice_as_long(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    asked = []
    for run in range(370001, 370010):
        line = line_of_channel(state, row)
        state, record = advance(state, make_verdict(state, run, lines=(line,), channel={row: LOSS}))
        asked += [run] * len(record.asked)
    assert asked == [370002, 370004, 370008]


def test_an_accepted_change_becomes_what_is_expected(state: DetectorState, row: int, make_verdict: MakeVerdict) -> None:
    before = level(state, row)
    state, _ = advance(state, make_verdict(state, 370001, lines=(line_of_channel(state, row),), channel={row: LOSS}))
    accepted = accept(state, "370001-1")
    assert accepted.findings == ()
    assert level(accepted, row) == pytest.approx(before + LOSS)
    closed = close(state, "370001-1")
    assert closed.findings == ()
    assert level(closed, row) == before
    with pytest.raises(UsageError, match="370001-1"):
        accept(closed, "370001-1")


def test_what_is_far_off_without_a_line_is_not_learned_twice_running(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    before, levels = level(state, row), []
    for run in range(370001, 370004):
        state, _ = advance(state, make_verdict(state, run, channel={row: -0.09}))
        levels.append(level(state, row))
    assert levels[:2] == [before, before]
    assert levels[2] < before - 0.02


def test_a_channel_that_creeps_is_named_and_set_back(state: DetectorState, row: int, make_verdict: MakeVerdict) -> None:
    rng = np.random.default_rng(1)
    live = np.flatnonzero(state.subdetectors["HE"].live)
    for run in range(370001, 370007):  # learn how little healthy channels move
        shifts = dict(zip(live.tolist(), (0.004 * rng.standard_normal(len(live))).tolist(), strict=True))
        state, _ = advance(state, make_verdict(state, run, channel=shifts))
    start, true, named = level(state, row), level(state, row), None
    for run in range(370007, 370027):
        true -= 0.015
        state, record = advance(state, make_verdict(state, run, channel={row: true - level(state, row)}))
        if record.crept:
            (named,) = record.crept
            break
    assert named is not None
    assert named.kind == "creeping"
    assert named.unit == state.subdetectors["HE"].channels.name_of(row)
    assert true - start > -0.25
    assert abs(level(state, row) - start) < 0.05  # the level of six runs ago
    assert [finding.identifier for finding in state.findings] == [named.identifier]


def test_what_crept_does_not_pass_for_restless(state: DetectorState, row: int) -> None:
    layer = state.subdetectors["HE"].layers["channel"]
    mean, restless = layer.mean.copy(), layer.restless.copy()
    mean[row, LEVEL] -= 0.2  # in eight runs, of a walk of 0.4 % per run: 0.2 / (0.004 √(8 · 2)) = 12
    restless[row] = (-20.0, -20.0, 0.0)  # by now it seems to walk √15 times as far: 0.2 / (0.004 √(8 · 15)) = 4.6
    walk = np.full_like(layer.walk, 0.004**2)
    moved = replace(layer, mean=mean, restless=restless, walk=walk, clock=layer.clock + 8 * walk)
    everywhere = np.ones(len(layer), dtype=bool)
    assert creeping(moved, "channel", 8, everywhere).units.tolist() == [row]
    multiplier = layer.past.multiplier.copy()
    multiplier[:, row] = 15.0  # it was known to be restless before
    known = replace(moved, past=replace(layer.past, multiplier=multiplier))
    assert not len(creeping(known, "channel", 8, everywhere).units)
    mean[row, LEVEL] += 0.34  # a gain of 0.14 is learned
    assert not len(creeping(replace(moved, mean=mean), "channel", 8, everywhere).units)


def test_without_the_creep_test_it_is_followed_all_the_way(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    true = level(state, row)
    for run in range(370001, 370021):
        true -= 0.015
        verdict = make_verdict(state, run, channel={row: true - level(state, row)})
        state, record = advance(state, verdict, guards=Guards(creep=False))
        assert record.crept == ()
    assert abs(level(state, row) - true) < 0.15


def test_a_change_of_settings_is_recognised_in_its_run(state: DetectorState, make_verdict: MakeVerdict) -> None:
    rng = np.random.default_rng(2)
    live = np.flatnonzero(state.subdetectors["HE"].live)

    def drawn(width: float) -> dict[int, float]:
        return dict(zip(live.tolist(), (width * rng.standard_normal(len(live))).tolist(), strict=True))

    for run in range(370001, 370005):
        state, record = advance(state, make_verdict(state, run, channel=drawn(0.005)))
        assert not record.settings
    state, record = advance(state, make_verdict(state, 370005, channel=drawn(0.03)))
    assert np.sqrt(record.settings["HE channel 0"]) == pytest.approx(0.03, rel=0.2)
    assert any("settings changed" in sentence for sentence in record.sentences)


def test_settings_that_change_in_every_run_are_how_far_channels_walk(
    state: DetectorState, make_verdict: MakeVerdict
) -> None:
    rng = np.random.default_rng(5)
    live = np.flatnonzero(state.subdetectors["HE"].live)
    for run in range(370001, 370009):
        drawn = 0.03 * rng.standard_normal(len(live))
        state, record = advance(
            state, make_verdict(state, run, channel=dict(zip(live.tolist(), drawn.tolist(), strict=True)))
        )
    walk, noise = record.widths["HE channel 0"]
    assert np.hypot(walk, noise) > 0.015
    assert not record.settings


def test_rings_of_a_run_in_which_a_sub_detector_failed_tell_nothing_of_their_widths(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    rings = dict.fromkeys(range(len(state.subdetectors["HE"].layers["ring"])), -0.05)
    whole = replace(line_of_channel(state, row), level=Level.SUBDETECTOR, unit="HE")
    for lines, finite in (((), True), ((whole,), False)):
        after, _ = advance(state, make_verdict(state, 370001, lines=lines, ring=rings))
        assert np.isfinite(after.subdetectors["HE"].layers["ring"].window.position).any() == finite


def test_when_all_boxes_moved_their_sides_may_have_and_lines_of_those_that_moved_no_farther_are_none(
    state: DetectorState, make_verdict: MakeVerdict
) -> None:
    for run in range(370001, 370005):
        state, _ = advance(state, make_verdict(state, run))
    rng = np.random.default_rng(3)
    boxes = dict(enumerate((0.05 * rng.standard_normal(36)).tolist()))
    boxes[7], boxes[8] = -0.09, -0.5
    lines = (line_of_box(state, 7, 0.92), line_of_box(state, 8, 0.6))
    after, record = advance(state, make_verdict(state, 370005, lines=lines, box=boxes, half={0: 0.02, 1: -0.02}))
    assert [finding.unit for finding in record.opened] == [lines[1].unit]
    assert after.subdetectors["HE"].layers["box"].mean[7, 0] < -0.07
    assert after.subdetectors["HE"].layers["box"].mean[8, 0] == 0
    # The box that is at fault holds its own side back, and with it the other one.
    assert record.learned["HE half"] == 2


def test_a_unit_that_is_often_far_off_walks_farther_than_the_others(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    for k, run in enumerate(range(370001, 370013)):
        state, _ = advance(state, make_verdict(state, run, channel={row: 0.03 if k % 2 else -0.03}))
    multiplier = state.subdetectors["HE"].layers["channel"].multiplier
    assert multiplier[row] > 2
    assert np.delete(multiplier, row).max() == pytest.approx(1)


def test_what_people_accept_as_health_is_no_fault_any_more(state: DetectorState) -> None:
    def accepted(*sizes: float) -> Limits:
        changes = tuple(AcceptedChange("channel", size, 30) for size in sizes)
        return replace(state, update=30, accepted=changes).reference("HE").limits

    assert accepted().channel == LIMITS["channel"]
    assert accepted(-0.07).channel == LIMITS["channel"]  # one in twenty runs may happen, and one more, as far as known
    assert accepted(-0.07, 0.055, 0.06).channel == 0.06
    assert accepted(-0.3, 0.2, 0.1, -0.09).channel == LARGEST_LIMITS["channel"]
    old = replace(state, update=60, accepted=(AcceptedChange("channel", 0.07, 30),) * 9)
    assert old.reference("HE").limits.channel == LIMITS["channel"]


def test_a_young_state_does_not_know_yet_what_is_small(state: DetectorState) -> None:
    young = {update: replace(state, update=update).reference("HE").limits for update in (0, 9, 10)}
    assert young[0] == young[9]
    assert young[9].channel == Limits().channel
    assert young[10].channel == LIMITS["channel"]


def test_a_gain_must_be_larger_than_a_loss_and_larger_still_if_it_came_before_the_run(state: DetectorState) -> None:
    limits = replace(state, update=10).reference("HE").limits
    assert limits.is_fault("channel", -0.07, share=1.0)
    assert not limits.is_fault("channel", 0.07, share=0.5)
    assert limits.is_fault("channel", 0.13, share=0.5)
    assert not limits.is_fault("channel", 0.13, share=1.0)
    assert limits.is_fault("channel", 0.21, share=1.0)
    assert limits.is_fault("module", -0.03, share=1.0)
    assert limits.is_fault("module", 0.03, share=0.5)
    assert not limits.is_fault("module", 0.03, share=1.0)
    assert limits.is_fault("box", 0.07, share=1.0)
    plain = Limits()  # by a model of clean runs
    assert plain.is_fault("channel", 0.09, share=1.0)
    assert plain.is_fault("module", 0.04, share=1.0)
    assert plain.is_fault("half", 0.04, share=1.0)


def test_channels_that_scatter_beyond_what_is_known_teach_only_with_a_persons_word(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    verdict = make_verdict(state, 370001, channel={row: 0.02}, trust=Trust.OTHER_PERIOD)
    (judged,) = verdict.verdicts
    verdict = replace(verdict, verdicts=(replace(judged, sensitivity=2.5),))
    after, record = advance(state, verdict)
    assert after is state
    assert all(why.startswith(ALL_MOVED) for why in record.refused.values())
    assert "--reason" in record.refused["HE"]
    after, record = advance(state, verdict, confirmed=True)
    assert level(after, row) > level(state, row)
    # An old state knows channels badly, and expects them to scatter.
    _, record = advance(state, verdict, conditions=RunFacts(missed=60))
    assert not record.refused


def test_a_channel_that_appears_gets_its_level_from_its_first_run(
    state: DetectorState, row: int, make_verdict: MakeVerdict
) -> None:
    part = state.subdetectors["HE"]
    live = part.live.copy()
    live[row] = False
    state = replace(state, subdetectors={"HE": replace(part, live=live)})
    verdict = make_verdict(state, 370001)
    measured = verdict.verdicts[0].measured
    assert measured is not None
    digis = measured.digis.copy()
    digis[row] = 25_000  # of 100,000 events: a log rate of log(−log(0.75))
    verdict = replace(verdict, verdicts=(replace(verdict.verdicts[0], measured=replace(measured, digis=digis)),))
    after, record = advance(state, verdict)
    assert record.appeared == (part.channels.name_of(row),)
    reference = after.reference("HE")
    assert reference.live[row]
    assert reference.level[row] == pytest.approx(np.log(-np.log(0.75)), abs=1e-9)


def test_a_menu_shifts_rings_only_where_it_is_known(state: DetectorState, make_verdict: MakeVerdict) -> None:
    rings = len(state.subdetectors["HE"].layers["ring"])
    other = dict.fromkeys(range(rings), 0.05)
    for k, (menu, shift) in enumerate([("A", {}), ("A", {}), ("B", other), ("B", other), ("A", {}), ("B", other)]):
        conditions = RunFacts(menu=menu, luminosity=10.0 + k)
        level_of = state.reference("HE", conditions).level - state.reference("HE").level
        shifts = {
            ring: x - float(level_of[state.subdetectors["HE"].of("ring") == ring][0]) for ring, x in shift.items()
        }
        verdict = make_verdict(state, 370001 + k, ring=shifts)
        state, _ = advance(state, verdict, conditions=conditions)
    a, b = (state.reference("HE", RunFacts(menu=menu, luminosity=15.0)) for menu in "AB")
    assert (b.level - a.level)[state.subdetectors["HE"].live].mean() == pytest.approx(0.05, abs=0.01)
    assert b.limits.ring == 0.05
    assert b.limits.subdetector == 0.02
    assert state.reference("HE", RunFacts(menu="C", luminosity=15.0)).limits.ring == 0.12


def test_the_order_of_alike_channels_does_not_matter(state: DetectorState, make_verdict: MakeVerdict) -> None:
    part = state.subdetectors["HE"]
    first, second = np.flatnonzero(part.live & (part.of("ring") == part.of("ring")[np.flatnonzero(part.live)[50]]))[:2]
    one, _ = advance(state, make_verdict(state, 370001, channel={int(first): 0.02, int(second): -0.01}))
    two, _ = advance(state, make_verdict(state, 370001, channel={int(first): -0.01, int(second): 0.02}))
    assert level(one, first) == level(two, second)
    assert level(one, second) == level(two, first)


def test_a_sub_detector_at_fault_teaches_nothing_and_is_frozen(state: DetectorState, make_verdict: MakeVerdict) -> None:
    part = state.subdetectors["HE"]
    rows = tuple(np.flatnonzero(part.live).tolist())
    line = replace(line_of_channel(state, rows[0]), level=Level.SUBDETECTOR, unit="HE", rows=rows)
    rings = dict.fromkeys(range(len(part.layers["ring"])), LOSS)
    after, record = advance(state, make_verdict(state, 370001, lines=(line,), ring=rings))
    assert record.learned["HE ring"] == record.learned["HE channel"] == 0
    assert all(
        mask[np.bincount(part.of(level), part.live, len(mask)) > 0].all() for level, mask in after.frozen("HE").items()
    )
    verdict = make_verdict(after, 370002, lines=(line,))
    verdict = replace(verdict, verdicts=(replace(verdict.verdicts[0], measured=None),))
    again, record = advance(after, verdict)
    assert again is after
    assert record.refused == {"HE": "it is at fault as a whole"}


def test_while_one_side_is_at_fault_the_other_learns_nothing_as_a_whole(
    state: DetectorState, make_verdict: MakeVerdict
) -> None:
    part = state.subdetectors["HE"]
    rows = tuple(np.flatnonzero((part.of("half") == 0) & part.live).tolist())
    line = replace(line_of_channel(state, rows[0]), level=Level.HALF, unit=part.units("half").names[0], rows=rows)
    after, record = advance(state, make_verdict(state, 370001, lines=(line,), half={0: LOSS, 1: -LOSS / 2}))
    assert record.learned["HE half"] == 0
    assert np.array_equal(after.subdetectors["HE"].layers["half"].mean, part.layers["half"].mean)
    assert record.learned["HE box"] == 18
