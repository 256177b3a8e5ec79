"""``run``: who judges, what it refuses before it judges, and that a refusal writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hcal_root_ad.cli import run
from hcal_root_ad.cli.main import main
from hcal_root_ad.lumi_maps import LumiMaps

MakeMaps = Callable[..., LumiMaps]
Refusal = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run the verb on given runs, see it end with 2 and leave nothing; returns its sentence."""

    def end(runs: tuple[LumiMaps, ...], *options: str) -> str:
        inputs = [tmp_path / source.name for maps in runs for source in maps.sources]
        for path in inputs:
            path.touch()
        monkeypatch.setattr(run, "read_runs", lambda _: runs)
        words = ["run", *map(str, inputs), "-o", str(tmp_path / "out"), "--flags", str(tmp_path / "new" / "flags.csv")]
        assert main([*words, *options]) == 2
        assert sorted(tmp_path.iterdir()) == sorted(inputs)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    return end


def test_attach_needs_one_file_per_run(refused: Refusal, make_maps: MakeMaps) -> None:
    sentence = refused((make_maps(370101, "a.root", "b.root"),), "--attach")
    assert "run 370101 was read from a.root, b.root;" in sentence


def test_attach_keeps_the_name(refused: Refusal, make_maps: MakeMaps) -> None:
    assert "--online" in refused((make_maps(370101, "a.root"),), "--attach", "--online")


def test_unknown_bundle(refused: Refusal, make_maps: MakeMaps) -> None:
    assert "no-such-bundle" in refused((make_maps(370101, "a.root"),), "--bundle", "no-such-bundle")


def test_one_bundle_per_subdetector(refused: Refusal, make_maps: MakeMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_bundle(name: str) -> SimpleNamespace:
        return SimpleNamespace(subdetector="HE", name=name)

    monkeypatch.setattr("hcal_root_ad.learn.bundle.load_bundle", load_bundle)
    sentence = refused((make_maps(370101, "a.root"),), "--bundle", "mine", "--bundle", "yours")
    assert "mine and yours are both for HE" in sentence
