"""What was found in a run, for a terminal of 80 columns: how far to trust it, the findings, the conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table

from hcal_root_ad.judge.verdict import RunVerdict, State
from hcal_root_ad.judge.wording import (
    Named,
    enumerated,
    every_finding,
    how_large,
    how_sure,
    trust_of_run,
    what,
    when,
)

LONGEST = 30
"""Findings shown at most; those beyond are counted."""
_STYLE = {State.BAD: "red", State.PROBLEMATIC: "yellow"}


def run_summary(verdict: RunVerdict) -> Iterator[RenderableType]:
    """Sentences and a table: trust where there is something to say, findings, conditions."""
    findings = every_finding(verdict)
    yield from (f"Trust: {sentence}" for sentence in trust_of_run(verdict))
    if findings:
        yield f"Run {verdict.maps.run}: {len(findings)} finding{'s' * (len(findings) != 1)} in {_judged(verdict)}"
        yield _table(findings[:LONGEST])
        if hidden := _hidden(findings[LONGEST:]):
            yield hidden
    else:
        yield f"Run {verdict.maps.run}: nothing is flagged in {_judged(verdict)}."
    if verdict.common and verdict.common.sentences:
        yield "Conditions:"
        yield from (f"  {sentence}" for sentence in verdict.common.sentences)


def _table(findings: Sequence[Named]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("unit", "what", "kind", "LS", "rate", "how sure"):
        table.add_column(name, no_wrap=name in ("unit", "kind", "rate"))
    for finding, noun in findings:
        table.add_row(
            finding.unit, what(finding, noun), str(finding.kind), when(finding), how_large(finding), how_sure(finding),
            style=_STYLE[finding.state],
        )  # fmt: skip
    return table


def _hidden(findings: Sequence[Named]) -> str:
    """How many weaker findings are not shown, by what they are about; "" without any."""
    if not findings:
        return ""
    levels = Counter(str(finding.level) for finding, _ in findings)
    counted = ", ".join(f"{number} {level}" for level, number in levels.most_common())
    return f"and {len(findings)} weaker ones ({counted}); --json FILE and the report have all"


def _judged(verdict: RunVerdict) -> str:
    """``58 of 60 LS of HB and HE``, or what else was judged."""
    per_lumisection = [one for one in verdict.verdicts if one.granularity == "lumisection"]
    names = [one.subdetector for one in verdict.verdicts]
    parts: list[str] = []
    if per_lumisection:
        assessed = np.logical_or.reduce([one.assessed for one in per_lumisection])
        parts.append(f"{_of(assessed)} LS of {enumerated(names)}")
    elif names:
        parts.append(f"the run as a whole of {enumerated(names)}")
    if verdict.strips:
        parts.append(f"{_of(verdict.strips.assessed)} LS of its strips")
    return " and ".join(parts) or "nothing"


def _of(assessed: NDArray[np.bool_]) -> str:
    judged, length = int(assessed.sum()), len(assessed)
    return f"{judged:,}" if judged == length else f"{judged:,} of {length:,}"
