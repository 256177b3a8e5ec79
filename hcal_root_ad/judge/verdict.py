"""``Verdict``: what the judgement says of one run, and all that publishing needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from html import escape

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import ChannelTable
from hcal_root_ad.lumi_maps import LumiMaps, listed
from hcal_root_ad.machine import Cells
from hcal_root_ad.model.reference import Overdispersion
from hcal_root_ad.stats.binomial import Floats


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


def rests_on(trust: Trust, reason: str) -> str:
    """What a verdict rests on; of a detector state whose it is, and how old."""
    return reason if trust is Trust.STATE else str(trust)


_TRUST = (Trust.ADAPTED, Trust.STATE, Trust.REFERENCE_RUN, Trust.OLD_STATE, Trust.OTHER_PERIOD, Trust.NONE)


STEADY = 0.9
"""From this duty on a fault is steady; below it comes and goes."""
CERTAIN, LIKELY = 7.0, 6.0
"""Standard deviations from which a finding is certain, or likely. A run of 1,000 LS has some 10⁶ independent channels
and stretches: a fluctuation of 6 σ comes about once in a thousand such runs, one of 5 σ about once in three."""
_RANGES = 3
"""Stretches of a fault that are listed; more are counted."""
_ENORMOUS = 1000.0
COLOURS = {0: "#ffffff", 1: "#737373", 2: "#ffffff", 3: "#7fc97f", 4: "#ffd92f", 5: "#c1121f"}
"""Of states, on pages and in notebooks."""


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
        return f"<Finding {finding_text(self)}>"

    def _repr_html_(self) -> str:
        return findings_html([(self, "channel")])


Named = tuple[Finding, str]
"""A finding, and what its rows are: ``channel`` or ``strip``."""


def strongest_first(findings: Iterable[Named]) -> tuple[Named, ...]:
    """By significance; of equal ones the larger first."""
    return tuple(sorted(findings, key=lambda named: (-named[0].significance, -named[0].channels)))


def what(finding: Finding, noun: str = "channel") -> str:
    """What fails: ``channel``, ``RBX, 184 channels``, ``11 channels``."""
    if finding.level is Level.CHANNEL:
        return noun if finding.channels == 1 else f"{finding.channels:,} {noun}s"
    many = f"{finding.channels:,} {noun}{'s' * (finding.channels != 1)}"
    return many if finding.level is Level.CHANNELS else f"{finding.level}, {many}"


def when(finding: Finding) -> str:
    """Its lumisections: ``18–31``, ``5–9, 20–31``, or ``flickers: 31 of 80 LS, 20–99``."""
    if finding.duty >= STEADY or 1 < len(finding.ranges) <= _RANGES:
        return listed(finding.ranges)
    span = round(finding.lumisections / finding.duty) if finding.duty > 0 else finding.lumisections
    return f"flickers: {finding.lumisections} of {span} LS, {listed([(finding.first, finding.last)])}"


def how_large(finding: Finding) -> str:
    """Rate over the expected one, with its error: ``×0.85 ± 0.01``; ``×0`` without a digi."""
    if finding.observed == 0:
        return "×0"
    if finding.size >= _ENORMOUS:
        return f"over ×{_ENORMOUS:.0f}"
    digits = 2 if finding.size < 10 else 0
    return f"×{finding.size:.{digits}f} ± {max(finding.size_error, 10.0**-digits):.{digits}f}"


def how_sure(finding: Finding) -> str:
    """``certain``, ``likely`` or ``weak``, by its significance."""
    if finding.significance >= CERTAIN:
        return "certain"
    return "likely" if finding.significance >= LIKELY else "weak"


def finding_text(finding: Finding) -> str:
    """One line, such as ``HEP07: RBX, 184 channels, dead, LS 18–31, ×0, certain``."""
    words = (what(finding), str(finding.kind), f"LS {when(finding)}", how_large(finding), how_sure(finding))
    return f"{finding.unit}: {', '.join(words)}"


def findings_html(findings: Iterable[Named]) -> str:
    """A table of findings."""
    head = "".join(f"<th>{name}</th>" for name in ("unit", "what", "kind", "LS", "rate", "how sure"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(_finding_rows(findings))}</tbody></table>"


def _finding_rows(findings: Iterable[Named]) -> Iterator[str]:
    for one, noun in findings:
        cells = (one.unit, what(one, noun), str(one.kind), when(one), how_large(one), how_sure(one))
        colour = COLOURS[one.state]
        first, *others = (f"<td>{escape(cell)}</td>" for cell in cells)
        yield f'<tr>{first.replace("<td>", f"""<td style="border-left:.4em solid {colour}">""")}{"".join(others)}</tr>'


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
class RunSums:
    """Of each unit of a level: ``information`` (3, units) Σw, Σw·u, Σw·u², and ``score`` (2, units) Σw·x, Σw·x·u."""

    information: Floats
    score: Floats

    @classmethod
    def of(cls, b: Floats, w: Floats, u: Floats) -> RunSums:
        """From b = w·x and w, both (LS, units), and u (LS,)."""
        b, w, u = b.astype(np.float64), w.astype(np.float64), u.astype(np.float64)
        return cls(np.stack([w.sum(axis=0), u @ w, u**2 @ w]), np.stack([b.sum(axis=0), u @ b]))


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one run says of one sub-detector.

    Attributes:
        lumisections: how many LS count: judged, and the sub-detector not at fault as a whole.
        log_pileup: lowest, mean and highest u of them.
        sums: by level (``channel``, ``module``, ``box``, ``half``, ``ring``, ``subdetector``), in the order of the
            sub-detector's units.
        digis: (channels,) in these LS. events: in these LS.
        overdispersion: how sums scattered in this run.
    """

    lumisections: int
    log_pileup: tuple[float, float, float]
    sums: Mapping[str, RunSums]
    digis: NDArray[np.int64]
    events: int
    overdispersion: Overdispersion


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
            finding where there is one, else of the LS by itself, as far as health does not explain it.
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
    findings. Strips are compared with their own share in the run, so ``trust`` is none by nature.
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
class RunParts:
    """All that was judged of one run; what people ask of it is in :mod:`~hcal_root_ad.judge.run_verdict`.

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
    def every_finding(self) -> tuple[Named, ...]:
        """The findings of all that was judged, channels and strips, the strongest first."""
        of_strips = self.strips.findings if self.strips else ()
        channels = ((finding, "channel") for finding in self.findings)
        return strongest_first((*channels, *((finding, "strip") for finding in of_strips)))

    @property
    def judged(self) -> tuple[Verdict | StripVerdict, ...]:
        """Each of its judgements."""
        return (*self.verdicts, self.strips) if self.strips else self.verdicts

    @property
    def trust(self) -> Trust:
        """The least trust in any of its parts."""
        return max((part.trust for part in self.judged), key=_TRUST.index, default=Trust.NONE)

    @property
    def every_note(self) -> tuple[str, ...]:
        """Notes of the harvest, the run and each judgement, each once."""
        strips = self.strips.notes if self.strips else ()
        judged = (note for verdict in self.verdicts for note in verdict.notes)
        return tuple(dict.fromkeys((*self.maps.notes, *self.notes, *judged, *strips)))
