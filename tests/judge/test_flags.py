"""Kinds, edges and numbers of single flags, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.evidence import HYPOTHESES, LOSSES, EvidenceBank, Excursions, log_likelihood_ratios, merged
from hcal_root_ad.judge.flags import Evidence, Span, _useless, intervals_of, kind_of, spans_of
from hcal_root_ad.judge.verdict import Kind
from hcal_root_ad.stats.binomial import log_rate

P, EVENTS = 0.3, 1000
HEALTHY = 300


def evidence_of(*counts: int) -> Evidence:
    """Evidence of one channel with p = 0.3 in lumisections of 1000 events, known exactly."""
    observed = np.array(counts)[:, None]
    trials = np.full(len(counts), float(EVENTS))

    def ratios(cells: np.ndarray) -> np.ndarray:
        eta = np.full((len(cells), len(counts)), log_rate(np.array(P)))
        return log_likelihood_ratios(observed[:, cells].T, trials, eta, np.zeros_like(eta))

    return Evidence(ratios, observed, np.full(observed.shape, EVENTS * P), trials, np.arange(len(counts)))


def excursion(hypothesis: int, first: int, last: int) -> Excursions:
    return Excursions(np.array([hypothesis]), np.array([0]), np.array([first]), np.array([last]), np.array([99.0]))


def excursions_of(evidence: Evidence, height: float = 10.0) -> Excursions:
    bank = EvidenceBank(1, height)
    for row in range(len(evidence.observed)):
        bank.add(evidence.ratios(np.array([0]))[:, :, row])
    return bank.excursions()


def kind(observed: list[int], expected: list[float], trials: float = np.inf, *, loss: bool = False) -> Kind:
    return kind_of(np.array(observed), np.array(expected), np.full(len(observed), trials), loss)


def test_dead_ends_at_a_tenth_of_the_expected_digis() -> None:
    assert kind([0, 0], [150.0, 150.0], loss=True) is Kind.DEAD
    assert kind([20, 10], [150.0, 150.0], loss=True) is Kind.DEAD
    assert kind([20, 11], [150.0, 150.0], loss=True) is Kind.DEGRADED
    assert kind([120, 120], [150.0, 150.0], loss=True) is Kind.DEGRADED


def test_hot_begins_at_one_and_a_half_times_the_rate() -> None:
    assert kind([149], [100.0]) is Kind.WARM
    assert kind([150], [100.0]) is Kind.HOT


def test_the_rate_of_a_channel_is_not_its_digis() -> None:
    # p = 0.5 is λ = ln 2; at 1.5·λ it is 1 − 0.5^1.5 = 0.6464: 29 % more digis are already hot.
    assert kind([646], [500.0], 1000.0) is Kind.WARM
    assert kind([647], [500.0], 1000.0) is Kind.HOT


def test_a_channel_that_fires_in_every_event_is_hot() -> None:
    assert kind([1000], [990.0], 1000.0) is Kind.HOT


def test_noisy_scatters_more_than_four_times_what_counts_do() -> None:
    # Mean 200 in each LS: √((70² + 0 + 70²) / 200 / 3) = 4.04, and 3.98 with 69.
    assert kind([130, 200, 270], [100.0] * 3) is Kind.NOISY
    assert kind([131, 200, 269], [100.0] * 3) is Kind.HOT


def test_two_lumisections_do_not_tell_noisy_from_hot() -> None:
    assert kind([100, 900], [100.0] * 2) is Kind.HOT
    assert kind([100, 900, 500], [100.0] * 3) is Kind.NOISY


def test_a_gain_that_follows_luminosity_is_steady() -> None:
    assert kind([2000, 400, 2000], [1000.0, 200.0, 1000.0]) is Kind.HOT


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 600)), min_size=1, max_size=8), st.booleans(), st.data())
def test_the_order_of_lumisections_does_not_make_the_kind(
    pairs: list[tuple[int, int]], loss: bool, data: st.DataObject
) -> None:
    # Sums of floats in another order differ in the last digit only: no pair lies on a border by construction.
    shuffled = data.draw(st.permutations(pairs))
    ends = []
    for some in (pairs, shuffled):
        observed, expected = ([pair[side] for pair in some] for side in (0, 1))
        ends.append(kind(observed, [value + 0.1234567 for value in expected], 1000.0, loss=loss))
    assert ends[0] is ends[1]


def test_healthy_lumisections_at_the_edges_are_cut() -> None:
    evidence = evidence_of(HEALTHY, HEALTHY, 0, 0, 0, HEALTHY)
    assert spans_of(excursion(0, 0, 5), evidence.ratios) == [Span(0, 2, 4, loss=True)]


def test_healthy_lumisections_at_the_edges_of_a_gain_are_cut() -> None:
    evidence = evidence_of(HEALTHY, 600, 600, HEALTHY, HEALTHY)
    assert spans_of(excursion(len(LOSSES), 0, 4), evidence.ratios) == [Span(0, 1, 2, loss=False)]


def test_a_fault_that_began_within_a_lumisection_begins_with_it() -> None:
    # 225 of 300 speak against dead (225·ln 0.02), but decisively for ×0.8: 225·ln 0.8 + 775·ln(0.76/0.7) = 13.5.
    evidence = evidence_of(225, *[0] * 10, 225)
    assert evidence.ratios(np.array([0]))[0, 0, 0] < -500
    assert spans_of(excursion(0, 0, 11), evidence.ratios) == [Span(0, 0, 11, loss=True)]


def test_a_lumisection_that_says_little_either_way_is_cut() -> None:
    # ×0.8 at 268 of 1000: 268·ln 0.8 + 732·ln(0.76/0.7) = 0.4, far from decisive.
    assert spans_of(excursion(0, 0, 2), evidence_of(268, 0, 0).ratios) == [Span(0, 1, 2, loss=True)]


def test_a_fault_that_pauses_is_two() -> None:
    spans = spans_of(excursion(0, 0, 4), evidence_of(0, 0, HEALTHY, 0, 0).ratios)
    assert spans == [Span(0, 0, 1, loss=True), Span(0, 3, 4, loss=True)]


def test_a_doubtful_lumisection_in_the_middle_stays() -> None:
    # 285 of 300 expected: 4.8 against the weakest fault, which is no clear pause.
    assert spans_of(excursion(0, 0, 4), evidence_of(0, 0, 285, 0, 0).ratios) == [Span(0, 0, 4, loss=True)]


def test_a_single_lumisection_is_left_alone() -> None:
    assert spans_of(excursion(0, 3, 3), evidence_of(*[HEALTHY] * 3, 0).ratios) == [Span(0, 3, 3, loss=True)]


def test_losses_and_gains_of_a_channel_are_flags_of_their_own() -> None:
    evidence = evidence_of(0, 0, HEALTHY, 600, 600)
    found = spans_of(excursions_of(evidence), evidence.ratios)
    assert found == [Span(0, 0, 1, loss=True), Span(0, 3, 4, loss=False)]


@given(st.lists(st.sampled_from([0, 30, 150, 225, 270, 300, 330, 400, 600, 1000]), min_size=1, max_size=12))
def test_sharpening_only_ever_cuts_and_never_all(counts: list[int]) -> None:
    evidence = evidence_of(*counts)
    excursions = excursions_of(evidence)
    spans = spans_of(excursions, evidence.ratios)
    for loss in (True, False):
        wide = list(merged(excursions, loss))
        sharp = [span for span in spans if span.loss == loss]
        assert len(sharp) >= len(wide)
        for span in sharp:
            assert any(first <= span.first <= span.last <= last for _, first, last, _ in wide)
            for edge in (counts[span.first], counts[span.last]):
                assert edge < 290 if loss else edge > 310


def test_numbers_of_an_interval_are_sums_over_its_own_lumisections() -> None:
    # LS 5 and 6 are not in the run; the first row is not in the span.
    lumisections = np.array([3, 4, 7, 8], dtype=np.int32)
    evidence = evidence_of(HEALTHY, 4, 6, HEALTHY)
    (interval,) = intervals_of([Span(0, 1, 2, loss=True)], ["HEP07"], evidence, lumisections)
    assert (interval.first, interval.last, interval.observed, interval.expected) == (4, 7, 10, 600.0)
    assert (interval.channel, interval.kind, interval.group) == (0, Kind.DEAD, "HEP07")
    # The best hypothesis is ×0.02: 10·ln 0.02 + 1990·ln(0.994/0.7), in log10.
    assert interval.score == pytest.approx((10 * np.log(0.02) + 1990 * np.log(0.994 / 0.7)) / np.log(10), rel=1e-5)


def test_a_score_is_that_of_the_best_hypothesis_of_its_direction() -> None:
    # 150 of 300 digis: ×0.4 gives 150·ln 0.4 + 850·ln(0.88/0.7), ×0.65 gives 150·ln 0.65 + 850·ln(0.805/0.7).
    evidence = evidence_of(150)
    best = max(150 * np.log(0.4) + 850 * np.log(0.88 / 0.7), 150 * np.log(0.65) + 850 * np.log(0.805 / 0.7))
    both = [Span(0, 0, 0, loss=True), Span(0, 0, 0, loss=False)]
    interval, other = intervals_of(both, ["", ""], evidence, np.array([1], dtype=np.int32))
    assert interval.score == pytest.approx(best / np.log(10), rel=1e-5)
    assert other.score < 0


def test_nothing_above_threshold_makes_no_flag() -> None:
    evidence = evidence_of(*[HEALTHY] * 4)
    assert spans_of(excursions_of(evidence), evidence.ratios) == []
    assert (evidence.ratios(np.array([0])) < 0).all()
    assert evidence.ratios(np.array([0])).shape == (HYPOTHESES, 1, 4)


@pytest.mark.parametrize(
    ("best", "cut"),
    [
        ([-1, 5], 1),
        ([-1, -1, 5], 2),
        ([-1, 2, -3, 9], 3),
        ([1, -1, 5], 0),
        ([-1], 0),
    ],
)
def test_leading_lumisections_that_speak_against_the_fault_are_cut(best: list[float], cut: int) -> None:
    assert _useless(np.array(best, dtype=float), np.array(best, dtype=float)) == cut


def test_a_decisive_lumisection_stays_even_if_the_best_fault_does_not_explain_it() -> None:
    assert _useless(np.array([-1.0, 5.0]), np.array([3.1, 5.0])) == 0
    assert _useless(np.array([-1.0, 5.0]), np.array([2.9, 5.0])) == 1
