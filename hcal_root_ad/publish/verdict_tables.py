"""A verdict as tables: findings for a terminal, channel intervals as CSV, and everything as JSON.

The schema of the JSON document is in ``docs/verdict_json.md``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.files import whole_file, write_text
from hcal_root_ad.judge.run_verdict import RunVerdict, enumerated, trust_of_run
from hcal_root_ad.judge.verdict import (
    STEADY,
    CommonPart,
    Finding,
    Level,
    Named,
    State,
    StripVerdict,
    Verdict,
    how_large,
    how_sure,
    what,
)
from hcal_root_ad.lumi_maps import listed, ranges_of
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.tables import write_rows

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LONGEST = 30
"""Findings shown at most; those beyond are counted."""
CAPPED = 40
"""Standard deviations are shown up to this: beyond, their number means nothing more."""
_STYLE = {State.BAD: "red", State.PROBLEMATIC: "yellow"}
_SIGNS = {State.BAD: "✖", State.PROBLEMATIC: "▲"}
_STRETCHES, _WIDTH = 2, 15
"""Stretches of a fault that are listed, and characters that they may take; else they are counted."""


def run_summary(verdict: RunVerdict) -> Iterator[RenderableType]:
    """Sentences and a table: trust where there is something to say, findings, conditions."""
    findings = verdict.every_finding
    yield from (f"Trust: {sentence}" for sentence in trust_of_run(verdict))
    if findings:
        yield f"Run {verdict.maps.run}: {len(findings)} finding{'s' * (len(findings) != 1)} in {_judged_part(verdict)}"
        yield _table(findings[:LONGEST])
        if hidden := _hidden(findings[LONGEST:]):
            yield hidden
        yield from _legend(findings[:LONGEST], verdict)
    else:
        yield f"Run {verdict.maps.run}: nothing is flagged in {_judged_part(verdict)}."
    if verdict.common and verdict.common.sentences:
        yield "Conditions:"
        yield from (f"  {sentence}" for sentence in verdict.common.sentences)


def _table(findings: Sequence[Named]) -> Table:
    """One line each, within 80 columns."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "unit", "what", "kind", "LS", "rate", "how sure"):
        table.add_column(name, no_wrap=name != "LS")
    for finding, noun in findings:
        unit = finding.unit.partition(" of ")[2] if finding.level is Level.CHANNELS else finding.unit
        rate = how_large(finding).partition(" ±")[0]
        table.add_row(
            _SIGNS[finding.state], unit or finding.unit, _what(finding, noun), str(finding.kind), _when(finding), rate,
            _how_sure(finding), style=_STYLE[finding.state],
        )  # fmt: skip
    return table


def _what(finding: Finding, noun: str) -> str:
    """``channel``, ``RBX of 184``, ``11 channels``."""
    if finding.level in (Level.CHANNEL, Level.CHANNELS):
        return what(finding, noun)
    return f"{str(finding.level).removeprefix('QIE ').removeprefix('phi ')} of {finding.channels:,}"


def _when(finding: Finding) -> str:
    """``18–31``, ``5–9, 20–31``, or ``20–99: 31/80`` where it flickers."""
    words = listed(finding.ranges)
    steady = finding.duty >= STEADY or len(finding.ranges) > 1
    if steady and len(finding.ranges) <= _STRETCHES and len(words) <= _WIDTH:
        return words
    span = round(finding.lumisections / finding.duty) if finding.duty > 0 else finding.lumisections
    return f"{listed([(finding.first, finding.last)])}: {finding.lumisections}/{span}"


def _how_sure(finding: Finding) -> str:
    significance = f">{CAPPED}σ" if finding.significance > CAPPED else f"{finding.significance:.1f}σ"
    return f"{how_sure(finding)} {significance}"


def _legend(findings: Sequence[Named], verdict: RunVerdict) -> Iterator[str]:
    """What is to be explained of the table."""
    if flickers := next((words for finding, _ in findings if "/" in (words := _when(finding))), ""):
        where, _, share = flickers.partition(": ")
        number, _, of = share.partition("/")
        yield f"{flickers} means: it comes and goes in LS {where}, flagged in {number} of {of} LS"
    if any(how_sure(finding) == "weak" for finding, _ in findings):
        judged = (each for each in verdict.verdicts if each.granularity == "lumisection")
        chance = sum(each.judge.false_alarms * float(each.assessed.sum()) / 100 for each in judged)
        yield f"weak: may be chance, which gives about {chance:.1g} such in a run as long as this one."


def _hidden(findings: Sequence[Named]) -> str:
    """How many weaker findings are not shown, by what they are about; "" without any."""
    if not findings:
        return ""
    levels = Counter(str(finding.level) for finding, _ in findings).most_common()
    counted = ", ".join(f"{n} {level}{'s' * (n > 1 and level[-1] not in 'sX')}" for level, n in levels)
    return f"and {len(findings)} weaker ones ({counted}); --json FILE and the report have all"


def _judged_part(verdict: RunVerdict) -> str:
    """``58 of 60 LS of HB and HE``, or what else was judged."""
    per_lumisection = [each for each in verdict.verdicts if each.granularity == "lumisection"]
    names = [each.subdetector for each in verdict.verdicts]
    parts: list[str] = []
    if per_lumisection:
        assessed = np.logical_or.reduce([each.assessed for each in per_lumisection])
        parts.append(f"{_of(assessed)} LS of {enumerated(names)}")
    elif names:
        parts.append(f"the run as a whole of {enumerated(names)}")
    if verdict.strips:
        parts.append(f"{_of(verdict.strips.assessed)} LS of its strips")
    return " and ".join(parts) or "nothing"


def _of(assessed: NDArray[np.bool_]) -> str:
    judged, length = int(assessed.sum()), len(assessed)
    return f"{judged:,}" if judged == length else f"{judged:,} of {length:,}"


def write_flags(verdict: RunVerdict | Sequence[RunVerdict], path: Path) -> None:
    """Write the intervals of one run or several, one row per channel and interval.

    Strips (files without maps per lumisection) have no ieta, depth and RM. Raises OutputError if the
    file cannot be written; a file of that name is replaced only by a whole one.
    """
    from hcal_root_ad.judge.views import COLUMNS, flag_rows

    runs = [verdict] if isinstance(verdict, RunVerdict) else verdict
    path = Path(path)
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [COLUMNS])
        for run in runs:
            write_rows(file, flag_rows(run))


SCHEMA = 1
"""Raised when a key is renamed, removed or changes its meaning; new keys may come without."""
_DIGITS = 6


def verdicts_table(verdicts: Sequence[RunVerdict], provenance: Provenance) -> dict[str, Any]:
    """The document as a table; numbers that are not known are None."""
    return {
        "schema": SCHEMA,
        "program": f"hcal-root-ad {version('hcal-root-ad')}",
        "provenance": provenance.as_table(),
        "runs": [_run(verdict) for verdict in verdicts],
    }


def write_verdicts(verdicts: Sequence[RunVerdict], provenance: Provenance, path: Path) -> None:
    """Write the document, whole or not at all; raises OutputError where it cannot be written."""
    write_text(path, json.dumps(verdicts_table(verdicts, provenance), allow_nan=False, ensure_ascii=False) + "\n")


def _run(verdict: RunVerdict) -> dict[str, Any]:
    strips = {"strips": _judged(verdict.strips)} if verdict.strips else {}
    subdetectors = {each.subdetector: {**_judged(each), "granularity": each.granularity} for each in verdict.verdicts}
    return {
        "run": verdict.maps.run,
        "lumisections": [list(ends) for ends in ranges_of(verdict.maps.lumisections)],
        "events": int(verdict.maps.events.sum()),
        "trust": str(verdict.trust),
        "trusted": verdict.trust.trusted,
        "subdetectors": subdetectors,
        **strips,
        "findings": [_finding(finding, noun, verdict) for finding, noun in verdict.every_finding],
        "conditions": verdict.common and _conditions(verdict.common),
        "masked": list(verdict.masked),
        "open_findings": list(verdict.open_findings),
        "notes": list(verdict.every_note),
    }


def _judged(verdict: Verdict | StripVerdict) -> dict[str, Any]:
    """Which lumisections were judged, by what, and how far that is trusted."""
    judge = verdict.judge
    return {
        "judged": [list(ends) for ends in ranges_of(verdict.lumisections[verdict.assessed])],
        "model": {"name": judge.name, "version": judge.version, "digest": judge.digest},
        "false_alarms": judge.false_alarms,
        "trust": str(verdict.trust),
        "trusted": verdict.trust.trusted,
        "trust_reason": verdict.trust_reason,
        "sensitivity": _number(verdict.sensitivity),
    }


def _finding(finding: Finding, noun: str, verdict: RunVerdict) -> dict[str, Any]:
    return {
        "subdetector": finding.subdetector,
        "level": str(finding.level),
        "unit": finding.unit,
        "kind": str(finding.kind),
        "state": finding.state.name.lower(),
        "ranges": [list(ends) for ends in finding.ranges],
        "lumisections": finding.lumisections,
        "duty": _number(finding.duty),
        "channels": finding.channels,
        "cells": _cells(finding, verdict) if noun == "channel" else [],
        "observed": finding.observed,
        "expected": _number(finding.expected),
        "size": _number(finding.size) if finding.expected > 0 else None,
        "size_error": _number(finding.size_error) if finding.expected > 0 else None,
        "significance": _number(finding.significance),
        "sure": how_sure(finding),
    }


def _cells(finding: Finding, verdict: RunVerdict) -> list[list[int]]:
    """ieta, iphi and depth of its channels."""
    (table,) = (each.channels for each in verdict.verdicts if each.subdetector == finding.subdetector)
    rows = np.array(finding.rows, dtype=np.intp)
    cells: list[list[int]] = np.stack([table.ieta[rows], table.iphi[rows], table.depth[rows]], axis=1).tolist()
    return cells


def _conditions(common: CommonPart) -> dict[str, Any]:
    return {
        "sentences": list(common.sentences),
        "lumisections": common.lumisections.tolist(),
        "log_pileup": _numbers(common.log_pileup),
        "log_pileup_error": _numbers(common.log_pileup_error),
        "subdetector": {name: _numbers(shift) for name, shift in common.subdetector.items()},
    }


def _numbers(values: NDArray[np.floating[Any]]) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    """For people's eyes, too: six figures; None where it is not finite."""
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
