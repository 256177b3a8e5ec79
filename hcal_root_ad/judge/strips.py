"""The judgement of iphi strips: what an ordinary online file allows per lumisection.

Strips of HBM, HBP, HEM and HEP count digis of a whole iphi. All strips of a half see the same pileup,
so each is held against its own share of the half in this run: no bundle is needed, and a fault of
single channels cannot be seen. A half that goes dark is held against the brightest one. Four strips
are a readout box; one strip is a readout module of HB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, N_RBX, SUBDET_PM, ChannelTable, box_name, rbx_of
from hcal_root_ad.evidence import BAND, GAINS, HYPOTHESES, LOSSES, EvidenceBank
from hcal_root_ad.judge.channels import CAP, spread, states_of
from hcal_root_ad.judge.flags import DEAD_BELOW, Evidence, spans_of
from hcal_root_ad.judge.groups import Level, by_weight, grouped, single_groups
from hcal_root_ad.judge.verdict import Judge, StripVerdict
from hcal_root_ad.learn.series import MINIMUM_EVENTS
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.stats.binomial import Floats

STRIPS = len(SUBDET_PM) * N_IPHI
ERROR = 0.01
"""Standard error of a strip's share: drifts of readout boxes are of the order of a percent."""
SILENT = 0.5
"""A strip with less than this share of its neighbours' is held against theirs, not against its own."""
BLINDNESS = "strips are held against their own share in this run: a fault of single channels cannot be seen"


def strip_shares(counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Shares (strips,) and scale (LS, strips): expected counts are their product.

    Medians over strips and lumisections, so that faults of less than half of either change nothing.
    The share of a half without digis in the whole run is 0.
    """
    halves = counts.reshape(len(counts), len(SUBDET_PM), N_IPHI).astype(float)
    lit = np.median(halves, axis=2) > 0
    shares = _median(halves, lit[..., None], axis=0)
    for _ in range(5):
        scale = _median(_over(halves, shares), shares > 0, axis=2)
        shares = _median(_over(halves, scale[..., None]), (lit & (scale > 0))[..., None], axis=0)
    for parity in (0, 1):  # HE has only odd iphi from |ieta| 21 on
        same = shares[:, parity::2]
        middle = np.median(same, axis=1, keepdims=True)
        same[same < SILENT * middle] = np.broadcast_to(middle, same.shape)[same < SILENT * middle]
    return shares.reshape(-1), np.repeat(_dark_replaced(scale), N_IPHI, axis=1)


def _dark_replaced(scale: Floats) -> Floats:
    """(LS, halves) scale, where a half is dark while another is not: what the brightest one lets expect."""
    brightest = scale.max(axis=1, keepdims=True)
    own = _median(_over(scale, brightest), scale > 0, axis=0)
    return np.where(scale < DEAD_BELOW * own * brightest, own * brightest, scale)


def _median(values: Floats, where: NDArray[np.bool_], axis: int) -> Floats:
    """Median of the chosen values, 0 if there are none."""
    chosen = np.ma.masked_array(values, mask=~np.broadcast_to(where, values.shape))
    return np.asarray(np.ma.filled(np.ma.median(chosen, axis=axis), 0.0))  # type: ignore[no-untyped-call]


def _over(values: Floats, by: Floats) -> Floats:
    """Quotient, 0 where the divisor is."""
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)


def collisions_seen(strips: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(LS,) whether some half has more than a tenth of the digis per event that the run has at its best."""
    if not events.any():
        return np.zeros(len(events), dtype=bool)
    brightest = _over(np.median(strips, axis=2).max(axis=1), events.astype(float))
    seen: NDArray[np.bool_] = brightest > DEAD_BELOW * np.quantile(brightest[events > 0], 0.9)
    return seen


def poisson_ratios(observed: NDArray[np.int64], expected: Floats) -> NDArray[np.float32]:
    """(hypotheses, LS, strips) log-likelihood ratios; Poisson, which is wider than a sum of binomials."""
    ratios = np.empty((HYPOTHESES, *observed.shape), dtype=np.float32)
    for h, factor in enumerate((*LOSSES, *GAINS)):
        edge = expected * np.exp(-BAND * ERROR if factor < 1 else BAND * ERROR)
        ratios[h] = observed * np.log(factor) - (factor - 1) * edge
    return ratios


def strip_levels() -> tuple[Level, ...]:
    """Halves and readout boxes."""
    half, iphi = np.divmod(np.arange(STRIPS), N_IPHI)
    box = half * N_RBX + rbx_of(iphi + 1) - 1
    return (
        Level(half, SUBDET_PM),
        Level(box.astype(np.intp), tuple(box_name(b) for b in range(len(SUBDET_PM) * N_RBX))),
    )


def strip_names(channels: ChannelTable) -> list[str]:
    """The readout module where a strip is exactly one, else half and iphi."""
    names = []
    for half, name in enumerate(SUBDET_PM):
        for iphi in range(1, N_IPHI + 1):
            modules = np.unique(channels.rm[(channels.half == half) & (channels.iphi == iphi)])
            one = len(modules) == 1 and modules[0] > 0
            box = box_name(half * N_RBX + int(rbx_of(np.array(iphi))) - 1)
            names.append(f"{box}-RM{modules[0]}" if one else f"{name} iphi {iphi}")
    return names


def judge_strips(maps: LumiMaps, strips: NDArray[np.int64], false_alarms: float) -> StripVerdict:
    """Judge strips (LS, 4, 72) of a run."""
    counts = strips.reshape(len(strips), STRIPS)
    enough = maps.events >= MINIMUM_EVENTS
    assessed = enough & collisions_seen(strips, np.where(enough, maps.events, 0))
    dark = int((enough & ~assessed).sum())
    notes = [BLINDNESS] + [f"strips: {dark} lumisections not assessed, hardly a digi (no collisions?)"] * (dark > 0)
    position, observed = np.flatnonzero(assessed), counts[assessed]
    shares, scale = strip_shares(observed) if assessed.any() else (np.ones(STRIPS), np.zeros((0, STRIPS)))
    expected, live = shares * scale, shares > 0
    # Each strip starts at most one alarm per LS and hypothesis, and Wald bounds each by exp(−threshold).
    threshold = float(np.log(STRIPS * HYPOTHESES * 100 / false_alarms))
    bank = EvidenceBank(STRIPS, threshold, CAP * threshold)
    ratios = poisson_ratios(observed, expected) * live
    score = np.zeros(observed.shape, dtype=np.float32)
    for row in range(len(observed)):
        bank.add(ratios[:, row])
        score[row] = bank.signed()
    trials, rows = np.full(len(observed), np.inf), np.arange(len(observed))
    evidence = Evidence(lambda cells: ratios[:, :, cells].transpose(0, 2, 1), observed, expected, trials, rows)
    lumisections = maps.lumisections[position]
    intervals, groups = grouped(
        spans_of(bank.excursions(), evidence.ratios), evidence, strip_levels(), live, lumisections
    )
    singles = single_groups(intervals, strip_names(maps.channels))
    return StripVerdict(
        lumisections=maps.lumisections,
        events=maps.events,
        assessed=assessed,
        observed=counts,
        expected=spread(expected.astype(np.float32), position, len(maps)),
        score=spread(score, position, len(maps)),
        states=states_of(intervals, assessed, live, maps.lumisections),
        intervals=intervals,
        groups=by_weight([*(group for _, group in groups), *singles]),
        judge=Judge("strips of this run", "1", "", threshold / float(np.log(10)), false_alarms),
        notes=tuple(notes),
    )
