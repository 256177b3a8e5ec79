"""Cause: what kind of fault a finding is, with calibrated probabilities, from its digis LS by LS.

====== ==========================================================================================
dead   no digi but noise
gain   the rate of all channels by one factor: bright channels lose less of their digis
link   digis by one factor, whatever the rate
noise  digis added, another number in each LS
clock  digis lost by another factor in each LS, none in some: the phase slips and comes back
====== ==========================================================================================

Alternatives: the *rule* (``judge.findings.kind_of``, told apart further by the better fit of one factor on rate or
digis and by jumps from LS to LS), its answers as probabilities by how often they were right where the network learned;
the *network*, a CNN over LS with a recurrent layer, on sums of dim, middling and bright channels; the *oracle*, which
knows how faults are drawn, channel by channel, and averages over what it does not know; the *likelihood*, the same sum
with wide priors, which knows what the five words mean and not how faults are drawn, and learns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn
from torch.nn import functional

from hcal_root_ad.judge.findings import NOISY_ABOVE, kind_of
from hcal_root_ad.judge.verdict import Kind
from hcal_root_ad.stats.binomial import Floats
from hcal_root_ad.unit_names import rows_of_unit, unit_names
from studies.network.shapes import DETECTORS, detector, rates_at

KINDS = ("dead", "gain", "link", "noise", "clock")
SCALES = ("channel", "card", "RM", "RBX")
LUMISECTIONS = 24
EVENTS = 1400
MOST = 48
"""Channels of a unit that are looked at."""
DARK_RATE = 3e-4
BINS = 3
KNOWN = 0.02
"""How well a channel's log rate is known."""
TRAIN, TEST = 2400, 800
STEPS = 800


@dataclass(frozen=True, eq=False)
class Case:
    """A unit at fault: counts and healthy probabilities (LS, channels), which LS, the truth, and events per LS."""

    counts: NDArray[np.int64]
    p: Floats
    inside: NDArray[np.bool_]
    scale: int
    kind: int
    events: float | Floats = EVENTS
    """All LS the same, or (LS, 1)."""

    @property
    def trials(self) -> Floats:
        """(LS at fault, 1) events."""
        every = np.broadcast_to(np.asarray(self.events, dtype=float), (len(self.inside), 1))
        return np.asarray(every[self.inside])


def draw_case(draw: np.random.Generator, units: Sequence[Sequence[NDArray[np.intp]]], rates: Floats) -> Case:
    """A random unit with a random fault; ``units``: rows of each unit by scale, ``rates`` (channels,)."""
    scale, kind = int(draw.integers(len(SCALES))), int(draw.integers(len(KINDS)))
    some = units[scale]
    rows = some[int(draw.integers(len(some)))]
    rows = draw.choice(rows, MOST, replace=False) if len(rows) > MOST else rows
    pileup = np.exp(0.1 * draw.standard_normal() + 0.05 * np.linspace(-1, 1, LUMISECTIONS))[:, None]
    rate = -np.log1p(-np.minimum(rates[rows], 0.999)) * pileup
    length = int(draw.integers(3, LUMISECTIONS - 3))
    first = int(draw.integers(0, LUMISECTIONS - length + 1))
    inside = np.zeros(LUMISECTIONS, dtype=bool)
    inside[first : first + length] = True
    expected = -np.expm1(-rate)
    true = rate * np.exp(KNOWN * draw.standard_normal(len(rows)))
    p = -np.expm1(-true)
    q = np.where(inside[:, None], faulty(KINDS[kind], true, p, draw), p)
    return Case(draw.binomial(EVENTS, np.clip(q, 0, 1)), expected, inside, scale, kind)


def faulty(kind: str, rate: Floats, p: Floats, draw: np.random.Generator) -> Floats:
    """(LS, channels) digi probabilities of a fault."""
    match kind:
        case "dead":
            return np.full_like(p, DARK_RATE)
        case "gain":
            return np.asarray(-np.expm1(-rate * draw.choice(GAINS)))
        case "link":
            return np.asarray(p * draw.choice(LINKS))
        case "noise":
            return np.asarray(p + draw.choice(NOISES) * draw.exponential(1.0, (len(p), 1)))
    return np.asarray(p * _clock_factors(len(p), draw)[:, None])


GAINS = np.concatenate([np.exp(np.linspace(np.log(0.5), np.log(0.93), 12)), np.exp(np.linspace(0.08, 0.6, 12))])
LINKS = np.linspace(0.3, 0.95, 24)
NOISES = np.geomspace(0.01, 0.1, 8)
"""Mean digis per event that noise adds; exponential from LS to LS."""
SLIPS = np.linspace(0.1, 0.8, 15)
SLIPPED = 0.5
"""Share of the LS in which the phase has slipped."""


def _clock_factors(size: int, draw: np.random.Generator) -> Floats:
    return np.where(draw.random(size) < SLIPPED, draw.choice(SLIPS, size), 1.0)


def cases(number: int, seed: int) -> list[Case]:
    """Random cases of one of the detectors that shapes are learned on."""
    own = detector(DETECTORS[seed % len(DETECTORS)])
    rates = rates_at(own, np.array([43.0]))[0].astype(np.float64)
    units = []
    for scale in SCALES:
        names = unit_names(own.channels, scale)[:: 37 if scale == "channel" else 1]
        rows = [rows_of_unit(own.channels, name) for name in names]
        rows = [r[rates[r] > 0.05] for r in rows]
        units.append([r for r in rows if len(r)])
    draw = np.random.default_rng([seed, 0xCA])
    return [draw_case(draw, units, rates) for _ in range(number)]


# --- the rule


def by_rule(case: Case) -> int:
    """What today's rules call it."""
    n, e = case.counts[case.inside].astype(float), case.trials * case.p[case.inside]
    total, expected = n.sum(axis=1), e.sum(axis=1)
    size = float(total.sum() / expected.sum())
    kind = kind_of(total, expected, size, -1 if size < 1 else 1)
    if kind is Kind.DEAD:
        return KINDS.index("dead")
    if kind is Kind.NOISY:
        return KINDS.index("noise")
    if size > 1:
        return KINDS.index("gain")
    chance = size * (1 / expected[1:] + 1 / expected[:-1])
    if len(total) >= 3 and np.mean(np.diff(total / expected) ** 2 / chance) > NOISY_ABOVE:
        return KINDS.index("clock")
    counts, p = n.sum(axis=0), case.p[case.inside].mean(axis=0)
    trials = float(case.trials.sum())
    gains = [-np.expm1(np.log1p(-p) * g) for g in np.linspace(0.2, 1.0, 41)]
    links = [p * f for f in np.linspace(0.2, 1.0, 41)]
    best = [max(float((counts * np.log(q) + (trials - counts) * np.log1p(-q)).sum()) for q in some)
            for some in (gains, links)]  # fmt: skip
    return KINDS.index("gain" if best[0] > best[1] else "link")


def rule_table(some: Sequence[Case]) -> Floats:
    """(scales, answers, kinds) how often each kind was behind an answer of the rule."""
    table = np.ones((len(SCALES), len(KINDS), len(KINDS)))
    for case in some:
        table[case.scale, by_rule(case), case.kind] += 1
    return np.asarray(table / table.sum(axis=2, keepdims=True))


# --- the network


def features_of(case: Case) -> NDArray[np.float32]:
    """(features, LS): log ratio and weight of dim, middling and bright channels, whether at fault, and the scale.

    A case of fewer LS than the network learned from is followed by some that are as expected.
    """
    order, length = np.argsort(case.p.mean(axis=0)), len(case.inside)
    events = np.broadcast_to(np.asarray(case.events, dtype=float), (length, 1))[:, 0]
    out = np.zeros((2 * BINS + 1 + len(SCALES), max(length, LUMISECTIONS)), dtype=np.float32)
    for k, rows in enumerate(np.array_split(order, BINS)):
        if len(rows):
            n, e = case.counts[:, rows].sum(axis=1), events * case.p[:, rows].sum(axis=1)
            out[2 * k, :length] = np.clip(np.log((n + 0.5) / (e + 0.5)), -3, 3)
            out[2 * k + 1] = np.log10(e.mean() + 1) / 4
            out[2 * k + 1, :length] = np.log10(e + 1) / 4
    out[2 * BINS, :length] = case.inside
    out[2 * BINS + 1 + case.scale] = 1
    return out


class CauseNetwork(nn.Module):
    """CNN over LS, a GRU, and one number per kind from the mean over the LS at fault."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        features = 2 * BINS + 1 + len(SCALES)
        self.near = nn.Conv1d(features, width, 3, padding=1)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.mixed = nn.Linear(3 * width, width)
        self.last = nn.Linear(width, len(KINDS))

    def forward(self, features: Tensor) -> Tensor:
        """(cases, features, LS) → (cases, kinds) log odds."""
        x, _ = self.rnn(functional.leaky_relu(self.near(features)).transpose(1, 2))
        inside = features[:, 2 * BINS, :, None]
        count = inside.sum(dim=1)
        mean = (x * inside).sum(dim=1) / count
        spread = torch.sqrt(((x - mean[:, None]) ** 2 * inside).sum(dim=1) / count + 1e-6)
        out: Tensor = self.last(functional.leaky_relu(self.mixed(torch.cat([mean, spread, x[:, -1]], dim=1))))
        return out


def train_cause(some: Sequence[Case], seed: int, steps: int = STEPS) -> CauseNetwork:
    """A trained network, its temperature set on a tenth that it did not learn from."""
    torch.manual_seed(seed)
    x = torch.from_numpy(np.stack([features_of(case) for case in some]))
    y = torch.tensor([case.kind for case in some])
    last = len(x) // 10
    network = CauseNetwork()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=1e-4)
    for _ in range(steps):
        rows = torch.randint(last, len(x), (64,))
        loss = functional.cross_entropy(network(x[rows]), y[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        annealing.step()
    network.eval()
    with torch.no_grad():
        odds = network(x[:last])
        scales = torch.linspace(0.5, 1.5, 41)
        losses = torch.stack([functional.cross_entropy(odds * scale, y[:last]) for scale in scales])
        for weight in network.last.parameters():
            weight.mul_(scales[losses.argmin()])
    return network


# --- the oracle


@dataclass(frozen=True, eq=False)
class Priors:
    """What faults may be: factors of gain and link, digis that noise adds, factors of a slipped clock."""

    gains: Floats
    links: Floats
    noises: Floats
    slips: Floats


DRAWN = Priors(GAINS, LINKS, NOISES, SLIPS)
WIDE = Priors(
    np.exp(np.linspace(np.log(0.05), np.log(5), 60)), np.linspace(0.02, 1.0, 50), np.geomspace(0.002, 0.5, 12),
    np.linspace(0.0, 0.98, 25),
)  # fmt: skip


def by_likelihood(case: Case, priors: Priors) -> Floats:
    """(kinds,) probabilities by Bayes, the channels' own small offsets left out."""
    n, p = case.counts[case.inside].astype(float), case.p[case.inside]
    rate = -np.log1p(-p)

    def likelihood(q: Floats) -> Floats:
        """(…, LS) log likelihood of (…, LS, channels) probabilities."""
        q = np.clip(q, 1e-6, 1 - 1e-6)
        return np.asarray((n * np.log(q) + (case.trials - n) * np.log1p(-q)).sum(axis=-1))

    def constant(q: Floats) -> float:
        """Averaged over a parameter that all LS share."""
        return float(logsumexp(likelihood(q).sum(axis=-1)) - np.log(len(q)))

    def mean(logs: Floats) -> Floats:
        """(…) logarithm of the mean over the first axis."""
        return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)))

    quantiles = -np.log1p(-(np.arange(24) + 0.5) / 24)
    noise = [mean(likelihood(p + a * quantiles[:, None, None])).sum() for a in priors.noises]
    slipped = mean(likelihood(p * priors.slips[:, None, None])) + np.log(SLIPPED)
    clock = np.logaddexp(slipped, likelihood(p) + np.log(1 - SLIPPED)).sum()
    log = np.array([
        likelihood(np.full_like(p, DARK_RATE)).sum(),
        constant(-np.expm1(-rate * priors.gains[:, None, None])),
        constant(p * priors.links[:, None, None]),
        logsumexp(noise) - np.log(len(noise)),
        clock,
    ])  # fmt: skip
    return np.asarray(np.exp(log - logsumexp(log)))


def cases_to_learn_from() -> list[Case]:
    """Of four detectors."""
    return [case for k in range(4) for case in cases(TRAIN // 4, k)]


@torch.no_grad()
def by_network(network: CauseNetwork, some: Sequence[Case]) -> Floats:
    """(cases, kinds) probabilities, case by case: they may be of any length."""
    odds = torch.cat([network(torch.from_numpy(features_of(case))[None]) for case in some])
    return np.asarray(torch.softmax(odds, dim=1).numpy(), dtype=np.float64)


def named(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Log loss, accuracy and calibration of every way to name the cause; the network once per seed."""
    learn = cases_to_learn_from()
    test = [case for k in (4, 5) for case in cases(TEST // 2, k)]
    truth = np.array([case.kind for case in test])
    table = rule_table(learn)
    answers: list[tuple[str, int, Floats]] = [
        ("rule", 0, np.stack([table[case.scale, by_rule(case)] for case in test])),
        ("likelihood", 0, np.stack([by_likelihood(case, WIDE) for case in test])),
        ("oracle", 0, np.stack([by_likelihood(case, DRAWN) for case in test])),
    ]
    answers += [("network", seed, by_network(train_cause(learn, seed), test)) for seed in seeds]
    return [{"method": name, "seed": seed, **numbers(p, truth, test)} for name, seed, p in answers]


def numbers(probability: Floats, truth: NDArray[np.intp], test: Sequence[Case]) -> dict[str, Any]:
    """Log loss with its error over cases, share named rightly, calibration error, by kind and scale."""
    p = np.clip(probability, 1e-4, 1)
    p = p / p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(truth)), truth])
    right = p.argmax(axis=1) == truth
    scale = np.array([case.scale for case in test])
    return {
        "log_loss": float(loss.mean()), "log_loss_error": float(loss.std() / np.sqrt(len(loss))),
        "right": float(right.mean()), "calibration": calibration_error(p.max(axis=1), right),
        "right_by_kind": {kind: float(right[truth == k].mean()) for k, kind in enumerate(KINDS) if k in truth},
        "right_by_scale": {name: float(right[scale == k].mean()) for k, name in enumerate(SCALES) if k in scale},
        "reliability": reliability(p.max(axis=1), right),
    }  # fmt: skip


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = 8) -> list[tuple[float, float, int]]:
    """Mean confidence, share that was right, and number, in bins of equal size; no more bins than cases."""
    parts = np.array_split(np.argsort(confidence), min(bins, len(confidence)))
    return [(float(confidence[rows].mean()), float(right[rows].mean()), len(rows)) for rows in parts]


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean difference between confidence and share that was right, over bins of equal size."""
    parts = reliability(confidence, right)
    return float(sum(abs(a - b) * n for a, b, n in parts) / len(right))
