"""What a table shows, said of rows made by hand."""

from __future__ import annotations

import pytest

from studies.evaluate.campaign import Row
from studies.evaluate.findings import findings
from studies.evaluate.summary import Entry, summary

KINDS, SCALES = ("R=0", "R=0.8"), ("channel", "RM")


def row(system: str, *partial: float, deep: bool = False) -> Row:
    """Partial AUC of R=0 and R=0.8 single channels and modules."""
    names = [f"{kind} {scale} persistent" for kind in KINDS for scale in SCALES]
    conditions = {name: {"partial_auc": value, "auc": value} for name, value in zip(names, partial, strict=True)}
    return {
        "system": system,
        "subdetector": "HE",
        "deep": deep,
        "runs": [{"conditions": conditions, "overall": {}}],
    }


LIMITS = [row("oracle", 1, 1, 0.5, 0.5), row("oracle (whole unit)", 1, 1, 0.5, 1)]
PLAIN = row("template", 1, 1, 0.4, 0.4)
DEEP = row("graphstad", 0.5, 0.5, 0.2, 0.2, deep=True)


def entries(*rows: Row) -> list[Entry]:
    return summary([*LIMITS, *rows], "HE")


def said(*rows: Row) -> list[str]:
    return findings(entries(*rows), KINDS, SCALES)


def test_shares_by_hand() -> None:
    template = entries(PLAIN)[-1]
    assert template.of_channel.mean == pytest.approx((1 + 1 + 0.8 + 0.8) / 4)
    assert template.of_unit.mean == pytest.approx((1 + 1 + 0.8 + 0.4) / 4)
    assert (template.of_unit.worst_kind, template.of_unit.of_worst_kind) == ("R=0.8", pytest.approx(0.6))
    assert (template.of_unit.worst, template.of_unit.of_worst) == ("R=0.8 RM persistent", 0.4)
    assert template.share("R=0.8", "RM") == 0.4
    assert template.of_kind("R=0.8") == 0.4


def test_the_limits_are_first_and_then_the_best() -> None:
    assert [entry.name for entry in entries(DEEP, PLAIN)] == ["oracle (whole unit)", "oracle", "template", "graphstad"]


def test_the_best_and_plain_against_deep() -> None:
    best, deep = said(DEEP, PLAIN)
    assert best.startswith("Best is *template*: its partial AUC is 0.800 of the whole unit's limit")
    assert "*graphstad* (0.400), does not beat the best of the other plain systems, *template* (0.800)" in deep


def test_ours_ahead_everywhere() -> None:
    sentence = said(PLAIN, row("ours", 0.995, 1, 0.45, 0.9))[1]
    assert "is ahead of every other system, or both are within 1% of the limit, for every fault kind" in sentence


def test_exceptions_are_named() -> None:
    sentence = said(PLAIN, row("ours", 0.9, 1, 0.45, 0.3))[1]
    assert "for 2 of 4 pairs" in sentence
    assert "R=0 channel (0.900 against 1.000 of *template*)" in sentence
    assert "R=0.8 RM (0.300 against 0.400 of *template*)" in sentence


def test_what_the_network_adds() -> None:
    without = row("ours without network", 1, 1, 0.4, 0.9)
    assert "adds nothing" in said(without, row("ours", 1, 1, 0.4, 0.9, deep=True))[-1]
    better = said(without, row("ours", 1, 1, 0.4, 0.98, deep=True))[-1]
    assert "adds: with it ours has +0.0200" in better
    assert "in 1 of 4 pairs of kind and scale, behind in 0" in better
