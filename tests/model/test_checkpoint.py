"""A training that was killed goes on from its checkpoint to the weights that it would have had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import clean_runs
from hcal_root_ad.model.graphstad import GraphSTAD, Segment, segment_of
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.training import ANNEALINGS, Schedule, checkpoint_path, train_network
from hcal_root_ad.model.transfer import train

SHORT = Schedule(epochs=3, window=5, batch=2)


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture(scope="module")
def segments(clean_maps: list[LumiMaps], model: Model) -> list[Segment]:
    (run,) = clean_runs(clean_maps[:1])
    return [segment_of(half, model.reference, "HE") for half in run.halves()]


def trained(
    segments: list[Segment], schedule: Schedule, path: Path | None, kill_in: int = 0
) -> tuple[list[float], GraphSTAD]:
    """Losses and network; with ``kill_in`` it is killed in that epoch first, after a step of it."""
    steps: list[int] = []

    def killing(done: int, total: int) -> None:
        steps.append(done)
        if kill_in and done > (kill_in - 1) * total / schedule.epochs:
            raise Killed

    torch.manual_seed(4)
    network = GraphSTAD(segments[0].counts.channels)
    losses = train_network(network, segments, schedule, killing, checkpoint=path)
    return losses, network


@pytest.mark.parametrize("annealing", ANNEALINGS)
def test_killed_and_resumed_the_weights_are_the_same(segments: list[Segment], tmp_path: Path, annealing: str) -> None:
    schedule = replace(SHORT, annealing=annealing, epochs=2)
    losses, through = trained(segments, schedule, None)
    path = tmp_path / "there" / ".b.checkpoint.safetensors"
    with pytest.raises(Killed):
        trained(segments, schedule, path, kill_in=2)
    again, resumed = trained(segments, schedule, path)
    assert again == losses
    for name, weight in through.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_none_and_said(
    segments: list[Segment], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c"
    one_epoch = replace(SHORT, epochs=1)
    trained(segments, replace(one_epoch, seed=9), path)
    losses, _ = trained(segments, one_epoch, None)
    assert caplog.messages == []
    assert trained(segments, one_epoch, path)[0] == losses
    (said,) = caplog.messages
    assert said.startswith(f"{path}: the checkpoint is of another training (other runs, options or versions)")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1  # in the last tensor, which safetensors takes as it is
    for content, reason in ((whole[:-100], "deserializ"), (bytes(flipped), "its content does not match its digest")):
        caplog.clear()
        path.write_bytes(content)
        assert trained(segments, one_epoch, path)[0] == losses
        (said,) = caplog.messages
        assert said.startswith(f"{path}: the checkpoint is damaged (")
        assert reason in said
        assert said.endswith("); the training begins again.")


def test_train_goes_on_and_leaves_no_checkpoint(clean_maps: list[LumiMaps], tmp_path: Path) -> None:
    schedule = Schedule(epochs=2)

    def killing(done: int, total: int) -> None:
        if done > total / 2:
            raise Killed

    whole = train(clean_maps[:1], "HE", tmp_path / "a" / "b", schedule=schedule)
    with pytest.raises(Killed):
        train(clean_maps[:1], "HE", tmp_path / "b", schedule=schedule, progress=killing)
    assert checkpoint_path(tmp_path / "b").is_file()
    assert not (tmp_path / "b").exists()
    steps: list[int] = []
    resumed = train(
        clean_maps[:1], "HE", tmp_path / "b", schedule=schedule, progress=lambda done, _: steps.append(done)
    )
    assert steps[0] > 1
    assert resumed.digest == whole.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_killed_after_the_last_epoch(
    clean_maps: list[LumiMaps], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise Killed

    schedule = Schedule(epochs=1)
    whole = train(clean_maps[:1], "HE", tmp_path / "a" / "b", schedule=schedule)
    with monkeypatch.context() as killed:
        killed.setattr("hcal_root_ad.model.transfer.reconstruction_metrics", dies)
        with pytest.raises(Killed):
            train(clean_maps[:1], "HE", tmp_path / "b", schedule=schedule)
    assert train(clean_maps[:1], "HE", tmp_path / "b", schedule=schedule).digest == whole.digest
