"""A training that was killed goes on from its checkpoint to the weights that it would have had."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hcal_root_ad.model.model import Bundle, load_bundle

from hcal_root_ad.errors import OutputError
from hcal_root_ad.files import replace_folder
from hcal_root_ad.model.checkpoint import checkpoint_path
from hcal_root_ad.model.training import ANNEALINGS, Piece, Schedule, pieces_of, train_network
from hcal_root_ad.learn.reference import fit_reference
from hcal_root_ad.model.counts import clean_series
from hcal_root_ad.model.transfer import train
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.graphstad import GraphSTAD

SHORT = Schedule(epochs=3, window=5, batch=2)


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture(scope="module")
def pieces(clean_runs: list[LumiMaps]) -> list[Piece]:
    series = clean_series([replace(clean_runs[0])], "HE")
    return pieces_of([fit_reference([one]) for one in series], series, False)


def trained(
    pieces: list[Piece], schedule: Schedule, path: Path | None, kill_in: int = 0
) -> tuple[list[float], GraphSTAD]:
    """Losses and network; with ``kill_in`` it is killed in that epoch first, after a step of it."""
    steps: list[int] = []

    def killing(done: int, total: int) -> None:
        steps.append(done)
        if kill_in and done > (kill_in - 1) * total / schedule.epochs:
            raise Killed

    torch.manual_seed(4)
    network = GraphSTAD(pieces[0].series.channels)
    losses = train_network(network, pieces, schedule, killing, checkpoint=path)
    return losses, network


@pytest.mark.parametrize("annealing", ANNEALINGS)
def test_killed_and_resumed_the_weights_are_the_same(pieces: list[Piece], tmp_path: Path, annealing: str) -> None:
    schedule = replace(SHORT, annealing=annealing, epochs=2)
    losses, through = trained(pieces, schedule, None)
    path = tmp_path / "there" / ".b.checkpoint.safetensors"
    with pytest.raises(Killed):
        trained(pieces, schedule, path, kill_in=2)
    again, resumed = trained(pieces, schedule, path)
    assert again == losses
    for name, weight in through.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_none_and_said(
    pieces: list[Piece], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c"
    one_epoch = replace(SHORT, epochs=1)
    trained(pieces, replace(one_epoch, seed=9), path)
    losses, _ = trained(pieces, one_epoch, None)
    assert caplog.messages == []
    assert trained(pieces, one_epoch, path)[0] == losses
    (said,) = caplog.messages
    assert said.startswith(f"{path}: the checkpoint is of another training (other runs, options or versions)")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1  # in the last tensor, which safetensors takes as it is
    for content, reason in ((whole[:-100], "deserializ"), (bytes(flipped), "its content does not match its digest")):
        caplog.clear()
        path.write_bytes(content)
        assert trained(pieces, one_epoch, path)[0] == losses
        (said,) = caplog.messages
        assert said.startswith(f"{path}: the checkpoint is damaged (")
        assert reason in said
        assert said.endswith("); the training begins anew.")


def test_train_goes_on_and_leaves_no_checkpoint(clean_runs: list[LumiMaps], tmp_path: Path) -> None:
    schedule = Schedule(epochs=2)

    def killing(done: int, total: int) -> None:
        if done > total / 2:
            raise Killed

    whole = train(clean_runs[:1], "HE", tmp_path / "a" / "b", schedule=schedule)
    with pytest.raises(Killed):
        train(clean_runs[:1], "HE", tmp_path / "b", schedule=schedule, progress=killing)
    assert checkpoint_path(tmp_path / "b").is_file()
    assert not (tmp_path / "b").exists()
    steps: list[int] = []
    resumed = train(
        clean_runs[:1], "HE", tmp_path / "b", schedule=schedule, progress=lambda done, _: steps.append(done)
    )
    assert steps[0] > 1
    assert resumed.digest == whole.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_killed_after_the_last_epoch(
    clean_runs: list[LumiMaps], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise Killed

    schedule = Schedule(epochs=1)
    whole = train(clean_runs[:1], "HE", tmp_path / "a" / "b", schedule=schedule)
    with monkeypatch.context() as killed:
        killed.setattr("hcal_root_ad.learn.fit.reconstruct_pieces", dies)
        with pytest.raises(Killed):
            train(clean_runs[:1], "HE", tmp_path / "b", schedule=schedule)
    assert train(clean_runs[:1], "HE", tmp_path / "b", schedule=schedule).digest == whole.digest


def test_a_full_disk_leaves_the_old_bundle(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "b")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"b: cannot be written \(.*\); choose another place"):
            replace(bundle, version="2").save(tmp_path / "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_bundle(tmp_path / "b").version == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr("hcal_root_ad.files._exchanged", lambda *_: False)
    old, new = tmp_path / "b", tmp_path / ".b.partial"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "weights").write_text(text)
    (old / "notes.txt").write_text("mine")
    replace_folder(old, new)
    assert {path.name: path.read_text() for path in old.iterdir()} == {"weights": "new", "notes.txt": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_killed_while_the_old_folder_was_out_of_its_place(tmp_path: Path) -> None:
    for name, text in ((".b.before", "old"), (".b.partial", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    (tmp_path / ".b.before" / "notes.txt").write_text("mine")
    replace_folder(tmp_path / "b", tmp_path / ".b.partial")
    assert {path.name: path.read_text() for path in (tmp_path / "b").iterdir()} == {
        "weights": "new",
        "notes.txt": "mine",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    replace_folder(tmp_path / "b", tmp_path / "n")
    assert np.all([path.name == "b" for path in tmp_path.iterdir()])
