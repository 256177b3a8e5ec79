"""The JSON document: every key by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import CommonPart, Trust
from hcal_root_ad.provenance import provenance_of_run
from hcal_root_ad.publish.verdict_tables import write_verdicts


def written(verdicts: list[RunVerdict], folder: Path) -> dict[str, Any]:
    path = folder / "new" / "verdict.json"
    write_verdicts(verdicts, provenance_of_run(verdicts[0]), path)
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


def test_a_finding_has_all_its_numbers(verdict: RunVerdict, tmp_path: Path) -> None:
    table = written([verdict], tmp_path)
    assert (table["schema"], table["provenance"]["trust"]) == (1, {"HB": "adapted model", "HE": "adapted model"})
    (run,) = table["runs"]
    assert (run["run"], run["lumisections"], run["trust"], run["trusted"]) == (
        370101, [[1, 7], [9, 13]], "adapted model", True,
    )  # fmt: skip
    box, channel = run["findings"]
    cells = box.pop("cells")
    assert box.pop("expected") == pytest.approx(verdict.verdicts[1].findings[0].expected, rel=1e-5)
    assert box == {
        "subdetector": "HE", "level": "RBX", "unit": "HEP07", "kind": "dead", "state": "bad", "ranges": [[5, 12]],
        "lumisections": 7, "duty": 1.0, "channels": 188, "observed": 0, "size": 0.0, "size_error": 0.0,
        "significance": pytest.approx(13.6 * 188**0.5, rel=1e-5), "sure": "certain",
    }  # fmt: skip
    assert len(cells) == 188
    assert channel["cells"] == [[4, 33, 2]]


def test_each_subdetector_says_what_it_rests_on(verdict: RunVerdict, tmp_path: Path) -> None:
    hb, he = verdict.verdicts
    doubtful = replace(he, trust=Trust.NONE, trust_reason="Nothing fits.", sensitivity=2.0)
    (run,) = written([replace(verdict, verdicts=(hb, doubtful))], tmp_path)["runs"]
    assert (run["trust"], run["trusted"]) == ("no reference", False)
    assert run["subdetectors"]["HE"] == {
        "judged": [[1, 2], [4, 7], [9, 13]], "model": {"name": "he-graphstad", "version": "1", "digest": "ab12"},
        "false_alarms": 1.0, "granularity": "lumisection", "trust": "no reference", "trusted": False,
        "trust_reason": "Nothing fits.", "sensitivity": 2.0,
    }  # fmt: skip
    assert run["subdetectors"]["HB"]["trusted"] is True


def test_conditions_are_there_and_what_is_not_known_is_null(verdict: RunVerdict, tmp_path: Path) -> None:
    pileup = np.array([0.25, np.nan, *[0.5] * 10], dtype=np.float32)
    nothing = np.zeros((12, 0), dtype=np.float32)
    axis = verdict.maps.lumisections
    common = CommonPart(axis, pileup, pileup, {"HE": pileup}, nothing, nothing, (), nothing, ("The mix changed.",))
    (run,) = written([replace(verdict, common=common)], tmp_path)["runs"]
    assert run["conditions"]["sentences"] == ["The mix changed."]
    assert run["conditions"]["subdetector"]["HE"][:3] == run["conditions"]["log_pileup"][:3] == [0.25, None, 0.5]
    assert written([verdict], tmp_path)["runs"][0]["conditions"] is None


def test_several_runs_are_one_document_and_strips_have_no_cells(
    verdict: RunVerdict, strip_verdict: RunVerdict, tmp_path: Path
) -> None:
    first, second = written([verdict, strip_verdict], tmp_path)["runs"]
    assert "strips" not in first
    assert second["strips"]["judged"] == [[1, 2], [4, 7], [9, 13]]
    assert (second["findings"][0]["unit"], second["findings"][0]["cells"]) == ("HEP07", [])


def test_a_place_that_cannot_be_written_is_an_output_error(verdict: RunVerdict, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_verdicts([verdict], provenance_of_run(verdict), tmp_path / "file" / "verdict.json")
