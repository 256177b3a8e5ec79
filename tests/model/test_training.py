"""The training loop: honest targets, reproducible, and it learns what boxes do together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.model.counts import SubdetectorCounts
from hcal_root_ad.model.graphstad import GraphSTAD, Segment, reconstruct
from hcal_root_ad.model.training import (
    ANNEALINGS,
    Schedule,
    _annealing,
    _batches,
    _Carried,
    _starts,
    _window,
    fault_factors,
    train_network,
)
from hcal_root_ad.stats.binomial import probability

CHANNELS = channel_table().select("HE")


def box_drift(steps: int = 20, seed: int = 1) -> tuple[Segment, np.ndarray]:
    """A reference at rest, and counts whose boxes have moved by some percent each."""
    draw = np.random.default_rng(seed)
    moved = 0.03 * draw.standard_normal(72)[CHANNELS.box]
    eta = np.full((steps, len(CHANNELS)), -0.7)
    counts = draw.binomial(1500, probability(eta + moved)).astype(np.int32)
    numbers = np.arange(1, steps + 1, dtype=np.int32)
    series = SubdetectorCounts(CHANNELS, counts, np.full(steps, 1500.0), numbers, np.arange(steps))
    return Segment(series, eta.astype(np.float32), np.ones(len(CHANNELS), dtype=bool)), moved


def test_it_learns_the_common_move_of_a_box() -> None:
    torch.manual_seed(1)
    network = GraphSTAD(CHANNELS)
    losses = train_network(network, [box_drift(seed=s)[0] for s in range(4)], Schedule(epochs=12, window=5))
    segment, moved = box_drift(seed=99)
    shift = reconstruct(network, segment) - segment.log_rate
    assert losses[-1] < losses[0]
    assert np.corrcoef(shift[-1], moved)[0, 1] > 0.8


def test_equal_seeds_give_equal_weights() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(4)
        network = GraphSTAD(CHANNELS)
        train_network(network, [box_drift(steps=10)[0]], Schedule(epochs=1, window=5, batch=1))
        weights.append(torch.cat([p.flatten() for p in network.state_dict().values()]))
    assert torch.equal(*weights)


def test_what_is_seen_and_what_is_judged_share_no_digi() -> None:
    segment, _ = box_drift(steps=5)
    schedule = Schedule(window=5, faulty=0.0)
    _, judged, misses, _, _ = _window(segment, 0, schedule, np.random.default_rng(0))
    assert np.allclose(judged + misses, 1500 - int(0.75 * 1500))
    assert (judged >= 0).all()
    assert (misses >= 0).all()


def test_faults_are_put_into_units_of_the_readout() -> None:
    draw = np.random.default_rng(2)
    drawn = [fault_factors(CHANNELS, 10, draw) for _ in range(20)]
    assert all(factors.shape == (10, len(CHANNELS)) for factors in drawn)
    largest = [np.bincount(CHANNELS.box[(factors != 1).any(axis=0)], minlength=72).max() for factors in drawn]
    assert max(largest) >= 188
    assert any((factors[0] == 1).all() and (factors != 1).any() for factors in drawn)


@pytest.mark.parametrize("gap_after", [3, 12])
def test_windows_stay_inside_a_stretch(gap_after: int) -> None:
    segment, _ = box_drift(steps=20)
    series = with_gap(segment, gap_after).counts
    numbers = series.lumisections
    for first in _starts(series, 5):
        assert numbers[first + 4] - numbers[first] == 4


def with_gap(segment: Segment, gap_after: int) -> Segment:
    """The same segment with five lumisections missing."""
    numbers = segment.counts.lumisections.copy()
    numbers[gap_after:] += 5
    return replace(segment, counts=replace(segment.counts, lumisections=numbers))


def test_preserved_states_go_through_each_stretch_in_order() -> None:
    segment = with_gap(box_drift(steps=25)[0], gap_after=10)
    other = box_drift(steps=10)[0]
    windows = [(one, first) for one in (segment, other) for first in _starts(one.counts, 5)]
    schedule = Schedule(window=5, batch=2, preserved=True)
    batches = _batches(windows, schedule, np.random.default_rng(0))
    assert sorted(len(batch) for batch in batches) == [1, 1, 1, 2, 2]
    walked = [first for batch in batches for one, first in batch if one is segment]
    assert sorted(walked) == [0, 5, 10, 15, 20]
    assert walked.index(0) < walked.index(5)
    assert walked.index(10) < walked.index(15) < walked.index(20)


def test_preserved_state_starts_the_next_window_of_the_same_stretch_only() -> None:
    segment = with_gap(box_drift(steps=20)[0], gap_after=10)
    network = GraphSTAD(CHANNELS)
    after = tuple(torch.full_like(part, 7.0, requires_grad=True) for part in network.start(2))
    for preserved, expected in ((True, [7.0, 0.0]), (False, [0.0, 0.0])):
        carried = _Carried(network, Schedule(window=5, preserved=preserved))
        carried.keep([(segment, 0), (segment, 5)], after)  # type: ignore[arg-type]
        states = carried.start([(segment, 5), (segment, 10)])
        for part in states:
            assert not part.requires_grad
            assert [float(half.mean()) for half in part.chunk(2)] == expected


def test_preserving_the_state_changes_what_is_learned() -> None:
    weights = []
    for preserved in (False, True):
        torch.manual_seed(4)
        network = GraphSTAD(CHANNELS)
        train_network(network, [box_drift()[0]], Schedule(epochs=1, window=5, batch=1, preserved=preserved))
        weights.append(torch.cat([p.flatten() for p in network.state_dict().values()]))
    assert not torch.equal(*weights)


@pytest.mark.parametrize(
    ("annealing", "first", "last"),
    [("cosine", 1.0, 0.05), ("constant", 1.0, 1.0), ("step", 1.0, 0.09), ("one-cycle", 0.04, 4e-6)],
)
def test_learning_rates_by_hand(annealing: str, first: float, last: float) -> None:
    assert annealing in ANNEALINGS
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
    course = _annealing(optimiser, Schedule(rate=1.0, annealing=annealing), 10)
    rates = [optimiser.param_groups[0]["lr"]]
    for _ in range(9):
        optimiser.step()
        course.step()
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(first)
    assert rates[-1] == pytest.approx(last, abs=0.03 if annealing == "cosine" else 1e-9)


def test_an_unknown_annealing_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="one-cycle"):
        train_network(GraphSTAD(CHANNELS), [box_drift(steps=10)[0]], Schedule(window=5, annealing="warm"))


def test_runs_without_a_whole_window_are_one_sentence() -> None:
    with pytest.raises(InputError, match="no 5 lumisections in a row"):
        train_network(GraphSTAD(CHANNELS), [box_drift(steps=4)[0]], Schedule(window=5))


def test_frozen_blocks_stay_and_epochs_are_told() -> None:
    torch.manual_seed(4)
    network = GraphSTAD(CHANNELS)
    network.encoder_cnn.requires_grad_(False)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    told: list[int] = []
    schedule = Schedule(epochs=2, window=5, batch=1)
    train_network(network, [box_drift(steps=10)[0]], schedule, after_epoch=told.append)
    moved = {
        name.split(".")[0] for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])
    }
    assert told == [1, 2]
    assert "encoder_cnn" not in moved
    assert {"encoder_gnn", "decoder_rnn", "decoder_cnn"} <= moved
