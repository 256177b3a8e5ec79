"""Which tail of clean evidence is believed, and how thresholds move with the number of digis."""

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.evidence import HYPOTHESES, EvidenceBank
from hcal_root_ad.learn import clean_evidence
from hcal_root_ad.learn.clean_evidence import (
    PEAK_HEIGHT,
    TAIL_PEAKS,
    believed_tail,
    fall_of,
    fitted_tail,
    higher_tail,
    peaks,
    played_runs,
)
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.tail import Tail

MADE = Tail(onset=8.0, rate=0.15, slope=1.0)


def peaks_like(tail: Tail, lumisections: int) -> list[float]:
    """The quantiles of a tail: as many peaks as it expects, from twice its rate on."""
    expected = 2 * tail.rate * lumisections
    ranks = np.arange(round(expected)) + 0.5
    return list(tail.onset + (np.log(tail.rate * lumisections) - np.log(ranks)) / tail.slope)


def test_the_slope_is_one_over_the_mean_excess() -> None:
    assert fitted_tail([*np.full(TAIL_PEAKS, 7.0), 6.5, 5.0], 100) == Tail(onset=6.5, rate=1.5, slope=2.0)


def test_long_runs_are_fitted_at_the_same_rate_of_peaks() -> None:
    peaks = [9.0] * 300 + [8.5] + [5.0] * 1000
    assert fitted_tail(peaks, 2000) == Tail(onset=8.5, rate=0.15, slope=2.0)


def test_too_few_peaks_tell_no_slope() -> None:
    assert fitted_tail([5.0, 6.0], 100) == Tail(onset=PEAK_HEIGHT, rate=0.03, slope=1.0)


def test_the_model_is_believed_where_the_clean_lumisections_agree() -> None:
    assert believed_tail(MADE, peaks_like(MADE, 100), 100) == MADE


def test_the_model_is_believed_where_fewer_peaks_are_seen() -> None:
    assert believed_tail(MADE, peaks_like(Tail(8.0, 0.03, 1.0), 100), 100) == MADE


def test_twice_as_many_peaks_contradict_the_model() -> None:
    peaks = peaks_like(Tail(8.0, 0.3, 1.0), 1000)
    found = believed_tail(MADE, peaks, 1000)
    assert found == fitted_tail(peaks, 1000)
    assert found.threshold(1.0) > MADE.threshold(1.0) + 0.5


def test_a_few_peaks_far_above_contradict_the_model() -> None:
    assert believed_tail(MADE, [*peaks_like(MADE, 100), *[14.0] * 5], 100) != MADE


def test_the_higher_of_two_tails() -> None:
    assert higher_tail(MADE, Tail(7.0, 0.15, 1.0)) == MADE


def test_the_fall_is_the_slope_of_the_thresholds() -> None:
    assert fall_of({-1.0: Tail(9.5, 0.15, 1.0), 0.0: Tail(8.0, 0.15, 1.0), 2.0: Tail(5.0, 0.15, 1.0)}) == pytest.approx(
        1.5
    )


def test_peaks_of_both_directions_count_once_each() -> None:
    bank = EvidenceBank(1, PEAK_HEIGHT)
    for value in (6.0, -9.0):
        bank.add(np.full((HYPOTHESES, 1), value))
    assert peaks([bank, bank]) == [6.0] * 4


def test_health_gathers_less_evidence_where_more_digis_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of 3 %, of which twice 3 % are allowed for: with 50 times the digis chance is small beside them."""
    monkeypatch.setattr(clean_evidence, "PLAYED_RUNS", 4)
    channels = channel_table(Era.RUN3).select("HB")
    size = len(channels)
    reference = Reference(
        level=np.full(size, -2.0),
        level_error=np.zeros(size),
        power=np.ones(size),
        power_error=np.zeros(size),
        live=np.arange(size) < 500,
        activity=(0.0, 0.0),
    )
    own = np.full(size, 0.03)
    few, many = (
        peaks(one.channels for one in played_runs(channels, reference, own, np.array([events])))
        for events in (400.0, 20_000.0)
    )
    assert len(few) > 10 * len(many)
