"""``Verdict``: what the judgement says of one run, and all that publishing needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.histograms import Names, Numbers
from hcal_root_ad.lumi_maps import Cells, LumiMaps

if TYPE_CHECKING:
    import awkward as ak
    import pandas as pd
    import pyarrow as pa
    from hist import Hist

    from hcal_root_ad.judge.measured import Measurement
    from hcal_root_ad.judge.plots import VerdictPlots


class State(IntEnum):
    """States of CMSSW's hcaldqm (``DQM/HcalCommon/interface/Flag.h``)."""

    NOT_CONNECTED = 1
    """Not connected, not instrumented, or masked."""
    NOT_ASSESSED = 2
    """Too few events, or no data."""
    GOOD = 3
    PROBLEMATIC = 4
    """Degraded or warm."""
    BAD = 5
    """Dead, hot or noisy."""


class Kind(StrEnum):
    """Kinds of fault."""

    DEAD = "dead"
    DEGRADED = "degraded"
    WARM = "warm"
    HOT = "hot"
    NOISY = "noisy"

    @property
    def state(self) -> State:
        return State.PROBLEMATIC if self in (Kind.DEGRADED, Kind.WARM) else State.BAD


class Level(StrEnum):
    """What a finding is about, from the largest unit to the smallest."""

    SUBDETECTOR = "sub-detector"
    HALF = "half"
    DEPTH = "depth"
    RING = "ring"
    FED = "FED"
    UHTR = "uHTR"
    WEDGE = "phi wedge"
    RBX = "RBX"
    RM = "RM"
    CARD = "QIE card"
    CHANNELS = "channels"
    """Many channels of a sub-detector that fail alike, without a readout unit of their own."""
    CHANNEL = "channel"


class Trust(StrEnum):
    """What a verdict rests on. Only the first three are trusted: certification calls nothing else good."""

    ADAPTED = "adapted model"
    """The model knows this detector as it is."""
    STATE = "detector state"
    """A state that followed this detector from run to run."""
    REFERENCE_RUN = "reference run"
    """A reference run of the catalogue that fits the detector."""
    OLD_STATE = "old detector state"
    """It missed so many runs that it does not know any more how channels are now."""
    OTHER_PERIOD = "model of another period"
    """The channels scatter about the model more than it allows for: less is seen than was promised."""
    NONE = "no reference"
    """Judged against the run itself (on request), or not judged because nothing knows this detector."""

    @property
    def trusted(self) -> bool:
        return self in (Trust.ADAPTED, Trust.STATE, Trust.REFERENCE_RUN)


_TRUST = (Trust.ADAPTED, Trust.STATE, Trust.REFERENCE_RUN, Trust.OLD_STATE, Trust.OTHER_PERIOD, Trust.NONE)


@dataclass(frozen=True)
class Finding:
    """One fault: one unit, one kind, its lumisections.

    Attributes:
        subdetector: ``HB``, ``HE``, ``HO`` or ``HF``.
        level, unit: what fails, for example ``RBX`` and ``HEP07``, ``channel`` and ``HE +20/5/3``.
        kind: how.
        ranges: first and last LS of each stretch, in order. lumisections: flagged LS in them.
        duty: flagged LS over assessed LS from the first to the last one; 1 for a steady fault.
        rows: columns of its flagged channels in the sub-detector's :class:`Verdict`.
        observed, expected: digis of these channels in the flagged LS.
        size: rate over the expected one (0 dead, 0.9 a loss of a tenth), ``size_error`` its standard error.
        significance: standard deviations between size and health, the largest over its stretches.
    """

    subdetector: str
    level: Level
    unit: str
    kind: Kind
    ranges: tuple[tuple[int, int], ...]
    lumisections: int
    duty: float
    rows: tuple[int, ...]
    observed: int
    expected: float
    size: float
    size_error: float
    significance: float

    @property
    def first(self) -> int:
        return self.ranges[0][0]

    @property
    def last(self) -> int:
        return self.ranges[-1][1]

    @property
    def channels(self) -> int:
        """How many channels are flagged."""
        return len(self.rows)

    @property
    def state(self) -> State:
        return self.kind.state

    def __repr__(self) -> str:
        from hcal_root_ad.judge.views import finding_text

        return f"<Finding {finding_text(self)}>"

    def _repr_html_(self) -> str:
        from hcal_root_ad.judge.views import findings_html

        return findings_html([(self, "channel")])


@dataclass(frozen=True, eq=False)
class CommonPart:
    """What is common to many channels, LS by LS: the conditions, and how far units moved. NaN where not assessed.

    Attributes:
        lumisections: (LS,) of the run.
        log_pileup: (LS,) natural log of the rate of HB over that of the clean runs. log_pileup_error: its error.
        subdetector: by name (``HE``, ``HO``), (LS,) shift of log rate against what HB's pileup lets expect.
        half: (LS, 4) shift of log rate of HBM, HBP, HEM, HEP against their sub-detector.
        ring: (LS, rings) shift of log rate of each ring against its sub-detector; ``rings`` names them.
        box: (LS, 72) shift of log rate of each readout box (HBM01 … HEP18).
        sentences: conditions in words, for people: a trigger mix that changed, ageing by ring, a beam spot.
    """

    lumisections: NDArray[np.int32]
    log_pileup: NDArray[np.float32]
    log_pileup_error: NDArray[np.float32]
    subdetector: Mapping[str, NDArray[np.float32]]
    half: NDArray[np.float32]
    ring: NDArray[np.float32]
    rings: tuple[str, ...]
    box: NDArray[np.float32]
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interval:
    """Consecutive lumisections in which one channel (or strip) is flagged.

    ``channel`` is the row in the verdict's table (for strips: half × 72 + iphi − 1). ``observed``
    and ``expected`` are digis summed over the interval's assessed LS. ``score`` is the
    signed significance of its finding. ``group`` is the unit of that finding, or "" for a finding of one channel.
    """

    channel: int
    kind: Kind
    first: int
    last: int
    observed: int
    expected: float
    score: float
    group: str = ""


@dataclass(frozen=True)
class Forecast:
    """A channel or unit that loses digis ever further.

    Attributes:
        unit, channels: as in its finding.
        onset: LS in which the loss began. now: share of the expected digis in the last LS. lost: share lost since.
        earliest, crossing, latest: LS in which it falls below half of its digis; the outer ones hold it with 90 %.
    """

    unit: str
    channels: int
    onset: int
    now: float
    lost: float
    earliest: int
    crossing: int
    latest: int


@dataclass(frozen=True)
class ModelInfo:
    """What judged: the model's name, version and digest, the threshold, and the false findings that were asked for.

    ``threshold`` is in units of the score (standard deviations); ``false_alarms`` counts false findings per 100 LS and
    sub-detector.
    """

    name: str
    version: str
    digest: str
    threshold: float
    false_alarms: float


@dataclass(frozen=True, eq=False)
class Verdict:
    """Judgement of one sub-detector of one run, channel by channel.

    Attributes:
        subdetector: ``HB`` or ``HE``.
        channels: the sub-detector's channels (columns).
        lumisections, events: (LS,) of the run.
        assessed: (LS,) whether the LS could be judged.
        observed: (LS, channels) int32 digis as they are in the maps (a view), also where nothing was judged.
        expected: (LS, channels) float32, reconstruction, computed where it is looked at (``numpy.asarray`` gives all of
            it); 0 where the LS was not assessed.
        score: (LS, channels), likewise: signed significance in standard deviations, positive for an excess; of the
            finding where there is one, else of the LS by itself.
        states: (LS, channels) uint8, values of :class:`State`.
        intervals: the flags, channel by channel.
        judge: what judged.
        forecasts: channels and units that age, and when they will be bad, the soonest first.
        granularity: ``"lumisection"``, or ``"run"`` where only run totals were there (then one row).
        notes: sentences for the user.
        trust: what the judgement rests on. trust_reason: a sentence, "" where the model knows the detector.
        sensitivity: scatter of the channels over what the model allows for; shifts must be so much larger to be seen.
        findings: the faults, one each, the most severe first.
        measured: what the run says of each unit, where it was judged by a detector state.
    """

    subdetector: str
    channels: ChannelTable
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    assessed: NDArray[np.bool_]
    observed: NDArray[np.int32]
    expected: NDArray[np.float32] | Cells[np.float32]
    score: NDArray[np.float32] | Cells[np.float32]
    states: NDArray[np.uint8]
    intervals: tuple[Interval, ...]
    judge: ModelInfo
    forecasts: tuple[Forecast, ...] = ()
    granularity: str = "lumisection"
    notes: tuple[str, ...] = ()
    trust: Trust = Trust.ADAPTED
    trust_reason: str = ""
    sensitivity: float = 1.0
    findings: tuple[Finding, ...] = ()
    measured: Measurement | None = None


@dataclass(frozen=True, eq=False)
class StripVerdict:
    """Judgement of iphi strips of HBM, HBP, HEM, HEP per lumisection.

    ``observed``, ``expected``, ``score``, ``states``: (LS, 288), column half × 72 + iphi − 1; so are the rows of the
    findings. Strips are held against their own share in the run, so ``trust`` is none by nature.
    """

    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    assessed: NDArray[np.bool_]
    observed: NDArray[np.int64]
    expected: NDArray[np.float32]
    score: NDArray[np.float32]
    states: NDArray[np.uint8]
    intervals: tuple[Interval, ...]
    judge: ModelInfo
    notes: tuple[str, ...] = ()
    trust: Trust = Trust.NONE
    trust_reason: str = ""
    sensitivity: float = 1.0
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class RunVerdict:
    """All that was judged of one run.

    ``common``: the common part, None where there are no maps per LS. ``masked``: what a person asked to leave out,
    in words. ``unjudged``: sub-detectors with digis that no model serves. ``open_findings``: what the detector state
    that judged knew to be at fault before the run, in words.
    """

    maps: LumiMaps
    verdicts: tuple[Verdict, ...]
    strips: StripVerdict | None = None
    notes: tuple[str, ...] = ()
    common: CommonPart | None = None
    masked: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    open_findings: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The faults of all sub-detectors, the most severe first."""
        every = (finding for verdict in self.verdicts for finding in verdict.findings)
        return tuple(sorted(every, key=lambda finding: (-finding.state, -finding.channels * finding.lumisections)))

    @property
    def trust(self) -> Trust:
        """The least trust in any of its parts."""
        parts = [verdict.trust for verdict in self.verdicts] + ([self.strips.trust] if self.strips else [])
        return max(parts, key=_TRUST.index, default=Trust.NONE)

    @property
    def every_note(self) -> tuple[str, ...]:
        """Notes of the harvest, the run and each judgement, each once."""
        strips = self.strips.notes if self.strips else ()
        judged = (note for verdict in self.verdicts for note in verdict.notes)
        return tuple(dict.fromkeys((*self.maps.notes, *self.notes, *judged, *strips)))

    def __repr__(self) -> str:
        from hcal_root_ad.judge.views import run_text

        return f"<RunVerdict {run_text(self)}>"

    def _repr_html_(self) -> str:
        from hcal_root_ad.judge.views import run_html

        return run_html(self)

    def to_hist(
        self, quantity: str, *axes: str, subdetector: Names = None, ls: Numbers = None, ieta: Numbers = None,
        iphi: Numbers = None, depth: Numbers = None,
    ) -> Hist[Any]:  # fmt: skip
        """``observed``, ``expected``, ``score`` or ``states`` as ``hist.Hist``; axes as in :meth:`LumiMaps.to_hist`.

        What falls into one bin is summed, but of scores the largest counts and of states the worst.

        Raises:
            UsageError: nothing of that is there, or the run was judged in strips.
        """
        from hcal_root_ad.judge.views import histogram_of

        cells = {"ieta": ieta, "iphi": iphi, "depth": depth}
        histogram: Hist[Any] = histogram_of(self, quantity, axes, subdetector, ls, cells)
        return histogram

    def to_arrow(self, table: str = "findings") -> pa.Table:
        """``findings``, ``intervals`` or ``channels`` as an Arrow table, the names of the readout in columns.

        Raises:
            UsageError: there is no such table.
        """
        from hcal_root_ad.judge.views import table_of

        return table_of(self, table)

    def to_awkward(self, table: str = "findings") -> ak.Array:
        """As :meth:`to_arrow`, as an awkward array of records."""
        from hcal_root_ad.judge.views import awkward_of

        return awkward_of(self, table)

    def to_pandas(self, table: str = "findings") -> pd.DataFrame:
        """As :meth:`to_arrow`, as a DataFrame; UsageError where pandas is not installed."""
        from hcal_root_ad.judge.views import pandas_of

        return pandas_of(self, table)

    @property
    def plot(self) -> VerdictPlots:
        """Pictures on matplotlib axes: ``plot.states()``, ``plot.timeline()``, ``plot.channel("HE +20/5/3")``."""
        from hcal_root_ad.judge.plots import VerdictPlots

        return VerdictPlots(self)
