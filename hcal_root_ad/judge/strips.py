"""The judgement of iphi strips: what an ordinary online file allows per lumisection.

Strips of HBM, HBP, HEM and HEP count digis of a whole iphi. All strips of a half see the same pileup,
so each is held against its own share of the half in this run: no bundle is needed, and a fault of
single channels cannot be seen. Four strips are a readout box; one strip is a readout module of HB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_IPHI, N_RBX, SUBDET_PM, ChannelTable, box_name, rbx_of
from hcal_root_ad.evidence import BAND, GAINS, HYPOTHESES, LOSSES, EvidenceBank
from hcal_root_ad.judge.channels import CAP, spread, states_of
from hcal_root_ad.judge.flags import Evidence, spans_of
from hcal_root_ad.judge.groups import Level, by_weight, grouped, single_groups
from hcal_root_ad.judge.verdict import Judge, StripVerdict
from hcal_root_ad.learn.series import MINIMUM_EVENTS
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.occupancy import Floats

STRIPS = len(SUBDET_PM) * N_IPHI
ERROR = 0.01
"""Standard error of a strip's share: drifts of readout boxes are of the order of a percent."""
SILENT = 0.5
"""A strip with less than this share of its neighbours' is held against theirs, not against its own."""


def strip_shares(counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Shares (strips,) and scale (LS, strips): expected counts are their product.

    Medians over strips and lumisections, so that faults of less than half of either change nothing.
    """
    halves = counts.reshape(len(counts), len(SUBDET_PM), N_IPHI).astype(float)
    shares = np.median(halves, axis=0)
    for _ in range(5):
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.nanmedian(np.where(shares > 0, halves / shares, np.nan), axis=2)
            scale = np.nan_to_num(scale)
            shares = np.nan_to_num(
                np.nanmedian(np.where(scale > 0, 1, np.nan)[..., None] * halves / scale[..., None], axis=0)
            )
    for parity in (0, 1):  # HE has only odd iphi from |ieta| 21 on
        same = shares[:, parity::2]
        middle = np.median(same, axis=1, keepdims=True)
        same[same < SILENT * middle] = np.broadcast_to(middle, same.shape)[same < SILENT * middle]
    return shares.reshape(-1), np.repeat(scale, N_IPHI, axis=1)


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
    assessed = (maps.events >= MINIMUM_EVENTS) & (counts.sum(axis=1) > 0)
    position = np.flatnonzero(assessed)
    observed = counts[position]
    shares, scale = strip_shares(observed)
    expected = shares * scale
    # Each strip starts at most one alarm per LS and hypothesis, and Wald bounds each by exp(−threshold).
    threshold = float(np.log(STRIPS * HYPOTHESES * 100 / false_alarms))
    bank = EvidenceBank(STRIPS, threshold, CAP * threshold)
    ratios = poisson_ratios(observed, expected)
    score = np.zeros(observed.shape, dtype=np.float32)
    for row in range(len(observed)):
        bank.add(ratios[:, row])
        score[row] = bank.signed()
    evidence = Evidence(lambda rows, cell: ratios[:, rows, cell], observed, expected, np.full(len(observed), np.inf))
    lumisections, live = maps.lumisections[position], shares > 0
    intervals, groups = grouped(spans_of(bank.excursions(), evidence), evidence, strip_levels(), live, lumisections)
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
        notes=("strips are held against their own share in this run: a fault of single channels cannot be seen",),
    )
