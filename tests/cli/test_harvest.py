"""``harvest``: which files it writes, and what it says of the LS that it left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.cli import files
from hcal_root_ad.cli.main import main
from hcal_root_ad.lumi_maps import LumiMaps

MakeMaps = Callable[..., LumiMaps]


def harvested(monkeypatch: pytest.MonkeyPatch, *runs: LumiMaps) -> list[tuple[list[str], str | None]]:
    """Let ``harvest`` find these runs; returns what it asked for."""
    asked: list[tuple[list[str], str | None]] = []

    def read_runs(names: list[str], definition: str | None, _: object) -> tuple[LumiMaps, ...]:
        asked.append((names, definition))
        return runs

    monkeypatch.setattr(files, "read_runs", read_runs)
    monkeypatch.setattr(files, "input_files", lambda names: tuple(map(Path, names)))
    return asked


def test_one_run_goes_to_the_named_file(
    make_maps: MakeMaps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = harvested(monkeypatch, make_maps(370101))
    path = tmp_path / "new" / "maps.npz"
    assert main(["harvest", "a.root", "b.root", "-o", str(path), "--definition", "OccupancyCut"]) == 0
    assert asked == [(["a.root", "b.root"], "OccupancyCut")]
    with np.load(path) as saved:
        assert saved["lumisections"].tolist() == [1, 3]
        assert saved["counts"].shape == (2, 64, 72, 7)
    said = capsys.readouterr().out
    assert "run 370101, 2 lumisections (1–3), 200 events" in said
    assert "LS 2: without HCAL maps, not assessed." in said


def test_each_of_several_runs_gets_its_own_file(
    make_maps: MakeMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvested(monkeypatch, make_maps(370100), make_maps(370101))
    assert main(["harvest", "a.root", "-o", str(tmp_path / "maps.npz")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps_R370100.npz", "maps_R370101.npz"]


def test_a_run_without_maps_per_ls_leaves_nothing_behind(
    make_maps: MakeMaps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harvested(monkeypatch, make_maps(370100), make_maps(370101, "online.root", present=(False,)))
    assert main(["harvest", "a.root", "-o", str(tmp_path / "maps.npz")]) == 2
    assert "Run 370101: online.root holds no HCAL maps per lumisection" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_one_file_leaves_nothing_behind(
    make_maps: MakeMaps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harvested(monkeypatch, make_maps(370100), make_maps(370101))
    (tmp_path / "maps_R370101.npz").mkdir()
    assert main(["harvest", "a.root", "-o", str(tmp_path / "maps.npz")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"hcal-root-ad: {tmp_path}/maps_R370101.npz is a folder; name a file to write.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["maps_R370101.npz"]


def test_an_input_is_never_replaced(
    make_maps: MakeMaps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harvested(monkeypatch, make_maps(370101))
    path = tmp_path / "a.root"
    path.write_bytes(b"root")
    assert main(["harvest", str(path), "-o", str(path)]) == 2
    assert "a.root would be replaced" in capsys.readouterr().err
    assert path.read_bytes() == b"root"
