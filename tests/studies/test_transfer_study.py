"""The transfer study: what a point is, what its blocks do, and that a study can be interrupted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.model.graphstad import GraphSTAD
from studies.__main__ import main
from studies.transfer import study
from studies.transfer.carry_over import MODULES, carry_over, trainable
from studies.transfer.comparison import chosen, contamination_cost, rows_of
from studies.transfer.grids import FRACTIONS, MAIN, grid_named
from studies.transfer.measurement import Result, _schedule, pulls
from studies.transfer.runs import contaminated, materials_of, shared_out, source_segments
from studies.transfer.settings import BLOCKS, DETECTORS, DIRECTIONS, MODES, Point, Size
from studies.transfer.tables import markdown

TINY = Size(runs=2, lumisections=10, held_out=1, epochs=1, source_epochs=1)
POINT = Point(MAIN, TINY)


def result(point: Point, deviance: float = 1.5, **values: object) -> Result:
    """A result with numbers that are easy to follow."""
    plain = Result(
        settings=point.settings(), deviance=deviance, auc=0.9, partial_auc=0.5, reference_deviance=1.8,
        reference_auc=0.8, reference_partial_auc=0.4, trainable=50, parameters=200, lumisections=20, epochs=2,
        seconds=4.0, curve=[(0, 0.0, 1.8), (1, 2.0, 1.6), (2, 4.0, deviance)],
    )  # fmt: skip
    return replace(plain, **values)


# --- settings and grids


def test_every_setting_changes_the_digest() -> None:
    others = [
        replace(POINT, direction="HB→HE"), replace(POINT, size=replace(TINY, epochs=2)), replace(POINT, blocks="IIIII"),
        replace(POINT, preserved=True), replace(POINT, annealing="step"), replace(POINT, fraction=0.5),
        replace(POINT, whole_reference=True), replace(POINT, contamination=0.1), replace(POINT, seed=2),
    ]  # fmt: skip
    assert len({point.digest for point in (POINT, *others)}) == 10
    assert POINT.digest == Point(MAIN, TINY).digest


def test_fewer_lumisections_are_gone_through_up_to_four_times_as_often() -> None:
    point = replace(POINT, size=replace(TINY, epochs=6))
    assert [replace(point, fraction=f).epochs for f in FRACTIONS] == [6, 24, 24, 24]
    assert (replace(point, blocks="FFIFI").rate, replace(point, blocks="FFSFI").rate) == (1e-3, 5e-3)


def test_presets_ask_every_question() -> None:
    points = grid_named("presets")
    assert len(set(points)) == len(points)
    assert {p.fraction for p in points} == {1.0, 0.25, 0.1, 0.05}
    assert {p.contamination for p in points} == {0.0, 0.01, 0.05, 0.1, 0.2}
    assert {p.annealing for p in points} == {"cosine", "constant", "step", "one-cycle"}
    assert {p.preserved for p in points} == {False, True}
    assert {p.direction for p in points} == {"HE→HB", "HB→HE", "HE 2018→Run3", "HE Run3→2018", "HE minus→plus"}
    assert all(len(p.blocks) == len(BLOCKS) and set(p.blocks) <= set(MODES) for p in points)


def test_all_ways_to_treat_the_blocks() -> None:
    assert len({p.blocks for p in grid_named("blocks")}) == 3**5


def test_an_unknown_grid_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="quick, presets"):
        grid_named("all")


# --- blocks


@pytest.fixture(scope="module")
def source() -> GraphSTAD:
    torch.manual_seed(1)
    return GraphSTAD(channel_table().select("HE"))


def target() -> GraphSTAD:
    torch.manual_seed(2)
    return GraphSTAD(channel_table().select("HB"))


def test_the_blocks_are_the_whole_network(source: GraphSTAD) -> None:
    parts = [name for names in MODULES.values() for name in names]
    counted = sum(p.numel() for name in parts for p in getattr(source, name).parameters())
    assert tuple(MODULES) == BLOCKS
    assert counted == trainable(source)


def test_each_letter_does_what_it_says(source: GraphSTAD) -> None:
    network, fresh = target(), target()
    carry_over(source, network, "FISIF")
    letters = dict(zip(BLOCKS, "FISIF", strict=True))
    for block, names in MODULES.items():
        for name in names:
            theirs, mine, own = (dict(getattr(n, name).named_parameters()) for n in (source, network, fresh))
            expected = own if letters[block] == "S" else theirs
            assert all(torch.equal(mine[key], expected[key]) for key in mine)
            assert all(p.requires_grad == (letters[block] != "F") for p in mine.values())
    frozen = sum(p.numel() for p in network.parameters()) - trainable(network)
    assert frozen == 15632 + 12583 + 165


# --- runs


def test_what_several_seeds_say_is_their_mean_and_its_error() -> None:
    ends = [replace(POINT, seed=seed, blocks=blocks) for seed in (1, 2) for blocks in ("SSSSS", "IIIII")]
    results = [result(point, deviance) for point, deviance in zip(ends, (1.5, 1.4, 1.5, 1.45), strict=True)]
    line = f"| {MAIN} | 100% | `IIIII` | 2 | 0.850 ± 0.050 |"
    assert line in markdown(results, "made", [])
    assert "Over seeds" not in markdown(results[:2], "made", [])


def test_a_source_learns_from_several_detectors_or_from_more_runs_of_one() -> None:
    one, longer, four = (source_segments(Point(direction, TINY)) for direction in DETECTORS)
    assert [len(segments) for segments in (one, longer, four)] == [2, 8, 8]
    alike = [np.array_equal(a.counts.counts, b.counts.counts) for a, b in zip(longer, four, strict=True)]
    assert alike == [True, True, *[False] * 6]
    rates = [segment.counts.counts.sum(axis=0) / segment.counts.trials.sum(axis=0) for segment in four[::2]]
    apart = [np.abs(rates[k] - rates[0]).max() for k in (1, 2, 3)]
    assert min(apart) > 0.05


@given(st.sampled_from(FRACTIONS), st.integers(2, 16), st.integers(40, 200))
def test_every_share_of_the_lumisections_holds_whole_windows(fraction: float, runs: int, length: int) -> None:
    lengths = shared_out(fraction, runs, length, window=5)
    wanted = fraction * runs * length
    assert 2 <= len(lengths) <= runs
    assert max(lengths) <= length
    assert wanted - len(lengths) - 1 < sum(lengths) <= wanted + 1


def test_shares_by_hand() -> None:
    assert shared_out(1.0, 4, 60, 5) == [60] * 4
    assert shared_out(0.1, 4, 60, 5) == [12, 12]
    assert shared_out(0.05, 4, 60, 5) == [6, 6]
    assert contaminated(0.01, [60] * 4) == [1, 0, 1, 0]
    assert contaminated(0.1, [60] * 4) == [6, 6, 6, 6]


@pytest.fixture(scope="module")
def contaminations() -> tuple[list[np.ndarray], list[np.ndarray]]:
    dirty = materials_of(replace(POINT, contamination=0.2))
    clean = materials_of(POINT)
    return [p.counts.counts for p in clean.training], [p.counts.counts for p in dirty.training]


def test_faults_hit_the_wished_share_of_lumisections_and_nothing_else(
    contaminations: tuple[list[np.ndarray], list[np.ndarray]],
) -> None:
    hit = [np.flatnonzero((a != b).any(axis=1)) for a, b in zip(*contaminations, strict=True)]
    assert [len(rows) for rows in hit] == [2, 2]
    assert all(np.ptp(rows) == 1 for rows in hit)
    changed = sum(int((a != b).sum()) for a, b in zip(*contaminations, strict=True))
    assert changed < 0.1 * sum(a.size for a in contaminations[0])


def test_faults_of_the_test_run_are_faint_and_known() -> None:
    materials = materials_of(POINT)
    assert not (materials.at_fault & materials.healthy).any()
    assert 0 < materials.at_fault.mean() < 0.2
    scores = pulls(materials.faulty, materials.faulty.log_rate)
    assert np.median(scores[materials.at_fault]) > 5
    assert np.quantile(scores[:, materials.healthy], 0.99) < 5


def test_one_side_alone_is_live() -> None:
    materials = materials_of(Point("HE minus→plus", TINY))
    side = materials.faulty.counts.channels.side
    assert not materials.faulty.live[side == 0].any()
    assert materials.faulty.live[side == 1].mean() > 0.9
    assert not materials.at_fault[:, side == 0].any()


def test_domains_name_what_the_directions_say() -> None:
    source, target = DIRECTIONS["HE 2018→Run3"]
    assert (source.era.value, target.era.value) == ("2018", "Run3")
    assert source.detector != target.detector
    assert [domain.side for domain in DIRECTIONS["HE minus→plus"]] == [0, 1]


def test_the_schedule_is_the_point() -> None:
    schedule = _schedule(replace(POINT, preserved=True, seed=7), 3, 1e-3, "step")
    assert (schedule.preserved, schedule.seed, schedule.epochs, schedule.annealing) == (True, 7, 3, "step")


# --- comparison and tables


def test_comparison_by_hand() -> None:
    better = replace(POINT, blocks="FFIFI", fraction=0.1)
    scratch, row = rows_of([result(POINT, 1.5), result(better, 1.55)])
    assert scratch.ratio == pytest.approx(1.0)
    assert row.ratio == pytest.approx(1.1)
    assert row.saving == pytest.approx(0.75)
    assert row.gain == pytest.approx(0.25)
    assert row.reached is None
    assert scratch.reached == (2, 4.0)
    assert rows_of([result(better)])[0].ratio is None


def test_another_seed_is_held_against_its_own_training_from_scratch() -> None:
    again = replace(POINT, seed=2)
    rows = rows_of([result(POINT, 1.5), result(again, 1.25), result(replace(again, blocks="IIIII"), 1.5)])
    assert rows[2].ratio == pytest.approx(2.0)


def test_cost_of_contamination_by_hand() -> None:
    dirty = replace(POINT, contamination=0.1)
    rows = rows_of([result(POINT, 1.5), result(dirty, 1.6), result(replace(dirty, blocks="IIIII"), 1.7)])
    assert contamination_cost(rows, rows[1]) == pytest.approx(0.1)
    assert contamination_cost(rows, rows[2]) is None
    assert [row.result.deviance for row in chosen(rows, contamination=0.1)] == [1.6, 1.7]


def test_the_table_has_every_point() -> None:
    points = grid_named("presets")
    page = markdown([result(point) for point in points], "`command`, 1.0", ["a.png"])
    assert page.count("| `") >= len(points)
    assert "![a.png](a.png)" in page
    for word in ("how much data", "faults in the training", "RNN state", "learning rates", "Directions", "other seeds"):
        assert word in page


# --- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "out"
    assert main(["transfer", "--grid", "quick", "-o", str(folder)]) == 0
    return folder


def test_the_study_writes_numbers_table_and_figures(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())["results"]
    points = grid_named("quick")
    assert [r["settings"] for r in results] == [json.loads(json.dumps(point.settings())) for point in points]
    by_blocks = {r["settings"]["blocks"]: r for r in results}
    assert all(1 < r["deviance"] < 3 and 0.5 < r["auc"] <= 1 for r in results)
    assert by_blocks["FFFFF"]["trainable"] == by_blocks["FFFFF"]["epochs"] == 0
    assert by_blocks["FFIFI"]["trainable"] == 16640 + 528 + 12583 + 165
    assert by_blocks["SSSSS"]["trainable"] == by_blocks["SSSSS"]["parameters"]
    assert "HE→HB" in (folder / "table.md").read_text()
    assert list(folder.glob("*.png"))
    assert not list(folder.rglob("*.partial"))


def test_resuming_measures_only_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "results.json").read_text()
    lost = next(iter((folder / "points").iterdir()))
    kept = lost.read_text()
    lost.unlink()
    measured: list[str] = []

    def instead(point: Point, *_: object) -> Result:
        measured.append(point.digest)
        return Result(**json.loads(kept))

    monkeypatch.setattr(study, "measure", instead)
    told: list[tuple[int, int]] = []
    study.run_study("quick", folder, resume=True, progress=lambda done, total: told.append((done, total)))
    assert measured == [lost.stem]
    assert told[-1] == (4, 4)
    assert json.loads((folder / "results.json").read_text()) == json.loads(before)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["transfer", "--grid", "quick", "-o", str(tmp_path)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_result_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("{", "[]", '{"curve": [[1, 2, 3]]}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"a\.json: expected the result of a grid point"):
            study.read_result(path)
