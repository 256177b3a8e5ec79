"""The truth as a record, by hand: which channels are bad, where, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hcal_root_ad.certify.certification import certify_run
from hcal_root_ad.certify.policy import load_policy
from studies.true_certification import near_edges, true_record

HEP07 = 3 * 18 + 6
LAST = 8


def fault(cells: list[list[Any]], first: int, last: int, factor: Any, added: Any = 0.0) -> dict[str, Any]:
    return {"first_ls": first, "last_ls": last, "factor": factor, "added": added, "channels": cells}


@pytest.fixture
def truth() -> dict[str, Any]:
    """HEP07 is dead from LS 3 to 5; LS 7 has no collisions, LS 8 too few events."""
    from hcal_root_ad.detector import channel_table

    table = channel_table("Run3").select("HE")
    box = table.take((table.rbx == 7) & (table.ieta > 0) & table.instrumented)
    cells = [["HE", *map(int, cell)] for cell in zip(box.ieta, box.iphi, box.depth, strict=True)]
    return {
        "run": 371001, "era": "Run3", "lumisections": LAST, "events": [1500] * 7 + [99], "no_collisions_ls": [7],
        "masked": [cells[0], ["HF", 30, 1, 1]], "faults": [fault(cells[1:], 3, 5, 0.0)],
    }  # fmt: skip


def test_a_dead_box_is_counted_in_its_box_and_lumisections(truth: dict[str, Any]) -> None:
    _, he = true_record(truth).parts
    channels = len(truth["faults"][0]["channels"])
    assert he.bad[:, HEP07].tolist() == [0, 0, channels, channels, channels, 0, 0, 0]
    assert he.bad.sum() == 3 * channels
    assert he.judged[2, HEP07] == channels
    assert he.assessed.tolist() == [True] * 6 + [False, False]


def test_the_policy_says_of_it_what_it_should(truth: dict[str, Any]) -> None:
    run = certify_run(true_record(truth), load_policy())
    assert run.good() == [(1, 2), (6, 6)]


@pytest.mark.parametrize(
    ("factor", "added", "bad", "problematic"),
    [(0.1, 0.0, 1, 0), (0.11, 0.0, 0, 1), (1.2, 0.0, 0, 1), (1.5, 0.0, 1, 0), (1.0, 0.2, 1, 0), (1.0, 0.0, 0, 0)],
)
def test_kinds_of_faults(truth: dict[str, Any], factor: float, added: float, bad: int, problematic: int) -> None:
    truth["faults"] = [fault([["HB", 4, 33, 2]], 2, 2, factor, added)]
    hb, _ = true_record(truth).parts
    assert (hb.bad[1].sum(), hb.problematic[1].sum()) == (bad, problematic)


def test_a_course_counts_in_each_lumisection_as_it_is(truth: dict[str, Any]) -> None:
    truth["faults"] = [fault([["HB", 4, 33, 2]], 2, 5, [0.0, 1.0, 0.5, 1.0])]
    hb, _ = true_record(truth).parts
    assert hb.bad.sum(axis=1).tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert hb.problematic.sum(axis=1).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


def test_edges(truth: dict[str, Any]) -> None:
    assert near_edges(truth) == [(2, 6)]
    assert near_edges({"faults": [fault([], 10, 20, 0.0)]}) == [(9, 11), (19, 21)]
    assert np.array(near_edges({"faults": []})).size == 0
