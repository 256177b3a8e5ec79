"""A run judged through ONNX Runtime, lumisection by lumisection, is what torch and the judge's own sums give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hcal_root_ad.model.model import Bundle

from hcal_root_ad.evidence import EvidenceBank
from hcal_root_ad.export.lumisection import INPUTS, OUTPUTS, STATES, JudgeLumisection, write_model
from hcal_root_ad.export.onnx_file import session
from hcal_root_ad.judge.channels import Gatherer
from hcal_root_ad.learn.follow import Expectation, followed
from hcal_root_ad.model.reconstruction import reconstruct
from hcal_root_ad.model.counts import series_of
from hcal_root_ad.lumi_maps import LumiMaps

from .conftest import SHORT

pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the models")
Answer = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def model(bundle: Bundle, folder: Path) -> Path:
    path = folder / f"{bundle.name}.onnx"
    write_model(bundle, path)
    return path


def answers(model: Path, maps: LumiMaps) -> Iterator[Answer]:
    """What a user's loop gives: maps in, states carried from each LS to the next."""
    opened = session(model)
    shapes = {node.name: node.shape for node in opened.get_inputs()}
    state = {f"{name}_next": np.zeros(shapes[name], np.float32) for name in STATES}
    for grid, events in zip(maps.grid(), maps.events, strict=True):
        feed = {name: state[f"{name}_next"] for name in STATES}
        feed |= {"occupancy": grid[None].astype(np.float32), "events": np.float32([events])}
        state = dict(zip(OUTPUTS, opened.run(OUTPUTS, feed), strict=True))
        yield state


@pytest.fixture(scope="module")
def through_onnx(model: Path, maps: LumiMaps) -> list[Answer]:
    return list(answers(model, maps))


def test_onnx_runtime_and_torch_agree_over_a_run_with_state_carried(
    bundle: Bundle, maps: LumiMaps, through_onnx: list[Answer]
) -> None:
    assert len(through_onnx) >= 30
    module = JudgeLumisection(bundle, bundle.thresholds()).eval()
    state = module.start()
    for grid, events, found in zip(maps.grid(), maps.events, through_onnx, strict=True):
        with torch.no_grad():
            wanted = module(torch.from_numpy(grid[None]).float(), torch.tensor([float(events)]), *state)
        state = wanted[-len(STATES) :]
        for name, tensor in zip(OUTPUTS, wanted, strict=True):
            size = np.abs(tensor.numpy())
            if name == "follower_next":  # a channel's score is small against its information
                size = size.max(axis=1, keepdims=True)
            assert (np.abs(found[name] - tensor.numpy()) / np.maximum(size, 1)).max() < 1e-4, name


def test_onnx_runtime_and_the_judge_agree_over_a_run(
    bundle: Bundle, maps: LumiMaps, through_onnx: list[Answer]
) -> None:
    thresholds, live, cells = bundle.thresholds(), bundle.reference.live, (0, *bundle.channels.grid)
    series = series_of(maps, bundle.subdetector)
    found = reconstruct(bundle.network, bundle.reference, series, bundle.ring_normalisation)
    expectation = followed(found, series, bundle.reference, bundle.model_error)
    gatherer = Gatherer(bundle.pools, live, thresholds)
    flagged = units = 0
    for row, position in enumerate(series.position):
        answer, events = through_onnx[position], series.events[row]
        now = slice(row, row + 1)
        expected = events * -np.expm1(-np.exp(expectation.log_rate[row]))
        assert np.allclose(answer["expected"][cells][live], expected[live], rtol=1e-5)
        gatherer.add(
            series.part(now), Expectation(expectation.log_rate[now], expectation.error[now], expectation.exposure[now])
        )
        asked = thresholds.channel + float(thresholds.extra(expectation.exposure[now])[0])
        flagged += same(answer["evidence"][cells], answer["flag"][cells], gatherer.bank, asked)
        evidence, flag = units_in_order(answer["unit_evidence"]), units_in_order(answer["unit_flag"])
        units += same(evidence, flag, gatherer.unit_bank, thresholds.unit)
    assert flagged > 700, "the dead box must be among the flags"
    assert units >= 20, "and its modules among the units"


def units_in_order(values: np.ndarray) -> np.ndarray:
    """Modules first, their cards after them."""
    return np.concatenate([values[0, ..., 0].ravel(), values[0, ..., 1:].ravel()])


def same(evidence: np.ndarray, flag: np.ndarray, bank: EvidenceBank, threshold: float) -> int:
    """Evidence and flags are those of the judge's bank; how many flags there are."""
    wanted = bank.signed()
    assert np.allclose(evidence, wanted, rtol=1e-4, atol=1e-4)
    over = np.abs(wanted) * np.log(10) >= threshold
    assert np.array_equal(flag, np.where(over, np.sign(wanted), 0))
    return int(over.sum())


def test_a_dead_box_s_modules_are_where_the_axes_say(bundle: Bundle, through_onnx: list[Answer]) -> None:
    side, box = {"HE": (1, 7), "HB": (0, 3)}[bundle.subdetector]
    flags = through_onnx[9]["unit_flag"][0]
    assert flags[side, box - 1, 1:, 0].tolist() == [-1] * 4
    elsewhere = flags.copy()
    elsewhere[side, box - 1] = 0
    assert not elsewhere.any()


def test_a_short_lumisection_gathers_nothing_and_breaks_the_network_s_memory(through_onnx: list[Answer]) -> None:
    assessed = [float(answer["assessed"][0]) for answer in through_onnx]
    assert assessed == [float(position != SHORT) for position in range(len(assessed))]
    before, short = through_onnx[SHORT - 1], through_onnx[SHORT]
    assert np.array_equal(short["sums_next"], before["sums_next"])
    assert np.array_equal(short["unit_sums_next"], before["unit_sums_next"])
    assert np.array_equal(short["follower_next"], before["follower_next"])
    assert before["rnn_next"].any()
    assert not short["rnn_next"].any()


def test_empty_maps_and_no_events_are_finite_and_not_assessed(model: Path) -> None:
    opened = session(model)
    for events in (0.0, 2000.0):
        feed = {node.name: np.zeros(node.shape, np.float32) for node in opened.get_inputs()}
        answer = dict(zip(OUTPUTS, opened.run(None, feed | {"events": np.float32([events])}), strict=True))
        assert all(np.isfinite(value).all() for value in answer.values())
        assert answer["assessed"] == 0
        assert not answer["flag"].any()


def test_other_subdetector_s_cells_say_nothing(bundle: Bundle, model: Path, maps: LumiMaps) -> None:
    opened = session(model)
    feed = {node.name: np.zeros(node.shape, np.float32) for node in opened.get_inputs()}
    feed |= {"occupancy": maps.grid()[:1].astype(np.float32), "events": np.float32(maps.events[:1])}
    own = np.zeros(feed["occupancy"].shape, bool)
    own[0, *bundle.channels.grid] = True
    alone = feed | {"occupancy": np.where(own, feed["occupancy"], 0)}
    for one, other in zip(opened.run(None, feed), opened.run(None, alone), strict=True):
        assert np.array_equal(one, other)
    assert not opened.run(["expected"], feed)[0][~own].any()


def test_the_file_says_what_it_is(bundle: Bundle, model: Path) -> None:
    opened = session(model)
    assert tuple(node.name for node in opened.get_inputs()) == INPUTS
    assert tuple(node.name for node in opened.get_outputs()) == OUTPUTS
    assert all(isinstance(size, int) for node in opened.get_outputs() for size in node.shape)
    about = opened.get_modelmeta().custom_metadata_map
    assert (about["bundle"], about["version"], about["digest"]) == (bundle.name, bundle.version, bundle.digest)
    assert about["axes"].startswith("LS 1, ieta -32..-1 and 1..32 (64), iphi 1..72 (72), depth 1..7 (7)")
    assert float(about["threshold_log10"]) == pytest.approx(bundle.thresholds().channel / np.log(10), rel=1e-5)


def test_fewer_false_alarms_raise_the_threshold(he: Bundle, tmp_path: Path) -> None:
    write_model(he, tmp_path / "strict.onnx", false_alarms=0.05)
    about = session(tmp_path / "strict.onnx").get_modelmeta().custom_metadata_map
    assert about["false_alarms_per_100_ls"] == "0.05"
    assert float(about["threshold_log10"]) > he.thresholds().channel / np.log(10)


def test_the_loop_shown_in_the_docs_runs(
    he: Bundle, maps: LumiMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write_model(he, Path("he.onnx"))
    maps.save(Path("maps.npz"))
    exec(page.split("```python\n")[1].split("```")[0], {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(maps)
    assert int(printed[9].split()[1]) > 100, "a box is dead in LS 8 to 12"
