"""A comparison as monitor elements that both GUIs take, with ROOT's own numbers; as JSON, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ctypes import c_double, c_int
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from hcal_root_ad.compare import drawing as figures
from hcal_root_ad.compare.comparison import Comparison, compare
from hcal_root_ad.compare.comparison_outputs import (
    FOLDER,
    changes_table,
    comparison_elements,
    comparison_numbers,
    drift_numbers,
    drift_table,
    elements_table,
    outcome,
    save_json,
    shown_by,
)
from hcal_root_ad.compare.drawing import draw_comparison, draw_drift
from hcal_root_ad.detector import SUBDET_PM, Era, channel_table
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import EventSource, LumiMaps, Source
from hcal_root_ad.model.rates import Rates
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.publish.elements import MonitorElements, QualityStatus
from hcal_root_ad.publish.gui_rules import check_file
from hcal_root_ad.publish.root_file import file_folder, write_root_file
from hcal_root_ad.references import NamedReference, ReferenceEntry
from hcal_root_ad.stats.binomial import log_rate, probability
from hcal_root_ad.style import png

CHANNELS = channel_table(Era.RUN3).select("HB", "HE")
HEP07 = np.flatnonzero(CHANNELS.box == 60)
HOT = 1234
"""An HB channel at twice its rate."""
NEW = 4321
"""An HB channel that the reference does not know."""


def make_reference() -> NamedReference:
    draw, rates = np.random.default_rng(1), {}
    for name in ("HB", "HE"):
        channels = CHANNELS.select(name)
        size = len(channels)
        one, level = np.ones(size), log_rate(0.2 + 0.3 * draw.random(size))
        live = (np.arange(size) != NEW) if name == "HB" else one > 0
        reference = Reference(channels, level, 0.01 * one, one, 0.05 * one, live, (-0.1, 0.1))
        digis = draw.binomial(20_000, probability(level)) * live
        rates[name] = Rates(channels, reference, 0.02 * one, digis.astype(np.int64), 20_000.0)
    entry = ReferenceEntry(
        "june", Path(), (370100,), Era.RUN3, "Occupancy", (), "ZeroBias", "with <brackets>", rates="r"
    )
    return NamedReference(entry, rates)


def make_run(reference: NamedReference, run: int = 370101, u: float = -0.4) -> LumiMaps:
    """Ten lumisections (LS 3 is not there) at another pileup; HEP07 is dead, one channel hot, one new."""
    draw, lumisections = np.random.default_rng(run), np.array([1, 2, *range(4, 12)], dtype=np.int32)
    level = np.concatenate([rates.reference.level for rates in reference.rates.values()])
    level[HOT] += np.log(2)
    counts = draw.binomial(1000, probability(level + u), (10, len(CHANNELS))).astype(np.int32)
    counts[:, HEP07] = 0
    source = Source(f"DQM_V0001_R000{run}__ZeroBias__Run2023C-v1__DQMIO.root", 1234, "00ff")
    return LumiMaps(
        run=run,
        channels=CHANNELS,
        lumisections=lumisections,
        events=np.full(10, 1000),
        event_source=np.full(10, EventSource.COUNTER, dtype=np.uint8),
        counts=counts,
        present=np.ones(10, dtype=bool),
        definition="dqmio-occupancy",
        sources=(source,),
        notes=("A note with a µ.",),
    )


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    reference = make_reference()
    return compare(make_run(reference), reference)


@pytest.fixture(scope="module")
def elements(comparison: Comparison) -> MonitorElements:
    return comparison_elements(comparison)


@pytest.fixture(scope="module")
def written(elements: MonitorElements, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = "DQM_V0001_R000370101__ZeroBias__Run2023C_HcalADComparison-v1__DQMIO.root"
    path = tmp_path_factory.mktemp("compared") / name
    write_root_file(elements, path)
    return path


def test_both_guis_take_the_file(written: Path) -> None:
    assert check_file(written) == ()


def test_paths_are_those_of_hcal_dqm_below_one_folder(elements: MonitorElements) -> None:
    paths = [element.path for element in elements.elements]
    assert len(paths) == len(set(paths)) == 10 + 10 + 7 + 7 + 2 + 4
    assert len(paths) + 5 == 45, "had channels of all depths both losses and gains"
    assert all(path.startswith(f"{FOLDER}/") for path in paths)
    for kind in ("", "Expected"):
        assert f"{FOLDER}/{kind}Occupancyvsieta/Subdet/HE" in paths
    assert {result.path for result in elements.quality} <= set(paths), "each result is beside what shows it"
    assert f"{FOLDER}/ExpectedOccupancyvsLS/SubdetPM/HEP" in paths
    assert not [path for path in paths if "/Reference" in path]


def test_everything_is_at_the_exposure_of_the_run_and_nothing_has_a_sign(
    elements: MonitorElements, comparison: Comparison
) -> None:
    totals = {
        place: sum(elements[f"{FOLDER}/{place}vsieta/Subdet/{name}"].histogram.values().sum() for name in ("HB", "HE"))
        for place in ("Occupancy", "ExpectedOccupancy")
    }
    assert totals["Occupancy"] == sum(part.sums.observed.sum() for part in comparison.parts.values())
    assert totals["ExpectedOccupancy"] == pytest.approx(
        sum(part.sums.expected.sum() for part in comparison.parts.values()), rel=1e-4
    )
    for element in elements.elements:
        assert element.histogram.values().min() >= 0


def test_the_outcome_is_one_sentence_and_the_same_only_where_it_is(comparison: Comparison) -> None:
    said = {scalar.path: scalar.value for scalar in comparison_elements(comparison).scalars}[f"{FOLDER}/outcome"]
    assert said == outcome(comparison)
    assert str(said).startswith("run 370101 differs from june: 3 places changed, first HEP07 empty, ")
    reference = make_reference()
    run = make_run(reference)
    level = np.concatenate([rates.reference.level for rates in reference.rates.values()])
    live = np.concatenate([rates.reference.live for rates in reference.rates.values()])
    run.counts[:] = np.random.default_rng(3).binomial(1000, probability(level - 0.4), run.counts.shape) * live
    same = compare(run, reference)
    assert (
        outcome(same) == f"run 370101 is the same as june: no channel and none of {len(same.elements)} elements differ"
    )
    strange = replace(same, parts={name: replace(part, misfit=5.0) for name, part in same.parts.items()})
    assert "is the same" not in outcome(strange)
    assert "knows another detector in HB and HE" in outcome(strange)


def test_axes_and_labels(elements: MonitorElements) -> None:
    ieta = elements[f"{FOLDER}/Occupancyvsieta/Subdet/HE"]
    assert (ieta.histogram.axes[0].size, ieta.bin_labels[0][13], ieta.bin_labels[0][70]) == (84, "-29", "29")
    boxes = elements[f"{FOLDER}/RateRatiovsRBX/SubdetPM/HEP"]
    assert (boxes.bin_labels[0][6], boxes.histogram.values()[6]) == ("HEP07", 0)
    trend = elements[f"{FOLDER}/OccupancyvsLS/SubdetPM/HBM"].histogram
    assert trend.axes[0].edges.tolist() == list(range(1, 13))
    assert trend.values()[2] == 0


def test_maps_of_channels(elements: MonitorElements) -> None:
    def at(name: str, row: int) -> float:
        depth = CHANNELS.depth[row]
        values = elements[f"{FOLDER}/{name}/depth/depth{depth}"].histogram.values()
        return float(values[CHANNELS.dqm_x[row], CHANNELS.dqm_y[row]])

    assert at("StateSummary", int(HEP07[5])) == State.BAD
    assert at("StateSummary", HOT) == State.PROBLEMATIC
    assert at("StateSummary", NEW) == State.PROBLEMATIC
    assert at("StateSummary", 77) == State.GOOD
    assert at("Excess", HOT) == pytest.approx(100, rel=0.3)
    assert at("Excess", NEW) == 200
    assert at("Loss", int(HEP07[5])) == 100
    assert np.count_nonzero(elements[f"{FOLDER}/Loss/depth/depth7"].histogram.values()) == int(
        (CHANNELS.depth[HEP07] == 7).sum()
    )
    ratios = elements[f"{FOLDER}/RateRatiovsRBX/SubdetPM/HEP"]
    assert ratios.efficiency
    assert ratios.errors is not None
    assert (ratios.histogram.values()[6], ratios.errors[6]) == (0, 0), "no channel of HEP07 is filled in both"
    assert abs(ratios.histogram.values()[5] - 1) < 5 * ratios.errors[5]


def test_quality_results_name_the_kind_of_fault(elements: MonitorElements, comparison: Comparison) -> None:
    results = {(result.path, result.qtest): result for result in elements.quality}
    assert {qtest for _, qtest in results} == {"Comp2RefChi2", "Comp2RefKolmogorov", "Comp2RefChannels"}
    boxes = results[f"{FOLDER}/RateRatiovsRBX/SubdetPM/HEP", "Comp2RefChi2"]
    assert boxes.status == QualityStatus.WARNING
    # One box of 18 is gone: shares of 1/17 for 1/18, each against the mean of both by their digis.
    compared = next(one for one in comparison.elements if one.path == "OccupancyvsRBX/SubdetPM/HEP")
    part = compared.observed.sum() / (compared.observed.sum() + compared.expected.sum())
    mean = part / 17 + (1 - part) / 18
    assert boxes.result == pytest.approx(np.sqrt(1 / 18 / (1 - part) + 17 * (1 / 17 - 1 / 18) ** 2 / mean), rel=0.02)
    assert "beyond chance, limit 5% (chi2 " in boxes.message
    assert results[f"{FOLDER}/RateRatiovsRBX/SubdetPM/HBM", "Comp2RefChi2"].status == QualityStatus.OK
    channels = results[f"{FOLDER}/StateSummary/depth/depth7", "Comp2RefChannels"]
    assert channels.status == QualityStatus.ERROR
    assert channels.message == f"{int(channels.result)} empty"
    hot = results[f"{FOLDER}/StateSummary/depth/depth{CHANNELS.depth[HOT]}", "Comp2RefChannels"]
    assert "1 higher" in hot.message


def test_an_empty_element_is_an_error_of_its_own() -> None:
    reference = make_reference()
    run = make_run(reference)
    run.counts[:, CHANNELS.rows_of("HE")] = 0
    results = {(r.path, r.qtest): r for r in comparison_elements(compare(run, reference)).quality}
    for qtest in ("Comp2RefChi2", "Comp2RefKolmogorov"):
        result = results[f"{FOLDER}/StateSummary/depth/depth7", qtest]
        assert (result.status, result.message) == (QualityStatus.ERROR, "empty here, filled in the reference")


def test_provenance_says_what_was_compared(elements: MonitorElements) -> None:
    said = {scalar.path.rpartition("/")[2]: scalar.value for scalar in elements.scalars}
    assert said["reference"] == "june (run 370100, ZeroBias, with <brackets>)"
    assert said["input0001"] == "DQM_V0001_R000370101__ZeroBias__Run2023C-v1__DQMIO.root, 1234 bytes, sha256 00ff"
    assert said["note01"] == "A note with a µ."


@pytest.fixture(scope="module")
def root_file(written: Path) -> Iterator[Any]:
    root = pytest.importorskip("ROOT")
    before, root.gErrorIgnoreLevel = root.gErrorIgnoreLevel, root.kFatal
    file = root.TFile.Open(str(written))
    yield file
    file.Close()
    root.gErrorIgnoreLevel = before


def test_genuine_root_finds_the_same_numbers_in_the_file(root_file: Any, comparison: Comparison) -> None:
    numbers = comparison_numbers(comparison)["elements"]
    assert len(numbers) == 21
    for one in (one for one in numbers if one["path"] == shown_by(one["path"])):
        run, expected = (
            root_file.Get(f"{file_folder(370101, FOLDER)}/{kind}{one['path']}") for kind in ("", "Expected")
        )
        tested = expected.Clone()
        compared = next(element for element in comparison.elements if element.path == one["path"])
        # The tests are on whole digis with the statistics of the reference, the file at the exposure of the run.
        scale = compared.expected.sum() / max(expected.Integral(), 1)
        for cell in range(tested.GetNcells()):
            tested.SetBinContent(cell, round(tested.GetBinContent(cell) * scale))
        assert_same(run, tested, one)


def assert_same(first: Any, second: Any, numbers: dict[str, Any]) -> None:
    chi2, ndf, good = c_double(), c_int(), c_int()
    p = first.Chi2TestX(second, chi2, ndf, good, "UU")
    assert numbers["chi2"]["chi2"] == pytest.approx(chi2.value, rel=1e-6, abs=1e-9)
    assert numbers["chi2"]["ndf"] == ndf.value
    assert numbers["chi2"]["p"] == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert numbers["kolmogorov"]["distance"] == pytest.approx(first.KolmogorovTest(second, "M"), rel=1e-6, abs=1e-12)
    assert numbers["kolmogorov"]["p"] == pytest.approx(first.KolmogorovTest(second), rel=1e-6, abs=1e-12)


def test_json_holds_all_numbers(comparison: Comparison, tmp_path: Path) -> None:
    path = save_json(comparison_numbers(comparison), tmp_path / "comparison.json")
    assert list(tmp_path.iterdir()) == [path]
    numbers = json.loads(path.read_text())
    assert (numbers["run"], numbers["differs"], numbers["reference"]["name"]) == (370101, True, "june")
    assert numbers["lumisections"] == [1, 2, *range(4, 12)]
    first = numbers["changes"][0]
    assert (first["unit"], first["change"], first["channels"], first["observed"]) == ("HEP07", "empty", 188, 0)
    new = next(line for line in numbers["changes"] if line["change"] == "filled")
    assert (new["ratio"], new["expected"]) == (None, 0)
    hb = numbers["channels"]["HB"]
    assert [len(column) for column in hb.values()] == [9072] * 6
    assert hb["shift"][HOT] == pytest.approx(np.log(2), abs=0.15)
    assert numbers["subdetectors"]["HE"]["mean_log_pileup"] == pytest.approx(-0.4, abs=0.02)


def test_the_largest_changes_are_shown(comparison: Comparison) -> None:
    shown = printed(changes_table(comparison))
    (line,) = [line for line in shown.splitlines() if "HEP07" in line]
    assert "empty" in line
    assert "0.000 ± 0.000" in line
    assert "against june (run 370100, ZeroBias, with <brackets>): 3 places changed" in " ".join(shown.split())
    shown += printed(elements_table(comparison)) + printed(drift_table("june", [comparison.drift]))
    assert max(map(len, shown.splitlines())) <= 80
    lines = [line for line in printed(elements_table(comparison)).splitlines() if "Occupancy" in line]
    assert len(lines) == 21
    assert sum("differs" in line for line in lines) == len(comparison.differing)


def test_drift_is_one_line_per_run(tmp_path: Path) -> None:
    reference = make_reference()
    drifts = [compare(make_run(reference, 370101 + n, u=-0.1 * n), reference).drift for n in range(3)]
    lines = [line for line in printed(drift_table("june", drifts)).splitlines() if "37010" in line]
    assert len(lines) == 3
    assert all(line.count("±") == 5 for line in lines)
    numbers = drift_numbers(reference.entry, drifts, Provenance("compare"))
    assert [one["run"] for one in numbers["runs"]] == [370101, 370102, 370103]
    assert [half["unit"] for half in numbers["runs"][0]["halves"]] == list(SUBDET_PM)
    assert len(numbers["runs"][0]["boxes"]) == 71  # HEP07 has no channel filled in both
    assert all(abs(half["shift"]) < 4 * half["error"] for one in numbers["runs"] for half in one["halves"])
    assert np.ptp(imread(draw_drift("june", drifts, tmp_path / "drift.png"))[..., :3]) == 1


def test_pictures_are_written_whole_and_leave_no_pyplot_state_behind(comparison: Comparison, tmp_path: Path) -> None:
    before = plt.get_fignums()
    paths = draw_comparison(comparison, tmp_path / "comparison_R370101")
    assert [path.name for path in paths] == ["comparison_R370101.png", "comparison_R370101_channels.png"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(np.ptp(imread(path)[..., :3]) == 1 for path in paths)
    assert plt.get_fignums() == before


def test_a_lost_box_and_quiet_ones_leave_the_panels_their_room() -> None:
    shift = np.where(np.arange(18) == 6, np.nan, 0.01)
    boxes = {half: (shift if half == "HEP" else np.full(18, 0.01), np.full(18, 0.02)) for half in SUBDET_PM}
    bars = [
        figures.Bar("Occupancy/depth/depth1", 0.02, 0.05, ""),
        figures.Bar("OccupancyvsLS/SubdetPM/HBM", 0, 0.01, ""),
    ]
    trends = {"HBM": np.ones(10)}
    figure = figures.comparison_figure(370101, "june", boxes, bars, np.arange(1, 11), trends, [], 0.05)
    png(figure)  # the layout is made when it is drawn
    assert all(0.25 < axis.get_position().height < 0.5 for axis in figure.axes[1:])


def printed(table: Any) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
