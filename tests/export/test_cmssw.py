"""The drop-in under the contract of HcalMLTask, run as the task runs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.errors import ModelError
from hcal_root_ad.export.cmssw import STATE_WIDTHS, StatePacking, configuration, write_cmssw_model
from hcal_root_ad.export.onnx_file import channel_threshold, lumisection
from hcal_root_ad.export.traceable import Reconstruct
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.graphstad import GraphSTAD, GraphSTADConfig, architecture_of, weights_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.stats.binomial import probability

from .conftest import SHORT

onnx = pytest.importorskip("onnx", reason="onnx reads the file's header")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the models")

# Written down from OnlineDQMDigiAD_cmssw.h, not taken from our code.
INPUTS = [
    ("input_data", None),
    ("input_data_exo", [1, 1]),
    ("anomaly_std_th", [1, 1]),
    ("e_rnn_hidden__layer_0_state_0", [1, 2, 128]),
    ("e_rnn_hidden__layer_0_state_1", [1, 2, 128]),
    ("e_rnn_hidden__layer_1_state_0", [1, 2, 32]),
    ("e_rnn_hidden__layer_1_state_1", [1, 2, 32]),
    ("d_rnn_hidden__layer_0_state_0", [1, 2, 128]),
    ("d_rnn_hidden__layer_0_state_1", [1, 2, 128]),
    ("d_rnn_hidden__layer_1_state_0", [1, 2, 640]),
    ("d_rnn_hidden__layer_1_state_1", [1, 2, 640]),
]
MAPS = [
    "target_data",
    "pred_data",
    "pred_err_spatial",
    "pred_err_window_spatial",
    "pred_err_spatial_scaled",
    "pred_err_window_spatial_scaled",
    "pred_err_spatial_scaled_aml",
    "pred_err_window_spatial_scaled_aml",
]
STATES = [name for name, _ in INPUTS[3:]]
SCORE, FLAG = 5, 7
EVENTS = 1500.0


class Task:
    """What the C++ does with a model: serialises, declares shapes, runs, splits outputs, keeps or resets states."""

    def __init__(self, path: Path, subdetector: str) -> None:
        self.session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.depths = {"HB": 4, "HE": 7}[subdetector]
        self.reset()

    def reset(self) -> None:
        self.states = [np.zeros(int(np.prod(shape)), np.float32) for _, shape in INPUTS[3:]]

    def infer(self, histograms: np.ndarray, events: float, threshold: float) -> list[np.ndarray]:
        """``histograms``: seven maps [depth][ieta][iphi], HB and HE together, as the task fills them."""
        serialised = [value for depth in histograms[: self.depths] for row in depth for value in row]
        values = [np.float32(serialised), np.float32([events]), np.float32([threshold]), *self.states]
        shapes = [[1, 64, 72, self.depths, 1], *(shape for _, shape in INPUTS[1:])]
        names = [name for name, _ in INPUTS]
        feed = {name: value.reshape(shape) for name, value, shape in zip(names, values, shapes, strict=True)}
        outputs = [value.ravel() for value in self.session.run([*MAPS, *(f"{name}_o" for name in STATES)], feed)]
        assert all(value.dtype == np.float32 for value in outputs), "the task reads every output as float"
        self.states = outputs[len(MAPS) :]
        return outputs[: len(MAPS)]

    def histogram(self, output: np.ndarray) -> list[list[np.ndarray]]:
        """[depth][ieta] rows of iphi: the buffer cut into depths, each cut into 64."""
        depths = np.split(output, self.depths)
        return [np.split(depth, 64) for depth in depths]

    def flagged(self, outputs: list[np.ndarray]) -> set[tuple[int, int, int]]:
        """(ieta, iphi, depth) of every cell that the task counts: those that are exactly 1."""
        return {
            (row - 32 if row < 32 else row - 31, column + 1, depth + 1)
            for depth, rows in enumerate(self.histogram(outputs[FLAG]))
            for row, cells in enumerate(rows)
            for column in np.flatnonzero(cells == 1)
        }


def fill(histograms: np.ndarray, ieta: int, iphi: int, depth: int, count: float) -> None:
    histograms[depth - 1][ieta + 32 if ieta < 0 else ieta + 31][iphi - 1] = count


@dataclass(frozen=True)
class Case:
    """A model, its drop-in model in the task's hands, and maps of a healthy lumisection, HB and HE."""

    model: Model
    path: Path
    task: Task
    healthy: np.ndarray
    positions: dict[tuple[int, int, int], int]

    def rate(self, position: tuple[int, int, int]) -> float:
        return float(np.exp(self.model.reference.level[self.positions[position]]))


def healthy_maps(model: Model) -> np.ndarray:
    histograms = np.zeros((7, 64, 72), dtype=np.float32)
    expected = np.round(EVENTS * probability(model.reference.level)) * model.reference.live
    channels = model.channels
    for row, count in enumerate(expected):
        fill(histograms, channels.ieta[row], channels.iphi[row], channels.depth[row], count)
    return histograms


@pytest.fixture(scope="module")
def case(model: Model, folder: Path, he_model: Model) -> Case:
    path = folder / f"{model.name}-cmssw.onnx"
    write_cmssw_model(model, path)
    healthy = healthy_maps(model)
    if model.subdetector == "HB":
        healthy = healthy + healthy_maps(he_model)
    channels = model.channels
    live = np.flatnonzero(model.reference.live)
    positions = {(int(channels.ieta[r]), int(channels.iphi[r]), int(channels.depth[r])): int(r) for r in live}
    return Case(model, path, Task(path, model.subdetector), healthy, positions)


def test_names_order_shapes_and_types(case: Case) -> None:
    nodes = case.task.session.get_inputs()
    maps = [1, 64, 72, case.task.depths, 1]
    assert [(node.name, node.shape) for node in nodes] == [(name, shape or maps) for name, shape in INPUTS]
    wanted = [(name, maps) for name in MAPS] + [(f"{name}_o", shape) for name, shape in INPUTS[3:]]
    outputs = case.task.session.get_outputs()
    assert [(node.name, node.shape) for node in outputs] == wanted
    assert {node.type for node in (*nodes, *outputs)} == {"tensor(float)"}


def test_the_oldest_runtime_that_has_the_task_can_read_it(case: Case) -> None:
    model = onnx.load(case.path)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 15)]
    assert model.ir_version <= 8
    assert {node.domain for node in model.graph.node} == {""}


EDGES = {
    "HE": [(-29, 1, 1), (29, 71, 3), (-28, 71, 7), (28, 1, 7), (-16, 72, 4), (16, 1, 4), (17, 72, 2), (-20, 36, 5)],
    "HB": [(-16, 72, 3), (16, 1, 3), (-1, 1, 1), (1, 72, 1), (-15, 36, 4), (15, 72, 4), (8, 35, 2)],
}


def test_one_hot_channel_in_the_same_channel_flagged(case: Case) -> None:
    for place in EDGES[case.model.subdetector]:
        histograms = case.healthy.copy()
        fill(histograms, *place, np.round(-EVENTS * np.expm1(-4 * case.rate(place))))
        case.task.reset()
        assert case.task.flagged(case.task.infer(histograms, EVENTS, 20.0)) == {place}


def test_many_hot_channels_in_the_same_channels_flagged(case: Case) -> None:
    draw = np.random.default_rng(3)
    places = sorted(place for place in case.positions if 0.03 < case.rate(place) < 0.5)
    chosen = {places[number] for number in draw.choice(len(places), 300, replace=False)}
    histograms = case.healthy.copy()
    for place in chosen:
        fill(histograms, *place, np.round(-EVENTS * np.expm1(-4 * case.rate(place))))
    case.task.reset()
    assert case.task.flagged(case.task.infer(histograms, EVENTS, 20.0)) == chosen


def test_one_dead_box_in_the_same_box_flagged(case: Case) -> None:
    channels = case.model.channels
    box = {"HE": "HEP07", "HB": "HBM03"}[case.model.subdetector]
    histograms, members = case.healthy.copy(), set()
    for place, row in case.positions.items():
        if channels.box_name(row) == box:
            members.add(place)
            fill(histograms, *place, 0.0)
    case.task.reset()
    flagged = case.task.flagged(case.task.infer(histograms, EVENTS, 20.0))
    assert flagged <= members
    expected = {place for place in members if EVENTS * case.rate(place) > 40}
    assert len(expected) > 100
    assert expected <= flagged


def test_healthy_maps_give_no_flag_and_the_score_no_more_than_chance(case: Case) -> None:
    case.task.reset()
    outputs = case.task.infer(case.healthy, EVENTS, 20.0)
    assert not case.task.flagged(outputs)
    assert outputs[SCORE].max() < 1
    assert np.array_equal(outputs[0], outputs[0] * (outputs[1] > 0))
    assert np.abs(outputs[0] - outputs[1]).max() < 0.05 * EVENTS


def test_the_threshold_decides(case: Case) -> None:
    place = EDGES[case.model.subdetector][0]
    histograms = case.healthy.copy()
    fill(histograms, *place, np.round(-EVENTS * np.expm1(-4 * case.rate(place))))
    case.task.reset()
    score = case.task.infer(histograms, EVENTS, 20.0)[SCORE].max()
    for threshold, flagged in ((0.99 * score, {place}), (1.01 * score, set())):
        case.task.reset()
        assert case.task.flagged(case.task.infer(histograms, EVENTS, threshold)) == flagged


def test_too_few_events_flag_nothing_and_leave_no_memory(case: Case) -> None:
    case.task.reset()
    case.task.infer(case.healthy, EVENTS, 20.0)
    assert any(state.any() for state in case.task.states)
    outputs = case.task.infer(np.zeros_like(case.healthy), 99.0, 0.0)
    assert not case.task.flagged(outputs)
    assert not any(state.any() for state in case.task.states)


def test_the_eight_states_carry_the_memory_over_a_run(case: Case, maps: LumiMaps) -> None:
    """A task that kept its states would get the reconstruction with memory, but for the 12 bits of a hidden state."""
    case.task.reset()
    reconstruct = Reconstruct(case.model)
    memory, worst, cold = reconstruct.start(), 0.0, 0.0
    channels, live = case.model.channels, case.model.reference.live
    rows, columns, depths = channels.grid
    for position, (grid, events) in enumerate(zip(maps.grid(), maps.events, strict=True)):
        outputs = case.task.infer(grid.transpose(2, 0, 1), float(events), 20.0)
        counts = torch.from_numpy(grid[channels.grid][None])
        counts, trials = lumisection(counts, torch.tensor([[float(events)]]))
        with torch.no_grad():
            _, log_rate, memory = reconstruct(counts, trials, memory)
            _, forgetful, _ = reconstruct(counts, trials, reconstruct.start())
        if position == SHORT:
            memory = reconstruct.start()
        expected = float(events) * -np.expm1(-np.exp(log_rate[0].numpy()))[live]
        found = np.asarray(case.task.histogram(outputs[1]))[depths, rows, columns][live]
        worst = max(worst, float(np.max(np.abs(found - expected) / expected)))
        cold = max(cold, float((forgetful - log_rate).abs().max()))
    assert worst < 1e-4
    assert cold > 1e-3, "memory must matter for this test to say anything"


HIDDEN = st.integers(1, 32)


@settings(max_examples=20)
@given(HIDDEN, st.integers(0, 2**32 - 1))
def test_memory_survives_the_eight_tensors(hidden: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    memory = torch.from_numpy(draw.uniform(-1, 1, (1, 4, 36, hidden)).astype(np.float32))
    memory[:, 1::2] *= 30
    tensors = StatePacking(hidden).pack(memory)
    assert [tuple(tensor.shape) for tensor in tensors] == [(1, 2, width) for width in STATE_WIDTHS.values()]
    again = StatePacking(hidden).unpack(tensors)
    assert torch.equal(again[:, 1::2], memory[:, 1::2]), "cell states are kept as they are"
    assert (again[:, 0::2] - memory[:, 0::2]).abs().max() <= 0.5 / 2047 + 1e-6
    assert all(torch.equal(one, other) for one, other in zip(StatePacking(hidden).pack(again), tensors, strict=True))


def test_sides_lie_apart_in_the_states() -> None:
    memory = torch.zeros(1, 4, 36, 32)
    memory[:, :, 18:] = 0.5
    assert all(not tensor[:, 0].any() and tensor[:, 1].any() for tensor in StatePacking(32).pack(memory))


def test_a_wider_network_does_not_fit(he_model: Model, tmp_path: Path) -> None:
    network = GraphSTAD(he_model.channels, GraphSTADConfig(hidden=48))
    wide = replace(he_model, architecture=architecture_of(network), weights=weights_of(network))
    with pytest.raises(ModelError, match=r"at most 32 per box, the model's has 48"):
        write_cmssw_model(wide, tmp_path / "wide.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("definition", ["dqmio-occupancycut", "OccupancyCut", "hcalanalyzer"])
def test_a_model_made_with_a_charge_cut_is_refused(he_model: Model, tmp_path: Path, definition: str) -> None:
    with pytest.raises(ModelError, match=r"OccupancyCut.*HcalMLTask counts every digi"):
        write_cmssw_model(replace(he_model, definition=definition), tmp_path / "cut.onnx")
    assert list(tmp_path.iterdir()) == []


def test_configuration_names_the_file_and_the_threshold(model: Model) -> None:
    text = configuration(model, Path("somewhere/model.onnx"))
    assert f"process.hcalMLTask.onnx_model_path_{model.subdetector} = cms.untracked.string(" in text
    assert '"DQM/HcalTasks/data/hcal_root_ad/model.onnx"' in text
    assert f"flagDecisionThr = cms.untracked.double({channel_threshold(model) ** 2 / 2:.1f})" in text
    compile(text, "configuration", "exec")
