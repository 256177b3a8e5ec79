"""Hand-made runs and bundles: every channel has a digi in 3 of 10 events, so that numbers can be done by hand.

Nothing is trained: an untrained network leaves the reference where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hcal_root_ad.learn.bundle import Bundle

from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.references.catalogue import Entry, NamedReference
from hcal_root_ad.references.rates import Rates
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.tail import UNIT_SHARE, Tail, Tails
from hcal_root_ad.lumi_maps import CoarseMaps, EventSource, LumiMaps
from hcal_root_ad.networks.graphstad import GraphSTAD
from hcal_root_ad.stats.binomial import log_rate

P = 0.3
"""Digi probability of every channel at activity 0."""
TAIL = Tail(onset=10.0, rate=0.01, slope=1.0)
"""Clean channels exceed e^10 once per 100 LS."""

ONE = 1 / (1 - UNIT_SHARE)
"""False alarms per 100 LS that leave single channels one, which is a threshold of 10 (natural log)."""

MakeBundle = Callable[..., Bundle]
MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]


def flat_reference(channels: ChannelTable, activity: tuple[float, float] = (-0.5, 0.5)) -> Reference:
    size = len(channels)
    return Reference(
        level=np.full(size, log_rate(np.array(P))),
        level_error=np.zeros(size),
        power=np.ones(size),
        power_error=np.zeros(size),
        live=np.ones(size, dtype=bool),
        activity=activity,
    )


@pytest.fixture(scope="session")
def make_bundle() -> MakeBundle:
    """A bundle whose reference is exact: no model error, and a threshold of 10 (natural log) at one per 100 LS."""

    def make(subdetector: str = "HE", era: Era = Era.RUN3, tail: Tail = TAIL, name: str = "") -> Bundle:
        channels = channel_table(era).select(subdetector)
        torch.manual_seed(1)
        return Bundle(
            name=name or f"flat-{subdetector.lower()}",
            subdetector=subdetector,
            channels=channels,
            network=GraphSTAD(channels).eval(),
            reference=flat_reference(channels),
            model_error=np.zeros(len(channels)),
            tails=Tails(tail, tail),
            false_alarms=ONE,
            digest="ab12",
        )

    return make


@pytest.fixture(scope="session")
def make_maps() -> MakeMaps:
    """A healthy run without fluctuations: 300 digis of every channel in each LS of 1000 events."""

    def make(
        lumisections: int | list[int] = 12,
        events: int | list[int] = 1000,
        coarse: CoarseMaps | None = None,
        channels: ChannelTable | None = None,
    ) -> LumiMaps:
        numbers = list(range(1, lumisections + 1)) if isinstance(lumisections, int) else lumisections
        table = channel_table(Era.RUN3).select("HB", "HE") if channels is None else channels
        size = len(numbers)
        trials = np.broadcast_to(np.array(events, dtype=np.int64), (size,)).copy()
        counts = np.repeat(np.rint(trials * P).astype(np.int32)[:, None], len(table), axis=1)
        return LumiMaps(
            run=370101,
            channels=table,
            lumisections=np.array(numbers, dtype=np.int32),
            events=trials,
            event_source=np.full(size, EventSource.COUNTER, dtype=np.uint8),
            counts=counts if coarse is None else np.zeros_like(counts),
            present=np.full(size, coarse is None),
            definition="nanodqmio",
            coarse=coarse,
        )

    return make


@pytest.fixture(scope="session")
def make_reference() -> MakeReference:
    """A reference of run 370100, 300 digis of every channel in each of its 10 LS of 1000 events; runs spread by 3 %."""

    def make(*subdetectors: str, era: Era = Era.RUN3, spread: float = 0.03, trigger: str = "") -> NamedReference:
        rates = {}
        for name in subdetectors or ("HB", "HE"):
            channels = channel_table(era).select(name)
            every = np.ones(len(channels))
            digis = (3000 * every).astype(np.int64)
            rates[name] = Rates(channels, flat_reference(channels), spread * every, digis, 10_000.0)
        return NamedReference(Entry("flat", Path(), (370100,), era, "Occupancy", (), trigger=trigger), rates)

    return make
