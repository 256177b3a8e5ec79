"""A state of HE and verdicts on it made by hand: shifts of chosen channels and units, and lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Kind, Level, Measurement, ModelInfo, RunSums, State, Trust, Verdict
from hcal_root_ad.lumi_maps import EventSource, LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Overdispersion, Reference
from hcal_root_ad.state.detector_state import LAYERS, DetectorState
from hcal_root_ad.state.era import first_state

INFORMATION = 10_000.0
"""Of every channel in a run: its rate is known to 1 %."""
LUMISECTIONS = 4

MakeVerdict = Callable[..., RunVerdict]


def model_of_he() -> Model:
    channels = channel_table().select("HE")
    n = len(channels)
    reference = Reference(
        channels, np.full(n, -1.5), np.full(n, 0.005), np.full(n, 1.4), np.full(n, 0.02), channels.instrumented,
        (-0.4, 0.2), clean="370000",
    )  # fmt: skip
    return Model("he", "HE", reference)


@pytest.fixture
def state() -> DetectorState:
    return first_state([model_of_he()])


@pytest.fixture
def row() -> int:
    """A channel of HE in the middle of things."""
    return int(np.flatnonzero(channel_table().select("HE").instrumented)[2000])


@pytest.fixture
def make_verdict() -> MakeVerdict:
    """``make_verdict(state, run, channel={row: shift}, box={unit: shift}, lines=(finding, …))``."""

    def make(
        state: DetectorState, run: int, lines: tuple[Finding, ...] = (), trust: Trust = Trust.ADAPTED,
        u: float = 0.0, **shifts: Mapping[int, float],
    ) -> RunVerdict:  # fmt: skip
        part = state.subdetectors["HE"]
        sums = {}
        for level in (*LAYERS, "subdetector"):
            size = 1 if level == "subdetector" else len(part.layers[level])
            w = np.full(size, INFORMATION)
            if level == "channel":
                w = w * part.live
            x = np.zeros(size)
            for unit, shift in shifts.get(level, {}).items():
                x[unit] = shift
            sums[level] = RunSums(np.stack([w, w * u, w * u**2]), np.stack([w * x, w * x * u]))
        digis = np.where(part.live, 20_000, 0)
        measured = Measurement(LUMISECTIONS, (u, u, u), sums, digis, 100_000, Overdispersion())
        return _verdict(part.channels, run, measured, lines, trust)

    return make


def _verdict(channels, run, measured, lines, trust) -> RunVerdict:  # type: ignore[no-untyped-def]
    numbers = np.arange(1, LUMISECTIONS + 1, dtype=np.int32)
    shape = (LUMISECTIONS, len(channels))
    events = np.full(LUMISECTIONS, 1000)
    maps = LumiMaps(
        run, channels, numbers, events, np.full(LUMISECTIONS, EventSource.COUNTER, np.uint8),
        np.zeros(shape, np.int32), np.ones(LUMISECTIONS, bool), "by hand",
    )  # fmt: skip
    verdict = Verdict(
        "HE", channels, numbers, events, np.ones(LUMISECTIONS, bool), maps.counts, np.zeros(shape, np.float32),
        np.zeros(shape, np.float32), np.full(shape, State.GOOD, np.uint8), (), ModelInfo("he", "1", "", 5.0, 0.5),
        trust=trust, findings=lines, measured=measured,
    )  # fmt: skip
    return RunVerdict(maps, (verdict,))


def line_of_channel(state: DetectorState, row: int, size: float = 0.9, last: int = LUMISECTIONS) -> Finding:
    """A finding of one channel from the first LS to ``last``."""
    name = state.subdetectors["HE"].channels.name_of(row)
    return Finding(
        "HE", Level.CHANNEL, name, Kind.DEGRADED, ((1, last),), last, 1.0, (row,), 900, 1000.0, size, 0.01, 9.0
    )


def line_of_box(state: DetectorState, box: int, size: float = 0.9) -> Finding:
    """A finding of a whole readout box."""
    part = state.subdetectors["HE"]
    rows = tuple(np.flatnonzero((part.of("box") == box) & part.live).tolist())
    line = line_of_channel(state, rows[0], size)
    return replace(line, level=Level.RBX, unit=part.units("box").names[box], rows=rows)
