"""The terminal's view of a run, at 80 columns."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from rich.console import Console, RenderableType

from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import CommonPart, Finding, Kind, Level, Trust
from hcal_root_ad.publish.verdict_tables import LONGEST, run_summary


def shown(parts: Iterable[RenderableType], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))
    return console.file.getvalue()  # type: ignore[attr-defined]


def cells(text: str, unit: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(unit))
    return [cell for cell in line.split("  ") if cell]


def with_findings(verdict: RunVerdict, *findings: Finding) -> RunVerdict:
    return replace(verdict, verdicts=(replace(verdict.verdicts[1], findings=findings),))


def test_a_line_for_each_finding_the_strongest_first(verdict: RunVerdict) -> None:
    text = shown(run_summary(verdict))
    lines = text.splitlines()
    assert lines[0].rstrip() == "Run 370101: 2 findings in 11 of 12 LS of HB and HE"
    assert lines[1].split() == ["unit", "what", "kind", "LS", "rate", "how", "sure"]
    assert lines[2].split() == ["✖", "HEP07", "RBX", "of", "188", "dead", "5–12", "×0", "certain", ">40σ"]
    assert lines[3].split()[:6] == ["✖", "HB", "+4/33/2", "channel", "hot", "10–13"]
    assert len(lines) == 4


def test_names_are_whole_in_80_columns(verdict: RunVerdict) -> None:
    he = verdict.verdicts[1].findings[0]
    card = replace(he, unit="HBP17-RM4-card3", level=Level.CARD, kind=Kind.DEGRADED, rows=tuple(range(16)), observed=9,
                   size=0.85, size_error=0.01)  # fmt: skip
    flickering = replace(card, unit="HE |ieta| 26 depth 3", level=Level.RING, duty=31 / 80, ranges=((20, 99),),
                         lumisections=31)  # fmt: skip
    text = shown(run_summary(with_findings(verdict, he, card, flickering)))
    assert all(len(line) <= 80 for line in text.splitlines())
    for whole in ("HBP17-RM4-card3", "HE |ieta| 26 depth 3", "degraded", "×0.85", "certain", "20–99: 31/80"):
        assert whole in text
    assert "20–99: 31/80 means: it comes and goes in LS 20–99, flagged in 31 of 80 LS" in text
    assert len(text.splitlines()) == 6


def test_channels_without_a_unit_are_one_line_and_a_weak_one_is_explained(verdict: RunVerdict) -> None:
    he = verdict.verdicts[1].findings[0]
    crowd = replace(he, unit="11 channels of HEM03", level=Level.CHANNELS, rows=tuple(range(11)))
    weak = replace(he, unit="HE +20/5/3", level=Level.CHANNEL, rows=(3,), significance=5.24)
    lines = shown(run_summary(with_findings(verdict, crowd, weak))).splitlines()
    assert lines[2].split()[:4] == ["✖", "HEM03", "11", "channels"]
    assert lines[3].split()[-2:] == ["weak", "5.2σ"]
    # One false finding per 100 LS was asked for, and 11 LS of HE were judged.
    assert lines[4] == "weak: may be chance, which gives about 0.1 such in a run as long as this one."


def test_thirty_two_findings_take_at_most_36_lines(verdict: RunVerdict) -> None:
    channel = replace(verdict.verdicts[0].findings[0], subdetector="HE")
    many = [replace(channel, unit=f"HE +20/{n}/3", significance=50.0 - n) for n in range(30)]
    modules = [replace(channel, unit=f"HEP07-RM{n}", level=Level.RM, significance=8.0) for n in (1, 2)]
    text = shown(run_summary(with_findings(verdict, *many, *modules)))
    assert len(text.splitlines()) <= 36
    assert "and 2 weaker ones (2 RMs); --json FILE and the report have all" in text
    assert text.count("HE +20") == LONGEST == 30


def test_nothing_flagged_is_one_sentence(small_run: SimpleNamespace) -> None:
    quiet = replace(small_run.verdict("HB"), findings=(), intervals=())
    text = shown(run_summary(RunVerdict(small_run.maps(), (quiet,))))
    assert text == "Run 370101: nothing is flagged in 11 of 12 LS of HB.\n"


def test_trust_comes_first_and_conditions_last(verdict: RunVerdict) -> None:
    hb, he = verdict.verdicts
    nothing = np.zeros((12, 0), dtype=np.float32)
    common = CommonPart(he.lumisections, nothing, nothing, {}, nothing, nothing, (), nothing, ("The mix changed.",))
    doubtful = replace(he, trust=Trust.OTHER_PERIOD, sensitivity=2.1)
    lines = shown(run_summary(replace(verdict, verdicts=(hb, doubtful), common=common)), width=160).splitlines()
    assert lines[0] == (
        "Trust: HE: NOT TRUSTED, judged by a model of another period; less sensitive: "
        "shifts must be 2.1 times as large."
    )
    assert lines[-2:] == ["Conditions:", "  The mix changed."]


def test_strips_are_called_strips(strip_verdict: RunVerdict) -> None:
    text = shown(run_summary(strip_verdict))
    assert "11 of 12 LS of its strips" in text
    assert "RBX of 4" in text
    assert text.startswith("Trust: strips: NOT TRUSTED, no reference (each strip against its own share)")
