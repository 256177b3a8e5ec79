"""A run through ONNX Runtime, lumisection by lumisection, is what torch gives, and its numbers are what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hcal_root_ad.export.onnx_file import (
    FARTHEST,
    INPUTS,
    MEMORY,
    OUTPUTS,
    STATES,
    LumisectionModel,
    carried,
    channel_threshold,
    session,
    significance,
    write_model,
)
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.stats.binomial import pull

from .conftest import SHORT

pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the models")
Answer = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def path(model: Model, folder: Path) -> Path:
    path = folder / f"{model.name}.onnx"
    write_model(model, path)
    return path


def answers(path: Path, maps: LumiMaps) -> Iterator[Answer]:
    """What a user's loop gives: maps in, states carried from each LS to the next."""
    opened = session(path)
    shapes = {node.name: node.shape for node in opened.get_inputs()}
    state = {f"{name}_next": np.zeros(shapes[name], np.float32) for name in STATES}
    for grid, events in zip(maps.grid(), maps.events, strict=True):
        feed = {name: state[f"{name}_next"] for name in STATES}
        feed |= {"occupancy": grid[None].astype(np.float32), "events": np.float32([events])}
        state = dict(zip(OUTPUTS, opened.run(OUTPUTS, feed), strict=True))
        yield state


@pytest.fixture(scope="module")
def through_onnx(path: Path, maps: LumiMaps) -> list[Answer]:
    return list(answers(path, maps))


def test_onnx_runtime_and_torch_agree_over_a_run_with_state_carried(
    model: Model, maps: LumiMaps, through_onnx: list[Answer]
) -> None:
    assert len(through_onnx) >= 30
    module = LumisectionModel(model, channel_threshold(model)).eval()
    state = module.start()
    for grid, events, found in zip(maps.grid(), maps.events, through_onnx, strict=True):
        with torch.no_grad():
            expected = module(torch.from_numpy(grid[None]).float(), torch.tensor([float(events)]), *state)
        state = expected[-len(STATES) :]
        for name, tensor in zip(OUTPUTS, expected, strict=True):
            size = max(1.0, float(np.abs(tensor.numpy()).max()))
            assert np.abs(found[name] - tensor.numpy()).max() / size < 1e-4, name


def test_pulls_are_binomial(model: Model, maps: LumiMaps, through_onnx: list[Answer]) -> None:
    cells, live = (0, *model.channels.grid), model.reference.live
    counts, events = maps.counts[5, maps.channels.rows_of(model.subdetector)], float(maps.events[5])
    expected = through_onnx[5]["expected"][cells].astype(np.float64)
    by_hand = pull(counts[live], np.array(events), expected[live] / events)
    assert np.allclose(through_onnx[5]["pull"][cells][live], by_hand, rtol=1e-3, atol=1e-3)
    assert np.std(by_hand) == pytest.approx(1.1, abs=0.15)


def test_the_carried_sum_by_hand() -> None:
    keep = np.exp(-1 / MEMORY)
    z, info = torch.tensor([[2.0, -50.0]]).double(), torch.tensor([[100.0, 400.0]]).double()
    once = carried(torch.zeros(1, 3, 2), z, info)
    assert once[0, :, 0].tolist() == pytest.approx([20, 100, 100])
    assert once[0, 0, 1] == pytest.approx(-FARTHEST * 20)
    twice = carried(once, z, info)
    assert twice[0, :, 0].tolist() == pytest.approx([20 * (1 + keep), 100 * (1 + keep), 100 * (1 + keep**2)])
    # Statistics alone, and with an own offset of 5 % that health allows.
    assert float(significance(once, torch.zeros(1, 2))[0, 0]) == pytest.approx(2)
    allowed = significance(once, torch.full((1, 2), 0.05**2))
    assert float(allowed[0, 0]) == pytest.approx(20 / np.sqrt(100 + (0.05 * 100) ** 2))


def test_a_dead_box_and_hot_channels_are_flagged_while_they_are(model: Model, through_onnx: list[Answer]) -> None:
    box = {"HE": "HEP07", "HB": "HBM03"}[model.subdetector]
    channels, live = model.channels, model.reference.live
    cells = (0, *channels.grid)
    inside = np.array([channels.box_name(row) == box for row in range(len(channels))]) & live
    during, before, after = (through_onnx[position]["flag"][cells] for position in (10, 5, 33))
    assert (during[inside] == -1).mean() > 0.95
    assert (during[live & ~inside] != 0).mean() < 0.002
    assert not before.any()
    assert (after[inside] == -1).mean() < 0.05
    place = {"HE": (-24, 7, 4), "HB": (16, 72, 1)}[model.subdetector]
    hot = next(k for k in range(len(channels)) if (channels.ieta[k], channels.iphi[k], channels.depth[k]) == place)
    assert through_onnx[27]["flag"][cells][hot] == 1


def test_a_short_lumisection_changes_no_sum_and_breaks_the_network_s_memory(through_onnx: list[Answer]) -> None:
    assessed = [float(answer["assessed"][0]) for answer in through_onnx]
    assert assessed[SHORT] == 0
    assert np.mean(assessed) > 0.9
    before, short = through_onnx[SHORT - 1], through_onnx[SHORT]
    assert np.array_equal(short["sums_next"], before["sums_next"])
    assert not short["flag"].any()
    assert before["rnn_next"].any()
    assert not short["rnn_next"].any()


def test_empty_maps_and_no_events_are_finite_and_not_assessed(path: Path) -> None:
    opened = session(path)
    for events in (0.0, 2000.0):
        feed = {node.name: np.zeros(node.shape, np.float32) for node in opened.get_inputs()}
        answer = dict(zip(OUTPUTS, opened.run(None, feed | {"events": np.float32([events])}), strict=True))
        assert all(np.isfinite(value).all() for value in answer.values())
        assert answer["assessed"] == 0
        assert not answer["flag"].any()


def test_other_subdetector_s_cells_say_nothing(model: Model, path: Path, maps: LumiMaps) -> None:
    opened = session(path)
    feed = {node.name: np.zeros(node.shape, np.float32) for node in opened.get_inputs()}
    feed |= {"occupancy": maps.grid()[:1].astype(np.float32), "events": np.float32(maps.events[:1])}
    own = np.zeros(feed["occupancy"].shape, bool)
    own[0, *model.channels.grid] = True
    alone = feed | {"occupancy": np.where(own, feed["occupancy"], 0)}
    for one, other in zip(opened.run(None, feed), opened.run(None, alone), strict=True):
        assert np.array_equal(one, other)
    assert not opened.run(["expected"], feed)[0][~own].any()


def test_the_file_says_what_it_is(model: Model, path: Path) -> None:
    opened = session(path)
    assert tuple(node.name for node in opened.get_inputs()) == INPUTS
    assert tuple(node.name for node in opened.get_outputs()) == OUTPUTS
    assert all(isinstance(size, int) for node in opened.get_outputs() for size in node.shape)
    about = opened.get_modelmeta().custom_metadata_map
    assert (about["model"], about["version"], about["digest"]) == (model.name, model.version, model.digest)
    assert about["axes"].startswith("LS 1, ieta -32..-1 and 1..32 (64), iphi 1..72 (72), depth 1..7 (7)")
    assert float(about["threshold"]) == pytest.approx(channel_threshold(model), rel=1e-5)


def test_fewer_false_alarms_raise_the_threshold(he_model: Model, tmp_path: Path) -> None:
    write_model(he_model, tmp_path / "strict.onnx", false_alarms=0.05)
    about = session(tmp_path / "strict.onnx").get_modelmeta().custom_metadata_map
    assert about["false_alarms_per_100_ls"] == "0.05"
    assert float(about["threshold"]) > channel_threshold(he_model)


def test_the_loop_shown_in_the_docs_runs(
    he_model: Model, maps: LumiMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write_model(he_model, Path("he.onnx"))
    maps.save(Path("maps.npz"))
    exec(page.split("```python\n")[1].split("```")[0], {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(maps)
    assert int(printed[9].split()[1]) > 100, "a box is dead in LS 8 to 12"
