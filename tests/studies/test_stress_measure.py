"""What is measured of a judge, by answers that are made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.unit_names import rows_of_unit
from studies.stress.judged import Certified, JudgedRun, Line, refused
from studies.stress.measure import Numbers, false_intervals, measure
from studies.stress.truth import truth_of
from studies.stress.worlds import WorldRuns

G, B = Certified.GOOD, Certified.BAD


def answer(runs: WorldRuns, *lines: Line, certification: tuple[Certified, ...] = (G,) * 6) -> JudgedRun:
    """A judge's answer: the flagged pairs are those of its lines."""
    flagged = np.zeros(runs.judged.maps.counts.shape, dtype=np.bool_)
    for line in lines:
        for first, last in line.ranges:
            flagged[first - 1 : last, list(line.rows)] = True
    return JudgedRun(lines, flagged, "a test", True, certification)


def line(runs: WorldRuns, unit: str, first: int, last: int, size: float | None = None) -> Line:
    rows = rows_of_unit(runs.judged.maps.channels, unit)
    rows = rows[runs.judged.detector.live[rows]]
    return Line(unit, "dead", ((first, last),), tuple(rows.tolist()), size)


def measured(runs: WorldRuns, *lines: Line, **options: tuple[Certified, ...]) -> Numbers:
    return measure(runs, answer(runs, *lines, **options), truth_of(runs, load_policy()))


def test_the_right_answer(runs: WorldRuns) -> None:
    numbers = measured(runs, line(runs, "HEP07", 3, 4, 0.0), certification=(G, G, B, B, G, G))
    assert (numbers["lines"], numbers["false_lines"], numbers["false_intervals"]) == (1, 0, 0)
    assert (numbers["faults"], numbers["found"]) == (1, 1)
    pairs = 2 * len(runs.faults[0].rows)
    assert numbers["capture"] == {"RBX dead": [pairs, pairs]}
    assert numbers["sizes"] == [("RBX dead", 0.0, 0.0)]


def test_silence_finds_nothing_and_certifies_bad_lumisections(runs: WorldRuns) -> None:
    numbers = measured(runs)
    assert (numbers["lines"], numbers["found"]) == (0, 0)
    assert numbers["capture"]["RBX dead"][0] == 0
    # LS 2 to 5 lie at the fault's edges.
    assert numbers["certification"]["good_good"] == 2
    assert numbers["certification"]["bad_good"] == 0


def test_a_refusal_is_neither_right_nor_wrong(runs: WorldRuns) -> None:
    numbers = measure(runs, refused(runs.judged.maps, "too few events"), truth_of(runs, load_policy()))
    assert (numbers["lines"], numbers["found"], numbers["trusted"]) == (0, 0, False)
    assert numbers["certification"]["good_notset"] == 2


def test_half_of_the_fault_by_its_modules(runs: WorldRuns) -> None:
    one, two, three = (line(runs, f"HEP07-RM{number}", 3, 4) for number in (1, 2, 3))
    assert measured(runs, one, two)["found"] == 0
    numbers = measured(runs, one, two, three)
    assert (numbers["found"], numbers["lines"], numbers["false_lines"]) == (1, 3, 0)
    assert numbers["sizes"] == []


def test_a_line_of_more_sound_than_faulty_channels_is_false(runs: WorldRuns) -> None:
    # The dead box is one of 18 boxes of its half.
    numbers = measured(runs, line(runs, "HEP", 3, 4))
    assert (numbers["false_lines"], numbers["found"]) == (1, 0)
    assert numbers["false_units"] == ["HEP"]


def test_a_line_at_another_time_is_false(runs: WorldRuns) -> None:
    numbers = measured(runs, line(runs, "HEP07", 6, 6))
    assert (numbers["false_lines"], numbers["found"]) == (1, 0)
    assert numbers["false_intervals"] == len(runs.faults[0].rows)


def test_the_true_size_is_that_of_the_lines_own_pairs(runs: WorldRuns) -> None:
    # LS 3 and 4 are dead, 5 and 6 sound: half of the digis are there.
    numbers = measured(runs, line(runs, "HEP07", 3, 6, 0.4))
    ((kind, size, true),) = numbers["sizes"]
    assert (kind, size) == ("RBX dead", 0.4)
    assert true == pytest.approx(0.5, abs=0.02)


def test_intervals_are_stretches_of_one_channel() -> None:
    flagged = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=np.bool_)
    nothing = np.zeros_like(flagged)
    # Channel 0: LS 1–2 and 4; channel 1: LS 3–4; channel 2: LS 1 and 3–4.
    assert false_intervals(flagged, nothing) == 5
    allowed = nothing.copy()
    allowed[1, 0] = allowed[3, 1] = True
    assert false_intervals(flagged, allowed) == 3
    assert false_intervals(nothing, nothing) == 0
