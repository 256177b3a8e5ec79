"""HF and HO in every output outside of the ROOT file: their verdicts pass where those of HB and HE do."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hcal_root_ad.certify.agreement import TABLE_COLUMNS
from hcal_root_ad.certify.certification import BAD_CHANNELS, certify_run
from hcal_root_ad.certify.outputs import lumisection_rows
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Interval, Kind, Level, State, Verdict
from hcal_root_ad.provenance import provenance_of_run
from hcal_root_ad.publish.run_plots import draw_plots
from hcal_root_ad.publish.saved_verdict import load_record, record_of, save_record
from hcal_root_ad.publish.verdict_tables import run_summary, verdicts_table, write_flags
from hcal_root_ad.report.run_page import run_page

DEAD = {"HF": 100, "HO": 20}
"""Channels that are dead in LS 5 to 12: 2.9 % of HF, 0.9 % of HO."""


def outer(name: str, pattern: Verdict) -> Verdict:
    """All channels at half an event, the first ones dead from LS 5 to 12."""
    channels = channel_table(Era.RUN3).select(name)
    rows = np.arange(DEAD[name])
    at = (pattern.lumisections >= 5) & (pattern.lumisections <= 12)
    expected = np.repeat(pattern.events[:, None] / 2, len(channels), axis=1).astype(np.float32)
    observed = expected.astype(np.int32)
    observed[np.ix_(at, rows)] = 0
    states = np.full(expected.shape, State.GOOD, dtype=np.uint8)
    states[np.ix_(at, rows)] = State.BAD
    states[~pattern.assessed] = State.NOT_ASSESSED
    unit = f"{name}M"
    wanted = float(expected[np.ix_(at, rows)].sum())
    finding = Finding(
        name, Level.HALF, unit, Kind.DEAD, ((5, 12),), 7, 1.0, tuple(rows.tolist()), 0, wanted, 0.0, 0.0, 99.0
    )
    intervals = tuple(Interval(int(row), Kind.DEAD, 5, 12, 0, wanted / len(rows), 40.0, unit) for row in rows)
    return replace(
        pattern, subdetector=name, channels=channels, observed=observed, expected=expected, states=states,
        score=np.zeros_like(expected), intervals=intervals, findings=(finding,),
    )  # fmt: skip


@pytest.fixture(scope="module")
def everything(verdict: RunVerdict) -> RunVerdict:
    """The small run with all four sub-detectors."""
    hb, he = verdict.verdicts
    return replace(verdict, verdicts=(hb, he, outer("HO", he), outer("HF", he)))


def test_they_are_in_the_table_the_json_and_the_flags(everything: RunVerdict, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(*run_summary(everything))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "half of 100" in text
    (run,) = verdicts_table([everything], provenance_of_run(everything))["runs"]
    assert set(run["subdetectors"]) == {"HB", "HE", "HO", "HF"}
    cells = {finding["unit"]: finding["cells"] for finding in run["findings"]}
    assert all(abs(ieta) >= 29 for ieta, _, _ in cells["HFM"])
    assert all(abs(ieta) <= 15 and depth == 4 for ieta, _, depth in cells["HOM"])
    json.dumps(run, allow_nan=False)
    write_flags(everything, tmp_path / "flags.csv")
    with (tmp_path / "flags.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["subdetector"] in DEAD]
    assert len(rows) == sum(DEAD.values())
    assert {row["rbx"] for row in rows if row["subdetector"] == "HF"} == {""}
    assert all(row["rbx"].startswith("HO") for row in rows if row["subdetector"] == "HO")


def test_they_are_certified_by_their_own_rules(everything: RunVerdict, tmp_path: Path) -> None:
    """100 of 3456 channels are more than the 2 % that HF may lose; HO may lose a tenth."""
    save_record(record_of(everything), tmp_path / "R1.verdict.npz")
    record = load_record(tmp_path / "R1.verdict.npz")
    hf = next(part for part in record.parts if part.name == "HF")
    assert (hf.boxes, hf.judged.sum(axis=1).max(), hf.bad.sum()) == (("HFM", "HFP"), 3456, 700)
    run = certify_run(record, load_policy("standard"))
    row = run.rows(6, 6).start
    assert (run.flags["HF"][row].status, run.flags["HF"][row].cause) == ("BAD", BAD_CHANNELS)
    assert run.flags["HO"][row].status == "GOOD"
    assert run.flags["HCAL"][row].status == "BAD"
    table = [dict(zip(TABLE_COLUMNS, entry, strict=True)) for entry in lumisection_rows(run)]
    assert (table[row]["hf"], table[row]["hf_bad"], table[row]["ho_bad"]) == ("BAD", 100, 20)


@pytest.mark.parametrize("names", [("HF",), ("HO", "HF"), ("HB", "HE", "HO", "HF")])
def test_they_are_drawn_as_far_as_there_is_a_place_for_them(
    everything: RunVerdict, names: tuple[str, ...], tmp_path: Path
) -> None:
    chosen = replace(everything, verdicts=tuple(one for one in everything.verdicts if one.subdetector in names))
    pictures = {path.stem for path in draw_plots(chosen, tmp_path)}
    assert "strongest_findings" in pictures
    assert ("states" in pictures) == ("HB" in names)
    page = run_page(record_of(chosen))
    assert "minus side of HF" in page
    assert "HFM" in page
