"""Words for findings and trust, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcal_root_ad.judge.run_verdict import RunVerdict, enumerated, trust_of_run, trust_sentences
from hcal_root_ad.judge.verdict import Finding, Kind, Level, Trust, how_large, how_sure, what, when

STEADY = Finding("HE", Level.RBX, "HEP07", Kind.DEGRADED, ((18, 31),), 14, 1.0, tuple(range(184)), 850, 1000.0, 0.85,
                 0.012, 7.0)  # fmt: skip


def finding(**changes: object) -> Finding:
    return replace(STEADY, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "channels", "noun", "words"),
    [
        (Level.RBX, 184, "channel", "RBX, 184 channels"),
        (Level.CARD, 16, "channel", "QIE card, 16 channels"),
        (Level.RBX, 4, "strip", "RBX, 4 strips"),
        (Level.RM, 1, "strip", "RM, 1 strip"),
        (Level.CHANNEL, 1, "channel", "channel"),
        (Level.CHANNEL, 1, "strip", "strip"),
        (Level.CHANNELS, 4100, "channel", "4,100 channels"),
        (Level.SUBDETECTOR, 6624, "channel", "sub-detector, 6,624 channels"),
    ],
)
def test_what_fails(level: Level, channels: int, noun: str, words: str) -> None:
    assert what(finding(level=level, rows=tuple(range(channels))), noun) == words


@pytest.mark.parametrize(
    ("ranges", "lumisections", "duty", "words"),
    [
        (((18, 31),), 14, 1.0, "18–31"),
        (((7, 7),), 1, 1.0, "7"),
        (((18, 31),), 13, 13 / 14, "18–31"),
        (((20, 99),), 31, 31 / 80, "flickers: 31 of 80 LS, 20–99"),
        (((5, 9), (20, 31)), 17, 17 / 27, "5–9, 20–31"),
        (((1, 2), (11, 12), (21, 22), (31, 32)), 8, 8 / 32, "flickers: 8 of 32 LS, 1–32"),
    ],
)
def test_when(ranges: tuple[tuple[int, int], ...], lumisections: int, duty: float, words: str) -> None:
    assert when(finding(ranges=ranges, lumisections=lumisections, duty=duty)) == words


@pytest.mark.parametrize(
    ("observed", "size", "error", "words"),
    [
        (850, 0.85, 0.012, "×0.85 ± 0.01"),
        (850, 0.85, 0.001, "×0.85 ± 0.01"),
        (0, 0.0, 0.0, "×0"),
        (3000, 30.2, 2.1, "×30 ± 2"),
        (7, 7e9, 1e9, "over ×1000"),
    ],
)
def test_how_large(observed: int, size: float, error: float, words: str) -> None:
    assert how_large(finding(observed=observed, size=size, size_error=error)) == words


@pytest.mark.parametrize(("sigma", "word"), [(7.0, "certain"), (6.9, "likely"), (6.0, "likely"), (5.9, "weak")])
def test_how_sure(sigma: float, word: str) -> None:
    assert how_sure(finding(significance=sigma)) == word


@pytest.mark.parametrize(
    ("names", "words"),
    [((), ""), (("HB",), "HB"), (("HB", "HE"), "HB and HE"), (("HB", "HE", "HF"), "HB, HE and HF")],
)
def test_names_in_a_sentence(names: tuple[str, ...], words: str) -> None:
    assert enumerated(names) == words


def test_strips_become_findings_of_their_unit(strip_verdict: RunVerdict) -> None:
    ((box, noun),) = strip_verdict.every_finding
    assert (box.unit, box.level, box.kind, noun) == ("HEP07", Level.RBX, Kind.DEAD, "strip")
    assert (box.ranges, box.lumisections, box.duty, box.channels) == (((5, 12),), 7, 1.0, 4)
    assert (box.observed, box.size) == (0, 0.0)
    assert box.significance == 23.5


def test_the_strongest_comes_first(verdict: RunVerdict) -> None:
    assert [one.unit for one, _ in verdict.every_finding] == ["HEP07", "HB +4/33/2"]


def test_a_trusted_run_needs_no_word_and_alike_subdetectors_one(verdict: RunVerdict) -> None:
    assert trust_of_run(verdict) == ()
    doubtful = {
        one.subdetector: replace(one, trust=Trust.NONE, trust_reason="No model fits.") for one in verdict.verdicts
    }
    assert trust_sentences(doubtful) == ("HB and HE: NOT TRUSTED, no reference (No model fits).",)


@pytest.mark.parametrize(("sensitivity", "said"), [(1.6, False), (1.61, True)])
def test_a_loss_of_sensitivity_is_said_where_it_matters(verdict: RunVerdict, sensitivity: float, said: bool) -> None:
    he = replace(verdict.verdicts[1], sensitivity=sensitivity)
    sentence = "HE: less sensitive: shifts must be 1.6 times as large."
    assert trust_sentences({"HE": he}) == ((sentence,) if said else ())
