"""The deep rivals: shapes, gradients, seeds, causality, and a dead box found after a little training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hcal_root_ad.detector import ChannelTable, channel_table
from hcal_root_ad.errors import InputError
from hcal_root_ad.model.counts import SubdetectorCounts
from studies.baselines.blocks import BoxGNN, PoolingCNN, RingMean, UnpoolingCNN
from studies.baselines.spatio_temporal import Parts, SpatioTemporalAutoencoder
from studies.evaluate.protocol import Training, Truth
from studies.evaluate.systems import deep_graphstad, deep_images
from studies.evaluate.systems.deep import (
    Recipe,
    Scaled,
    error_over_binomial,
    fit_autoencoder,
    minimum_to_maximum,
    occupancy,
    quartiles,
    share_of_largest,
    side_by_side,
    sigmas,
    sigmas_from_mean,
    trailing,
)

RECIPES = {recipe.name: recipe for recipe in (*deep_graphstad.RECIPES, *deep_images.RECIPES)}
SMALL = [name for name in RECIPES if name != "hcal-ml-task"]
NOTHING = Truth(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))


@pytest.fixture(scope="module")
def channels() -> ChannelTable:
    return channel_table().select("HE")


def run_of(channels: ChannelTable, seed: int, lumisections: int = 15, events: int = 2000) -> SubdetectorCounts:
    """A run with rates of the rings and a common activity that wanders by a tenth."""
    draw = np.random.default_rng(seed)
    rate = 0.2 + 0.5 * np.random.default_rng(0).random(int(channels.ring.max()) + 1)[channels.ring]
    activity = 1 + 0.1 * np.sin(np.arange(lumisections) / 3 + seed)
    counts = draw.binomial(events, rate * activity[:, None]).astype(np.int32)
    numbers = np.arange(1, lumisections + 1, dtype=np.int32)
    return SubdetectorCounts(channels, counts, np.full(lumisections, float(events)), numbers, np.arange(lumisections))


@pytest.fixture(scope="module")
def training(channels: ChannelTable) -> Training:
    learn = [run_of(channels, seed) for seed in (1, 2)]
    return Training("HE", channels, learn, [run_of(channels, 3)], seed=7)


def quick(name: str, steps: int = 1, batch: int = 2) -> Recipe:
    """Some steps with some windows."""
    recipe = RECIPES[name]
    return replace(recipe, schedule=replace(recipe.schedule, steps=steps, batch=batch))


def network_of(name: str, channels: ChannelTable) -> torch.nn.Module:
    torch.manual_seed(0)
    return RECIPES[name].network(channels)


@pytest.mark.parametrize("name", RECIPES)
def test_every_network_returns_what_it_saw_in_shape_and_every_weight_gets_a_gradient(
    name: str, channels: ChannelTable
) -> None:
    network = network_of(name, channels)
    seen = torch.rand(1, 2, len(channels), generator=torch.Generator().manual_seed(1))
    restored, divergence = network(seen)
    assert restored.shape == seen.shape
    assert divergence.shape == ()
    assert float(divergence.detach()) >= 0
    (((restored - seen) ** 2).mean() + divergence).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not silent


@pytest.mark.parametrize("name", SMALL)
def test_weights_of_he_fit_hb(name: str, channels: ChannelTable) -> None:
    barrel = network_of(name, channel_table().select("HB"))
    assert barrel.load_state_dict(network_of(name, channels).state_dict()).missing_keys == []


def test_the_production_shape_has_the_states_of_cmssw(channels: ChannelTable) -> None:
    network = network_of("hcal-ml-task", channels)
    widths = [[layer.hidden_size for layer in part.layers] for part in (network.encoder, network.decoder)]  # type: ignore[union-attr]
    assert widths == [[128, 32], [128, 640]]


@pytest.mark.parametrize("name", ["graphstad", "cnn-fc-ae", "cms-ibm-ae", "depthvit"])
def test_the_same_seed_gives_the_same_weights_and_scores(name: str, training: Training) -> None:
    one, other = (fit_autoencoder(quick(name), training) for _ in range(2))
    for key, weight in one.network.state_dict().items():
        assert torch.equal(weight, other.network.state_dict()[key])
    series = training.calibrate[0]
    assert np.array_equal(one.score(series, NOTHING), other.score(series, NOTHING))


@pytest.mark.parametrize(
    ("name", "steps", "batch"),
    [
        ("graphstad", 12, 2),
        ("cnn-fc-ae", 12, 2),
        ("cms-ibm-ae", 20, 10),
        ("cms-ibm-deep-ae", 8, 6),
        ("depthvit", 20, 4),
    ],
)
def test_a_dead_box_scores_above_healthy_ones(name: str, steps: int, batch: int, training: Training) -> None:
    channels = training.channels
    fitted = fit_autoencoder(quick(name, steps, batch), training)
    healthy = run_of(channels, 4, lumisections=8)
    counts = healthy.counts.copy()
    dead = channels.box == 60
    counts[3:, dead] = 0
    faulty = replace(healthy, counts=counts)
    before, after = fitted.score(healthy, NOTHING), fitted.score(faulty, NOTHING)
    assert after.shape == (8, len(channels))
    assert np.isfinite(after).all()
    # Per-LS maxima and quartiles move with a fault, so later LS differ everywhere; earlier ones nowhere.
    assert np.array_equal(before[:3], after[:3])
    assert np.median(after[7, dead]) > np.quantile(after[7, ~dead], 0.6)
    assert np.median(after[7, dead]) > np.median(before[7, dead])


def test_scores_do_not_wait_and_do_not_cross_a_gap(training: Training) -> None:
    fitted = fit_autoencoder(quick("graphstad"), training)
    run = run_of(training.channels, 5, lumisections=9)
    whole = fitted.score(run, NOTHING)
    assert np.allclose(fitted.score(run.rows(slice(0, 6)), NOTHING), whole[:6], rtol=1e-4)
    gap = replace(run, lumisections=np.array([1, 2, 3, 4, 9, 10, 11, 12, 13], np.int32))
    assert np.allclose(fitted.score(gap, NOTHING)[4:], fitted.score(run.rows(slice(4, 9)), NOTHING), rtol=1e-4)


@pytest.mark.parametrize("parts", [Parts(latent=2), Parts(latent=2, recurrent=False, ring_normalisation=True)])
def test_windows_that_share_lumisections_are_as_each_by_itself(parts: Parts, channels: ChannelTable) -> None:
    network = SpatioTemporalAutoencoder(channels, parts).eval()
    run = torch.rand(4, len(channels), generator=torch.Generator().manual_seed(1))
    rows = torch.tensor([[0, 0, 1], [0, 1, 2], [1, 2, 3]])
    with torch.inference_mode():
        together, _ = network.of_windows(run, rows)
        single = torch.cat([network(run[window][None])[0] for window in rows])
    assert torch.allclose(together, single, atol=1e-6)


def test_windows_by_hand(channels: ChannelTable) -> None:
    run = replace(run_of(channels, 1, lumisections=8), lumisections=np.array([1, 2, 3, 4, 5, 8, 9, 10], np.int32))
    assert side_by_side(run, 2).tolist() == [[0, 1], [2, 3], [5, 6]]
    assert side_by_side(run, 6).shape == (0, 6)
    assert trailing(run, 3).tolist() == [
        [0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 5, 5], [5, 5, 6], [5, 6, 7],
    ]  # fmt: skip


def test_runs_shorter_than_a_window_are_refused(training: Training) -> None:
    short = replace(training, learn=[one.rows(slice(0, 4)) for one in training.learn])
    with pytest.raises(InputError, match="5 consecutive lumisections"):
        fit_autoencoder(quick("graphstad"), short)


def test_scalings_by_hand(channels: ChannelTable) -> None:
    three = channels.take(np.arange(3))
    counts = np.array([[10, 20, 0], [30, 20, 0]], np.int32)
    run = SubdetectorCounts(three, counts, np.array([100.0, 100.0]), np.array([1, 2], np.int32), np.arange(2))
    later = replace(run, counts=np.array([[50, 30, 10], [20, 10, 0]], np.int32))
    assert np.allclose(minimum_to_maximum([run])(later).values, [[2, 0.1, 0.1], [0.5, -0.1, 0]], atol=1e-6)
    assert np.allclose(share_of_largest([run])(later).values, [[1, 0.6, 0.2], [1, 0.5, 0]])
    assert np.allclose(quartiles([run])(later).values, [[1.5, 0.5, -0.5], [1.5, 0.5, -0.5]], atol=1e-5)


def test_standards_by_hand() -> None:
    errors = np.array([[1.0, 2.0], [3.0, 2.0]])
    assert [part.tolist() for part in sigmas(errors)] == [[0, 0], [1, 0.5]]
    assert [part.tolist() for part in sigmas_from_mean(errors)] == [[2, 2], [1, 2]]


@pytest.mark.parametrize("scaling", [minimum_to_maximum, share_of_largest, quartiles])
def test_a_unit_is_the_occupancy_that_one_stands_for(scaling, channels: ChannelTable) -> None:
    """A digi more in a channel that is neither the largest nor at a quartile moves it by its share over the unit."""
    run = run_of(channels, 1)
    learned = scaling([run])
    channel = int(np.argsort(run.counts[0])[len(channels) // 3])
    counts = run.counts.copy()
    counts[0, channel] += 1
    before, after = learned(run), learned(replace(run, counts=counts))
    moved = (after.values - before.values)[0, channel] * before.unit[0, channel]
    assert moved == pytest.approx(1 / run.events[0], rel=1e-2)


def test_the_true_rate_has_an_error_of_one_sigma(channels: ChannelTable) -> None:
    class Constant(torch.nn.Module):
        """Always reconstructs the rate 0.4."""

        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return torch.full_like(x, 0.4), x.new_zeros(())

    draw = np.random.default_rng(3)
    counts = draw.binomial(1000, 0.4, (10, len(channels))).astype(np.int32)
    run = replace(run_of(channels, 1, lumisections=10), counts=counts, events=np.full(10, 1000.0))
    known = error_over_binomial(Constant(), 5, lambda one: Scaled(occupancy(one), np.ones_like(occupancy(one))), [run])
    assert known == pytest.approx(1, abs=0.02)


def test_ring_mean_is_over_channels_that_are_not_zero(channels: ChannelTable) -> None:
    ring = (channels.ieta == 20) & (channels.depth == 3)
    x = torch.zeros(1, len(channels))
    x[0, np.flatnonzero(ring)[:2]] = torch.tensor([1.0, 3.0])
    mean = RingMean(channels)(x)[0]
    assert mean[torch.from_numpy(ring)].eq(2).all()
    assert mean[torch.from_numpy(~ring)].eq(1).all()


def test_the_box_graph_equals_the_clique_graph(channels: ChannelTable) -> None:
    """One dense clique per box with self-loops, convolved four times, attended over channels."""
    torch.manual_seed(0)
    gnn = BoxGNN(channels, 3)
    x = torch.rand(1, len(channels))
    answers: list[Tensor] = []
    for side in range(2):
        mine = np.flatnonzero(channels.side == side)
        same = torch.from_numpy(channels.box[mine][:, None] == channels.box[mine]).float()
        average = same / same.sum(dim=1, keepdim=True)
        nodes = torch.relu(gnn.first.lin_l(average @ x[0, mine, None]))
        for layer in gnn.further:
            nodes = torch.relu(layer(average @ nodes))
        weight = torch.softmax(gnn.gate(nodes), dim=0)
        answers.append((weight * nodes).sum(dim=0))
    assert torch.allclose(gnn(x), torch.stack(answers), atol=1e-5)


def test_unpooling_puts_values_where_the_maxima_were() -> None:
    maps = torch.rand(1, 1, 7, 16, 72, generator=torch.Generator().manual_seed(2))
    down, up = PoolingCNN(2), UnpoolingCNN(2)
    small, places = down(maps)
    assert small.shape == (1, 2, 1, 1, 5)
    assert [tuple(shape) for _, shape in places] == [(7, 16, 72), (4, 8, 36), (2, 4, 18), (1, 2, 9)]
    assert up(small, places).shape == maps.shape
