"""What pages on saved verdicts share: places by their full names, faults as sentences, pictures, and templates."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from PIL import Image

from hcal_root_ad import style
from hcal_root_ad.detector import N_RBX, SUBDET_PM, rbx_of
from hcal_root_ad.judge.aggregate import N_BOXES, Array, States, on_axis
from hcal_root_ad.judge.run_verdict import trust_sentences
from hcal_root_ad.judge.verdict import Finding, Kind, State, how_large, how_sure, rests_on, what, when
from hcal_root_ad.publish.saved_verdict import HBHE_BOXES, STRIPS, PartRecord, RunRecord

_PLACES = {
    r"(H[BEOF]) ([+-]\d+)/(\d+)/(\d)": "channel {} ieta {}, iphi {}, depth {}",
    r"(H[BE][MP]) iphi (\d+)": "strip iphi {1} of {0}",
    r"(H[BEOF])": "the whole of {}",
    r"(H[BEOF])M": "the minus side of {}",
    r"(H[BEOF])P": "the plus side of {}",
    r"(H[BEOF][MP]\d\d|HO[012][MP]?\d\d)": "readout box {}",
    r"(H[BEOF][MP]\d\d)-RM(\d)": "readout module {1} of {0}",
    r"(H[BEOF][MP]\d\d)-RM(\d)-card(\d)": "QIE card {2} of readout module {1} of {0}",
    r"crate(\d+)-slot0*(\d+)": "the uHTR in crate {}, slot {}",
    r"FED ?(\d+)": "FED {}",
    r"(H[BEOF]) \|ieta\| (\d+)": "ring |ieta| {1} of {0}",
    r"(H[BEOF]) \|ieta\| (\d+) depth (\d)": "ring |ieta| {1} of {0}, depth {2}",
    r"(H[BEOF]) ieta ([+-]\d+)": "ring ieta {1} of {0}",
    r"(H[BEOF]) ieta ([+-]\d+) depth (\d)": "ring ieta {1} of {0}, depth {2}",
}
"""Forms of the names of units, and what they say."""
_IN_BOX = re.compile(r"(?P<half>H[BE][MP])(?P<rbx>\d\d)(-RM\d)?(-card\d)?")
_IN_PHI = re.compile(r"(?P<name>H[BE])((?P<side>[MP]) iphi |(?P<sign> [+-])\d+/)(?P<iphi>\d+)(/\d)?")


def place(unit: str) -> str:
    """The full name of a finding's unit; a name of a form that is not known stays as it is.

    >>> place("HEP07-RM2"), place("HE +20/5/3")
    ('readout module 2 of HEP07', 'channel HE ieta +20, iphi 5, depth 3')
    """
    for form, words in _PLACES.items():
        if match := re.fullmatch(form, unit):
            return words.format(*match.groups()).replace("ieta -", "ieta −")
    return unit


def box_of_unit(unit: str) -> int | None:
    """Readout box 0…71 in which a finding's unit lies, None if it is larger than a box or not of HB and HE."""
    if match := _IN_PHI.fullmatch(unit):
        side = match["side"] or {" +": "P", " -": "M"}[match["sign"]]
        half, rbx = match["name"] + side, int(rbx_of(np.array(int(match["iphi"]))))
    elif match := _IN_BOX.fullmatch(unit):
        half, rbx = match["half"], int(match["rbx"])
    else:
        return None
    return SUBDET_PM.index(half) * N_RBX + rbx - 1


def count(number: float) -> str:
    """A number of digis for people: exact below ten thousand, then three figures."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{round(number):,}"


def spread(values: NDArray[np.float64]) -> str:
    """From where to where numbers go that are known (finite), such as ``40–51``."""
    finite = values[np.isfinite(values)]
    return f"{finite.min():.0f}–{finite.max():.0f}" if len(finite) else "not known"


def quantity(number: int, noun: str) -> str:
    """``1 channel``, ``2 channels``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def happened(kind: Kind, observed: float, expected: float) -> str:
    """What the channels gave, against what was expected of them."""
    if observed == 0:
        return f"no digi at all where {count(expected)} were expected"
    if expected <= 0:
        return f"{count(observed)} digis where none was expected"
    ratio = observed / expected
    share = f"{100 * ratio:.0f} %" if ratio >= 0.01 else "less than 1 %"
    if kind is Kind.DEAD:
        return f"{count(observed)} digis where {count(expected)} were expected ({share})"
    if kind is Kind.DEGRADED:
        return f"{share} of the {count(expected)} digis that were expected"
    bursts = ", coming and going" if kind is Kind.NOISY else ""
    return f"{ratio:.2f} times the {count(expected)} digis that were expected{bursts}"


@dataclass(frozen=True, eq=False)
class ReportedFinding:
    """A finding with the part of the record that it is in, and its row of the part's histories, None without one."""

    part: PartRecord
    finding: Finding
    row: int | None

    @property
    def noun(self) -> str:
        return "strip" if self.part.name == STRIPS else "channel"

    @property
    def reason(self) -> str:
        """One sentence: who gave how many digis, of how many."""
        finding, where = self.finding, place(self.finding.unit)
        who = where if finding.channels == 1 else f"{quantity(finding.channels, self.noun)} of {where}"
        sentence = f"{who} gave {happened(finding.kind, finding.observed, finding.expected)}"
        return sentence[0].upper() + sentence[1:]


def findings_of(record: RunRecord) -> tuple[ReportedFinding, ...]:
    """The findings of all parts, the strongest first."""
    reported = (
        ReportedFinding(part, finding, row if row < len(part.finding_observed) else None)
        for part in record.parts
        for row, finding in enumerate(part.findings)
    )
    return tuple(sorted(reported, key=lambda each: (-each.finding.significance, -each.finding.channels)))


def trust_of(record: RunRecord) -> tuple[str, ...]:
    """How far the record can be trusted, where it is not as it should be."""
    return trust_sentences({part.name: part for part in record.parts})


@dataclass(frozen=True)
class Headline:
    """The verdict on a run: its state, one sentence, and what was not judged at all."""

    state: State
    sentence: str
    missing: tuple[str, ...] = ()


def headline_of(record: RunRecord, findings: tuple[ReportedFinding, ...]) -> Headline:
    """Bad with any bad readout box, problematic with anything flagged, not assessed if nothing could be judged."""
    judged, bad, length = int(assessed_in(record).sum()), int(bad_in(record).sum()), len(record.lumisections)
    names = {part.name for part in record.parts}
    missing = tuple(name for name in ("HB", "HE") if not {name, STRIPS} & names)
    all_of_it = f"all {length:,} lumisections" if judged == length else f"the {judged:,} lumisections that were judged"
    if record.parts and all(part.granularity == "run" for part in record.parts):
        all_of_it = "the run, which was judged as a whole"
    if not judged:
        state = State.NOT_ASSESSED
        sentence = "No lumisection could be judged: too few events, no data or no collisions."
    elif bad:
        of = f"{bad:,} of {all_of_it}" if bad < judged else all_of_it
        state, sentence = State.BAD, f"A readout box is bad in {of}."
    elif findings:
        flagged = f"{quantity(len(findings), 'place')} {'is' if len(findings) == 1 else 'are'} flagged"
        state, sentence = State.PROBLEMATIC, f"{flagged} in {all_of_it}, but no readout box is bad."
    else:
        state, sentence = State.GOOD, f"Nothing is flagged in {all_of_it}."
    if findings:
        first = findings[0].finding
        sentence += f" Strongest: {place(first.unit)}, {first.kind} in LS {when(first)}."
    return Headline(state, sentence, missing)


def parts_by_lumisection(record: RunRecord) -> tuple[PartRecord, ...]:
    """What was judged per lumisection: channels where they were, else strips, else the run as a whole."""
    for granularity in ("lumisection", STRIPS):
        if chosen := tuple(part for part in record.parts if part.granularity == granularity):
            return chosen
    return record.parts


def assessed_in(record: RunRecord) -> NDArray[np.bool_]:
    """(LS,) whether anything was judged in the lumisection."""
    judged = np.zeros(len(record.lumisections), dtype=bool)
    for part in parts_by_lumisection(record):
        judged |= part.assessed
    return judged


def bad_in(record: RunRecord) -> NDArray[np.bool_]:
    """(LS,) whether some readout box is bad: a quarter of its channels is."""
    bad = np.zeros(len(record.lumisections), dtype=bool)
    for part in parts_by_lumisection(record):
        bad |= (part.box_states == State.BAD).any(axis=1)
    return bad


def box_states(record: RunRecord) -> States:
    """(LS from 1 to the last, 72) states of the boxes of HB and HE, not assessed at lumisections that are not there."""
    length = int(record.lumisections.max(initial=1))
    states = np.zeros((len(record.lumisections), N_BOXES), dtype=np.uint8)
    for part in parts_by_lumisection(record):
        if part.boxes == HBHE_BOXES:
            states = np.maximum(states, part.box_states)
    rows: States = on_axis(states, record.lumisections, length)
    absent = np.setdiff1d(np.arange(length), record.lumisections - 1)
    rows[absent] = np.where(states.any(axis=0), State.NOT_ASSESSED, 0)
    return rows


COLUMNS = 1000
"""Most columns of a timeline: a column of a longer run holds several lumisections and shows the worst of them."""
_COLOURS = 96
"""Colours of a picture: enough for our maps, and a third of the bytes."""
_SIGNS = {State.NOT_CONNECTED: "–", State.NOT_ASSESSED: "○", State.GOOD: "✔", State.PROBLEMATIC: "▲", State.BAD: "✖"}
"""A shape for each state, because colours are not for everybody."""


def worst_of(states: Array, size: int) -> Array:
    """(LS, rows) states of blocks of ``size`` LS: a fault first, then what was not assessed, then good."""
    order = np.array([0, 1, 3, 2, 4, 5], dtype=np.uint8)  # exchanges good and not assessed, and is its own inverse
    return order[np.maximum.reduceat(order[states], np.arange(0, len(states), size), axis=0)]


def draw_timeline(axis: Axes, states: Array, below: float) -> None:
    """(LS, rows) states, LS 1 first, the first row from ``below`` on; gray where a row has none (0)."""
    length, size = len(states), -(-len(states) // COLUMNS)
    edges = np.append(np.arange(0, length, size), length) + 0.5
    shown = worst_of(states, size).astype(float)
    colours, norm = style.state_colours()
    axis.set_facecolor(style.NO_CHANNEL)
    values = np.where(shown > 0, shown, np.nan).T
    axis.pcolormesh(edges, np.arange(len(values) + 1) + below, values, cmap=colours, norm=norm, rasterized=True)
    axis.yaxis.set_minor_locator(NullLocator())
    style.lumi_axis(axis, length)


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: address with the data, size in pixels, and what it shows, in words."""

    source: str
    width: int
    height: int
    words: str


def picture(figure: Figure, words: str) -> Picture:
    """The figure as PNG data; ``words`` is read out where it cannot be seen."""
    image = Image.open(BytesIO(style.png(figure))).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    data = b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/png;base64,{data}", image.width, image.height, words)


def render(template: str, **values: Any) -> str:
    """A template of this package with the values, which are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hcal_root_ad.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["signs"] = _SIGNS
    environment.filters |= {
        "rests_on": rests_on, "what": what, "when": when, "how_large": how_large, "how_sure": how_sure,
        "number": "{:,}".format,
        "unbroken": lambda text: text.replace("–", "\u2060–\u2060"),  # no line break within a range
    }  # fmt: skip
    return environment
