"""A certification and the flags of people: every number by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hcal_root_ad.certify.agreement import TABLE, TABLE_COLUMNS, score_certification
from hcal_root_ad.errors import InputError

STATUSES = ["GOOD", "GOOD", "BAD", "BAD", "BAD", "GOOD", "NOTSET", "STANDBY"]
PROBLEMATIC = [0, 100, 400, 500, 50, 0, 0, 0]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """Run 370101 of eight LS: HB as above, HE without fault; 1000 channels of each are judged."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    with (folder / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, TABLE_COLUMNS, restval="0")
        writer.writeheader()
        for ls, (status, problematic) in enumerate(zip(STATUSES, PROBLEMATIC, strict=True), start=1):
            he = status if status in ("NOTSET", "STANDBY") else "GOOD"
            counts = {"hb_judged": 1000, "hb_problematic": problematic, "he_judged": 1000, "he_problematic": 0}
            writer.writerow({"run": 370101, "lumisection": ls, "status": status, "hb": status, "he": he, **counts})
    return folder


def labels(folder: Path, *ranges: tuple[int, int, str], column: str = "hcal-hcal") -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps({"370101": [{"start": a, "end": b, column: {"status": s}} for a, b, s in ranges]}))
    return path


def test_precision_recall_and_ranking_by_hand(campaign: Path, tmp_path: Path) -> None:
    """People say BAD in LS 2 to 4 and 7; LS 7 and 8 were not judged here, so six LS count."""
    there = labels(tmp_path, (1, 1, "GOOD"), (2, 4, "BAD"), (5, 6, "GOOD"), (7, 7, "BAD"), (8, 8, "GOOD"))
    (hcal,) = score_certification(campaign, there)
    assert (hcal.of, hcal.runs, hcal.lumisections, hcal.bad, hcal.flagged, hcal.agreed) == ("HCAL", 1, 6, 3, 3, 4)
    # Found 3, of which LS 3 and 4 are right; of 3 bad ones LS 2 is missed. Shares 0.1, 0.4, 0.5 against 0, 0.05, 0.
    expected = {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "auc": 1.0}
    assert {name: numbers[0] for name, numbers in hcal.numbers.items()} == pytest.approx(expected)


def test_a_golden_json_says_what_is_not_good(campaign: Path, tmp_path: Path) -> None:
    there = tmp_path / "golden.json"
    there.write_text(json.dumps({"370101": [[1, 2], [6, 8]]}))
    (hcal,) = score_certification(campaign, there)
    assert hcal.agreed == hcal.lumisections == 6


def test_a_sub_detector_has_the_flags_of_its_own_column(campaign: Path, tmp_path: Path) -> None:
    there = tmp_path / "labels.json"
    flags = {"hcal-hcal": {"status": "BAD"}, "hcal-he": {"status": "GOOD"}}
    there.write_text(json.dumps({"370101": [{"start": 1, "end": 6, **flags}]}))
    scores = {score.of: score for score in score_certification(campaign, there)}
    assert set(scores) == {"HCAL", "HE"}
    assert (scores["HE"].bad, scores["HE"].agreed) == (0, 6)


def test_flags_of_other_runs_are_refused(campaign: Path, tmp_path: Path) -> None:
    there = tmp_path / "labels.json"
    there.write_text(json.dumps({"1": [[1, 2]]}))
    with pytest.raises(InputError, match="no lumisection in common"):
        score_certification(campaign, there)


def test_a_folder_that_is_no_campaign_is_refused(campaign: Path, tmp_path: Path) -> None:
    there = labels(tmp_path, (1, 8, "GOOD"))
    with pytest.raises(InputError, match=r"There is no file .*lumisections\.csv"):
        score_certification(tmp_path, there)
    (campaign / TABLE).write_text("run,lumisection\n370101,1\n")
    with pytest.raises(InputError, match=r"lacks the columns (bad|cause)"):
        score_certification(campaign, there)
