"""``RunRecord``: a verdict on a run as one small file, all that certification and reports need of it.

A ``.npz`` file without pickles: one array per number below, and one JSON text with the words. Equal verdicts give equal
bytes, so a digest of the file tells whether anything changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import N_DQM_IETA, N_IPHI, box_name
from hcal_root_ad.errors import InputError
from hcal_root_ad.files import whole_file
from hcal_root_ad.judge import aggregate
from hcal_root_ad.judge.aggregate import N_BOXES, box_states, judged
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import (
    CommonPart,
    Finding,
    Forecast,
    Kind,
    Level,
    ModelInfo,
    State,
    StripVerdict,
    Trust,
    Verdict,
)
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.machine import row_blocks
from hcal_root_ad.provenance import Provenance, provenance_of_run, provenance_of_text

SUFFIX = ".verdict.npz"
SHOWN = 200
"""Findings of a part whose digis are kept against LS; the others are words only."""
STRIPS = "strips"
"""Name and granularity of the part that was judged by strips of one iphi."""
HBHE_BOXES = tuple(map(box_name, range(N_BOXES)))
"""Names of the readout boxes of HB and HE."""
_FORMAT = 4
_MAPS = {"worst": np.uint8, "fraction": np.float32, "observed": np.float32, "expected": np.float32, "score": np.float32}


@dataclass(frozen=True, eq=False)
class PartRecord:
    """What was judged of one sub-detector, or of the strips of a file without maps per lumisection.

    Rows are the run's lumisections, or one row for the whole run where ``granularity`` is ``"run"``.

    Attributes:
        name: ``HB``, ``HE``, ``HO``, ``HF`` or ``strips``.
        granularity: ``"lumisection"``, ``"run"`` or ``"strips"``.
        judge: what judged.
        trust, trust_reason, sensitivity: as in the verdict.
        boxes: names of the readout boxes: the 72 of HB and HE for these and for strips, those of HO; of HF, whose boxes
            follow no rule, its two sides.
        assessed: (LS,) whether the LS could be judged.
        judged: (LS, boxes) int32 channels (or strips) of each readout box that were judged.
        problematic, bad: (LS, boxes) int32 how many of them are in that state.
        box_states: (LS, boxes) uint8 states of the boxes; 0 where a box has no channel here.
        findings: what was found, the strongest first; their rows are columns of the verdict (strips: 0…287).
        finding_observed, finding_expected: (findings, at most ``SHOWN``; LS) float32 digis of each one's channels.
        worst: (7, 84, 72) uint8 worst state of each channel in the run, on the DQM axes; 0 without a channel.
        fraction: its share of the judged LS that are flagged. observed, expected: its digis in the judged LS.
        score: its largest score, with sign. All (7, 84, 72) float32, and all maps are (0, 84, 72) for strips.
        forecasts: channels and units that age, the soonest first.
    """

    name: str
    granularity: str
    judge: ModelInfo
    assessed: NDArray[np.bool_]
    judged: NDArray[np.int32]
    problematic: NDArray[np.int32]
    bad: NDArray[np.int32]
    box_states: NDArray[np.uint8]
    findings: tuple[Finding, ...]
    finding_observed: NDArray[np.float32]
    finding_expected: NDArray[np.float32]
    worst: NDArray[np.uint8]
    fraction: NDArray[np.float32]
    observed: NDArray[np.float32]
    expected: NDArray[np.float32]
    score: NDArray[np.float32]
    forecasts: tuple[Forecast, ...] = ()
    boxes: tuple[str, ...] = HBHE_BOXES
    trust: Trust = Trust.ADAPTED
    trust_reason: str = ""
    sensitivity: float = 1.0


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A verdict on a run, reduced: (LS,) int32 ``lumisections``, (LS,) int64 ``events``, and its parts.

    ``common``: conditions and units in common, rounded to half precision (relative 0.0005), which is well below the
    errors. ``masked``: what a person asked to leave out, in words. ``unjudged``: sub-detectors without a model.
    ``open_findings``: as in the verdict.
    """

    run: int
    definition: str
    lumisections: NDArray[np.int32]
    events: NDArray[np.int64]
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    program: str
    parts: tuple[PartRecord, ...]
    provenance: Provenance | None = None
    common: CommonPart | None = None
    masked: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    open_findings: tuple[str, ...] = ()


def record_name(run: int) -> str:
    """File name of a run's record, such as ``R370101.verdict.npz``."""
    return f"R{run}{SUFFIX}"


def record_of(verdict: RunVerdict, provenance: Provenance | None = None) -> RunRecord:
    """The verdict, reduced to readout boxes per LS, channels per run, and findings."""
    return RunRecord(
        run=verdict.maps.run,
        definition=verdict.maps.definition,
        lumisections=verdict.maps.lumisections,
        events=verdict.maps.events,
        sources=verdict.maps.sources,
        notes=verdict.every_note,
        program=f"hcal-root-ad {version('hcal-root-ad')}",
        parts=(*map(_channels, verdict.verdicts), *([_strips(verdict.strips)] if verdict.strips else [])),
        provenance=provenance or provenance_of_run(verdict),
        common=verdict.common and _rounded(verdict.common),
        masked=verdict.masked,
        unjudged=verdict.unjudged,
        open_findings=verdict.open_findings,
    )


def _rounded(common: CommonPart) -> CommonPart:
    """Every shift as half precision holds it."""
    shifts = {name: getattr(common, name).astype(np.float16).astype(np.float32) for name in _SHIFTS}
    units = {name: values.astype(np.float16).astype(np.float32) for name, values in common.subdetector.items()}
    return replace(common, subdetector=units, **shifts)


def save_record(record: RunRecord, path: Path) -> None:
    """Write a record, whole or not at all; the folder is made if it is not there.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    with whole_file(path) as partial, partial.open("wb") as file:  # numpy would add a suffix to a name
        np.savez_compressed(file, allow_pickle=False, **_arrays(record))


def load_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        InputError: the file is missing, damaged, or no record of this version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a run's record (*{SUFFIX}).")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _record({name: archive[name] for name in archive.files})
    except Exception as error:  # a damaged archive can break zipfile and numpy in any way
        raise InputError(
            f"{path}: expected a run's record (*{SUFFIX}, version {_FORMAT}), found a damaged file or another kind; "
            "judge the run again."
        ) from error


def _channels(verdict: Verdict) -> PartRecord:
    return PartRecord(
        name=verdict.subdetector,
        granularity=verdict.granularity,
        forecasts=verdict.forecasts,
        trust=verdict.trust,
        trust_reason=verdict.trust_reason,
        sensitivity=verdict.sensitivity,
        **_boxes(verdict, verdict.findings),
        **_maps(verdict),
    )


def _strips(strips: StripVerdict) -> PartRecord:
    maps: dict[str, Any] = {name: np.zeros((0, N_DQM_IETA, N_IPHI), dtype=kind) for name, kind in _MAPS.items()}
    return PartRecord(
        name=STRIPS, granularity=STRIPS, trust=strips.trust, trust_reason=strips.trust_reason,
        sensitivity=strips.sensitivity, **_boxes(strips, strips.findings), **maps,
    )  # fmt: skip


def _maps(verdict: Verdict) -> dict[str, Any]:
    """The maps of the run, by field."""
    sums = aggregate.channel_sums(verdict)
    maps: dict[str, NDArray[Any]] = {
        "worst": aggregate.worst_state(verdict.states),
        "fraction": aggregate.flagged_fraction(verdict),
        "observed": sums.observed,
        "expected": sums.expected,
        "score": aggregate.strongest_scores(verdict),
    }
    return {name: aggregate.depth_maps(verdict.channels, values).astype(_MAPS[name]) for name, values in maps.items()}


def _boxes(verdict: Verdict | StripVerdict, findings: Sequence[Finding]) -> dict[str, Any]:
    """What channels and strips have in common."""
    names, boxes = _box_columns(verdict)
    strongest = tuple(sorted(findings, key=lambda finding: -finding.significance))
    observed, expected = _histories(verdict, strongest[:SHOWN])
    counted = {
        "judged": judged,
        "problematic": aggregate.exactly(State.PROBLEMATIC),
        "bad": aggregate.exactly(State.BAD),
    }
    states = (
        box_states(verdict) if names == HBHE_BOXES else aggregate.unit_states(verdict.states, boxes)[:, : len(names)]
    )
    return {
        "judge": verdict.judge,
        "assessed": verdict.assessed,
        "boxes": names,
        **{
            name: aggregate.count_by_box(verdict.states, boxes, which).astype(np.int32)[:, : len(names)]
            for name, which in counted.items()
        },
        "box_states": states,
        "findings": strongest,
        "finding_observed": observed,
        "finding_expected": expected,
    }


def _box_columns(verdict: Verdict | StripVerdict) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Names of the readout boxes, and of each column the place of its own among them."""
    if isinstance(verdict, StripVerdict) or verdict.subdetector in ("HB", "HE"):
        return HBHE_BOXES, aggregate.boxes_of(verdict)
    table = verdict.channels
    sides = [f"{verdict.subdetector}{'MP'[side]}" for side in table.side]
    names = [table.box_name(row) if table.rbx[row] else sides[row] for row in range(len(table))]
    different, columns = np.unique(names, return_inverse=True)
    return tuple(different.tolist()), columns.astype(np.intp)


def _histories(verdict: Verdict | StripVerdict, findings: Sequence[Finding]) -> tuple[NDArray[np.float32], ...]:
    """(findings, LS) digis observed and expected of each one's channels; 0 at lumisections not assessed."""
    length = len(verdict.assessed)
    observed, expected = (np.zeros((len(findings), length), dtype=np.float32) for _ in range(2))
    columns_of = [np.array(finding.rows, dtype=np.intp) for finding in findings]
    for rows in row_blocks(length, 256):
        use = verdict.assessed[rows]
        for number, columns in enumerate(columns_of):
            observed[number, rows] = use * verdict.observed[rows, columns].sum(axis=1, dtype=np.float64)
            expected[number, rows] = use * verdict.expected[rows, columns].sum(axis=1, dtype=np.float64)
    return observed, expected


def _arrays(record: RunRecord) -> dict[str, NDArray[Any]]:
    """The record as named arrays; those of a sub-detector are named after it."""
    plain = {name: getattr(record, name) for name in _PLAIN}
    parts = [{name: getattr(own, name) for name in _WORDS} for own in record.parts]
    words = {**plain, "format": _FORMAT, "parts": parts, "common": record.common and _common_words(record.common)}
    arrays = {
        "words": np.array(json.dumps(words, sort_keys=True, default=_plain)),
        "lumisections": record.lumisections,
        "events": record.events,
    }
    arrays |= {"provenance": np.array(record.provenance.text())} if record.provenance else {}
    if record.common:
        arrays |= {f"common.{name}": getattr(record.common, name).astype(np.float16) for name in _SHIFTS}
        shifts = record.common.subdetector.items()
        arrays |= {f"common.subdetector.{name}": values.astype(np.float16) for name, values in shifts}
        arrays |= {"common.lumisections": record.common.lumisections}
    for subdetector in record.parts:
        arrays |= {f"{subdetector.name}.{name}": getattr(subdetector, name) for name in _ARRAYS}
    return arrays


def _plain(value: Any) -> Any:
    """What JSON has of a dataclass, or of a number of numpy's."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else np.generic.item(value)


_SHIFTS = ("log_pileup", "log_pileup_error", "half", "ring", "box")
"""Arrays of the common part, beside those of sub-detectors."""


def _common_words(common: CommonPart) -> dict[str, Any]:
    return {"subdetectors": sorted(common.subdetector), "rings": common.rings, "sentences": common.sentences}


_PLAIN = ("run", "definition", "sources", "notes", "program", "masked", "unjudged", "open_findings")
"""Words of a run's record, beside those of its parts."""
_WORDS = ("name", "granularity", "judge", "findings", "forecasts", "boxes", "trust", "trust_reason", "sensitivity")
_ARRAYS = tuple(field.name for field in fields(PartRecord) if field.name not in _WORDS)


def _fields(words: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the words, with tuples for the lists of JSON."""
    return {name: tuple(words[name]) if isinstance(words[name], list) else words[name] for name in names}


def _record(arrays: Mapping[str, NDArray[Any]]) -> RunRecord:
    words = json.loads(str(arrays["words"]))
    if words["format"] != _FORMAT:
        raise ValueError(words["format"])
    plain = {**_fields(words, _PLAIN), "sources": tuple(Source(**source) for source in words["sources"])}
    return RunRecord(
        **plain,
        lumisections=arrays["lumisections"],
        events=arrays["events"],
        parts=tuple(_part(own, arrays) for own in words["parts"]),
        provenance=provenance_of_text(str(arrays["provenance"])) if "provenance" in arrays else None,
        common=words["common"] and _common(words["common"], arrays),
    )


def _common(words: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> CommonPart:
    of = {name: arrays[f"common.subdetector.{name}"].astype(np.float32) for name in words["subdetectors"]}
    shifts = {name: arrays[f"common.{name}"].astype(np.float32) for name in _SHIFTS}
    return CommonPart(
        lumisections=arrays["common.lumisections"],
        subdetector=of,
        rings=tuple(words["rings"]),
        sentences=tuple(words["sentences"]),
        **shifts,
    )


def _finding(words: Mapping[str, Any]) -> Finding:
    ranges = tuple((first, last) for first, last in words["ranges"])
    own = {"level": Level(words["level"]), "kind": Kind(words["kind"]), "ranges": ranges, "rows": tuple(words["rows"])}
    return Finding(**{**words, **own})


def _part(words: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> PartRecord:
    own: dict[str, Any] = {name: arrays[f"{words['name']}.{name}"] for name in _ARRAYS}
    own |= {
        "judge": ModelInfo(**words["judge"]),
        "findings": tuple(map(_finding, words["findings"])),
        "forecasts": tuple(Forecast(**forecast) for forecast in words["forecasts"]),
        "trust": Trust(words["trust"]),
    }
    return PartRecord(**{**_fields(words, _WORDS), **own})
