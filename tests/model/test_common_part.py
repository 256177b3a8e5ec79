from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hcal_root_ad.model.common_part import CommonLevels, CommonPartFit
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.model.reference_fit import CleanLumisections

HB, HE = 0, 1


@pytest.fixture(scope="module")
def fit(reference: Reference) -> CommonPartFit:
    return CommonPartFit(reference)


def thinned(judged: CleanLumisections, columns: NDArray[np.bool_], keep: float) -> NDArray[np.int32]:
    """Counts of which some channels keep a share."""
    counts = judged.counts.copy()
    counts[:, columns] = np.random.default_rng(3).binomial(counts[:, columns], keep)
    return counts


def test_the_pileup_is_that_of_the_run(fit: CommonPartFit, judged: CleanLumisections, clean, take_run) -> None:
    levels = fit.fit(judged.counts, judged.events)
    from tests.model.conftest import clean_lumisections

    double = clean_lumisections(take_run(3, 90.0, 90.0, seed=4).maps)
    rise = fit.fit(double.counts, double.events).log_pileup.mean() - levels.log_pileup.mean()
    hb = np.array(judged.channels.names) == "HB"
    power = clean.detector.power[clean.maps.channels.rows_of("HB", "HE")][hb & fit.reference.live].mean()
    assert rise == pytest.approx(np.log(2) * power, rel=0.08)
    assert np.abs(levels.subdetector).max() < 0.02


def test_half_of_the_digis_of_he_lost_is_no_pileup(fit: CommonPartFit, judged: CleanLumisections) -> None:
    sound = fit.fit(judged.counts, judged.events)
    he = np.array(judged.channels.names) == "HE"
    levels = fit.fit(thinned(judged, he, 0.5), judged.events)
    assert levels.log_pileup == pytest.approx(sound.log_pileup, abs=0.02)
    assert (levels.subdetector[:, HE] < -0.6).all()
    assert np.abs(levels.subdetector[:, HB]).max() < 0.02


def test_half_of_the_boxes_of_he_lost_do_not_make_the_others_hot(fit: CommonPartFit, judged: CleanLumisections) -> None:
    failed = (np.array(judged.channels.names) == "HE") & (judged.channels.rbx % 2 == 0)
    levels = fit.fit(thinned(judged, failed, 0.6), judged.events)
    tree = fit.tree
    lost = np.unique(tree.box.of[failed[fit.reference.live]])
    assert not levels.sound[:, lost].any()
    others = np.setdiff1d(np.flatnonzero(tree.subdetector_of_box == HE), lost)
    assert levels.sound[:, others].all()
    modules = np.isin(tree.box_of_module, lost)
    assert np.exp(levels.module[:, modules]).mean() == pytest.approx(0.6, abs=0.02)


def test_a_dead_box_is_dark_and_nothing_else_moves(fit: CommonPartFit, judged: CleanLumisections) -> None:
    dead = (np.array(judged.channels.names) == "HE") & (judged.channels.ieta > 0) & (judged.channels.rbx == 7)
    levels = fit.fit(thinned(judged, dead, 0.0), judged.events)
    dark = np.array([name.startswith("HEP07") for name in fit.tree.module.names])
    assert (levels.module[:, dark] < np.log(0.02)).all()
    assert np.abs(levels.module[:, ~dark]).max() < 0.15
    assert np.abs(levels.ring).max() < 0.05


def test_pileup_from_elsewhere_decides_what_counts_cannot(fit: CommonPartFit, judged: CleanLumisections) -> None:
    sound = fit.fit(judged.counts, judged.events)
    everything = np.ones(len(judged.channels), dtype=bool)
    counts = thinned(judged, everything, 0.6)
    outside = np.full(len(counts), float(sound.log_pileup.mean()))
    levels = fit.fit(counts, judged.events, outside)
    assert levels.log_pileup == pytest.approx(outside, abs=1e-6)
    assert (levels.subdetector < -0.3).all()


def with_faults(judged: CleanLumisections) -> NDArray[np.int32]:
    """Few digis that take every way of the fit: in some LS a lost half, rings of a side, or dead modules."""
    table, counts = judged.channels, np.random.default_rng(4).binomial(judged.counts, 0.1).astype(np.int32)
    he, plus = np.array(table.names) == "HE", table.ieta > 0
    for rows, some, keep in (
        (slice(2, 4), ~he & ~plus, 0.85), (slice(3, 6), ~he & (table.ieta == 9), 0.6), (slice(5, 7), he & plus, 0.0),
        (slice(7, 9), he & (table.ieta <= -25), 0.6), (slice(8, 10), he & (table.box % 3 == 0), 0.0),
    ):  # fmt: skip
        counts[rows, some] = np.random.default_rng(3).binomial(counts[rows, some], keep)
    return counts


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("chunk", [1, 5, 7])
def test_pieces_give_the_same_to_the_byte(
    fit: CommonPartFit, judged: CleanLumisections, chunk: int, faults: bool
) -> None:
    counts, events = (with_faults(judged), judged.events // 10) if faults else (judged.counts, judged.events)
    whole = fit.fit(counts, events)
    for first in range(0, len(judged.events), chunk):
        rows = slice(first, first + chunk)
        piece = fit.fit(counts[rows], events[rows])
        for field in fields(CommonLevels):
            assert np.array_equal(getattr(piece, field.name), getattr(whole, field.name)[rows]), field.name


def test_no_lumisection_gives_no_levels(fit: CommonPartFit, judged: CleanLumisections) -> None:
    assert len(fit.fit(judged.counts[:0], judged.events[:0])) == 0


def test_a_ring_of_which_hardly_an_event_is_without_digi_does_not_run_away(
    reference: Reference, judged: CleanLumisections
) -> None:
    """At a digi in 9,999 of 10,000 events one event less asks for a shift of −10: nothing is known of the ring."""
    few = (
        (np.array(judged.channels.names) == "HE") & (np.abs(judged.channels.ieta) == 28) & (judged.channels.depth == 5)
    )
    counts = judged.counts.copy()
    counts[:, few] = np.broadcast_to(judged.events[:, None], counts[:, few].shape)
    counts[1::2, few] -= judged.events[1::2, None] // 100
    saturated = replace(reference, level=np.where(few, np.log(9.2), reference.level), power=reference.power * ~few)
    levels = CommonPartFit(saturated).fit(counts, judged.events)
    assert np.abs(levels.ring).max() < 10
    assert np.abs(levels.module).max() < 0.1
