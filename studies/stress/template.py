"""The plain template: a pileup-aware binomial one, channel by channel, the bar that every judge has to pass.

``p = 1 − exp(−a·g^k)``: per channel a rate a; per ring a power k; per LS and sub-detector a common activity g, the
median of what bright channels say. A channel is flagged where the pull of five LS together, binomial but for what
channels move from run to run, is beyond a threshold that Gaussian chance passes as often as asked. It shares no code
with the judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.lumi_maps import LumiMaps
from studies.stress.flags_to_lines import lines_of
from studies.stress.judged import JudgedRun, certified
from studies.stress.truth import DEAD_BELOW, HOT_ABOVE

WINDOW = 5
ROUNDS = 8
RUN_TO_RUN = 0.028
"""Standard deviation of a channel's log rate between two runs, its box's and module's shares with it."""
BRIGHT, FULL = 30, 0.95
"""Channels with more digis per LS, and fewer per event, tell the activity."""

Floats = NDArray[np.floating]


def log_rate(counts: Floats, events: Floats) -> Floats:
    """log λ that a count says, half a digi allowed for."""
    return np.asarray(np.log(-np.log1p(-np.clip((counts + 0.5) / (events + 1), 0, 1 - 1e-6))))


@dataclass(frozen=True, eq=False)
class Template:
    """(channels,) log rate, power, and which channels are bright and live."""

    log_a: Floats
    power: Floats
    bright: NDArray[np.bool_]
    live: NDArray[np.bool_]

    def log_g(self, counts: Floats, events: Floats) -> Floats:
        """(LS, 1) log activity."""
        asked = (log_rate(counts[:, self.bright], events) - self.log_a[self.bright]) / self.power[self.bright]
        return np.median(asked, axis=1, keepdims=True)

    def probability(self, log_g: Floats) -> Floats:
        """(LS, channels) expected digi probability."""
        return np.asarray(np.clip(-np.expm1(-np.exp(self.log_a + self.power * log_g)), 1e-6, 1 - 1e-6))


def fit_template(counts: Floats, events: Floats, ring: NDArray[np.intp]) -> Template:
    """Learn from (LS, channels) counts and (LS, 1) events: Newton steps for a and k between medians for g."""
    typical = np.median(counts, axis=0)
    live = counts.sum(axis=0) > 0
    bright = (typical > BRIGHT) & (typical < FULL * np.median(events))
    log_a, power = np.median(log_rate(counts, events), axis=0), np.ones(len(ring))
    for _ in range(ROUNDS):
        template = Template(log_a, power, bright, live)
        log_g = template.log_g(counts, events)
        log_g -= log_g.mean()
        p = template.probability(log_g)
        slope = -(1 - p) * np.log1p(-p)
        weight = events * slope**2 / (p * (1 - p))
        score = (counts - events * p) * slope / (p * (1 - p)) * live
        lever = log_g - (weight * log_g).sum(axis=0) / weight.sum(axis=0)
        log_a = log_a + np.clip(score.sum(axis=0) / weight.sum(axis=0), -0.5, 0.5)
        moved = np.bincount(ring, (score * lever).sum(axis=0))
        information = np.bincount(ring, (weight * lever**2 * live).sum(axis=0))
        # Where g hardly moves it tells nothing of k, which then stays where it was.
        firm = information + 1e-4 * np.bincount(ring, weight.sum(axis=0)) + 1e-9
        power = np.clip(power + (moved / firm)[ring], 0.3, 2.0)
        power /= power[bright].mean()
    return Template(log_a, power, bright, live)


def template_judge(clean_runs: Sequence[LumiMaps], maps: LumiMaps, asked: float) -> JudgedRun:
    """Judge by a template of the clean runs, one per sub-detector."""
    channels = maps.channels
    flagged = np.zeros(maps.counts.shape, dtype=np.bool_)
    expected, live = np.zeros(maps.counts.shape, dtype=np.float32), np.zeros(len(channels), dtype=np.bool_)
    for rows, template in _templates(tuple(clean_runs)):
        judged, trials = maps.counts[:, rows].astype(np.float64), maps.events[:, None].astype(np.float64)
        p = template.probability(template.log_g(judged, trials))
        shift = RUN_TO_RUN * _window_sum(-trials * (1 - p) * np.log1p(-p))
        pull = _window_sum(judged - trials * p) / np.sqrt(_window_sum(trials * p * (1 - p)) + shift**2)
        threshold = norm.isf(asked / 2 / 100 / max(template.live.sum(), 1))
        flagged[:, rows] = (np.abs(pull) > threshold) & template.live
        expected[:, rows], live[rows] = trials * p, template.live
    ratio = maps.counts / np.maximum(expected, 1e-9)
    bad = flagged & ((ratio <= DEAD_BELOW) | (ratio >= HOT_ABOVE))
    lines = lines_of(channels, flagged, maps.counts, expected, live, maps.lumisections)
    certification = certified(channels, bad, flagged, live, load_policy())
    return JudgedRun(lines, flagged, "template of the clean run", True, certification)


@lru_cache(maxsize=1)
def _templates(clean_runs: tuple[LumiMaps, ...]) -> tuple[tuple[NDArray[np.intp], Template], ...]:
    """Columns and template of each sub-detector; the last ones are kept, for many worlds share a clean run."""
    templates = []
    for rows in _subdetectors(clean_runs[0]):
        counts = np.concatenate([run.counts[:, rows] for run in clean_runs]).astype(np.float64)
        events = np.concatenate([run.events for run in clean_runs])[:, None].astype(np.float64)
        ring = np.unique(clean_runs[0].channels.ring[rows], return_inverse=True)[1]
        templates.append((rows, fit_template(counts, events, ring)))
    return tuple(templates)


def _subdetectors(maps: LumiMaps) -> Iterator[NDArray[np.intp]]:
    """Columns of HB and of HE."""
    yield from (maps.channels.rows_of(name) for name in ("HB", "HE"))


def _window_sum(values: Floats) -> Floats:
    """Sums over an LS and the WINDOW − 1 before it."""
    total = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    start = np.maximum(np.arange(1, len(total)) - WINDOW, 0)
    return np.asarray(total[1:] - total[start])
