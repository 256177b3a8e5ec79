"""``watch`` from end to end: genuine ROOT files, shipped models, disorder, a kill; the file that ``run`` writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import uproot

from hcal_root_ad.cli.main import main
from hcal_root_ad.publish.gui_rules import with_version
from hcal_root_ad.watch.service import Watch

pytest.importorskip("ROOT", reason="genuine ROOT writes the simulated files")

FAULTS = """
[[fault]]
kind = "dead"
unit = "HEP07"
first = 4
last = 7
"""
RUN = 375_000


@pytest.fixture(scope="module", params=["per_lumisection", "snapshots"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run of seven LS in which HEP07 dies, in the order of the LS."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "faults.toml").write_text(FAULTS)
    options = f"--format {request.param} --lumisections 7 --detector-seed 2022 --seed 5"
    assert main(["simulate", "-o", str(folder), *options.split(), "--faults", str(folder / "faults.toml")]) == 0
    return sorted(folder.glob("*.root*"))


def contents(folder: Path) -> dict[str, object]:
    """Every object of the newest ROOT file: bins of histograms, texts by their key, but for who wrote it."""
    path = max(folder.glob("*.root"))
    with uproot.open(path) as file:
        kinds = {key: kind for key, kind in file.classnames().items() if "/<record>" not in key}
        bins = {
            key: file[key].values(flow=True).tolist() for key, kind in kinds.items() if kind.startswith(("TH", "TP"))
        }
    return {with_version(path.name, 1): ""} | kinds | bins


def watch_once(folder: Path, out: Path) -> None:
    assert main(["watch", str(folder), "-o", str(out), "--once"]) == 0


def move_in(folder: Path, files: Iterable[Path]) -> None:
    """As the DQM does: under another name first."""
    for path in files:
        shutil.copy(path, folder / f"{path.name}.tmp")
        (folder / f"{path.name}.tmp").rename(folder / path.name)


@pytest.fixture
def dqm(tmp_path: Path) -> Path:
    path = tmp_path / "dqm"
    path.mkdir()
    return path


@pytest.fixture
def by_run(dqm: Path, files: list[Path], tmp_path: Path) -> dict[str, object]:
    """What ``run`` publishes of the same files at the same place."""
    move_in(dqm, files)
    assert main(["run", str(dqm), "-o", str(tmp_path / "offline")]) == 0
    for path in dqm.iterdir():
        path.unlink()
    return contents(tmp_path / "offline")


def test_with_disorder_as_run(
    dqm: Path, files: list[Path], by_run: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    half = dqm / files[4].name
    (dqm / "other.root").write_bytes(b"root or not")
    capsys.readouterr()
    for piece in ((1, 0), (3, 5), (2,), (6, 4)):
        move_in(dqm, (files[n] for n in piece))
        if 5 in piece:
            half.write_bytes(files[4].read_bytes()[:5000])
        watch_once(dqm, out)
    said = capsys.readouterr().out
    assert f"{half.name} is not whole (it has 5000 of {files[4].stat().st_size} bytes)" in said
    assert "other.root is not whole" in said
    assert contents(out) == by_run
    assert main(["check", *map(str, out.glob("*.root"))]) == 0
    log = [json.loads(line) for line in (out / "alarms.jsonl").read_text().splitlines()]
    made, *log = log
    assert [one["role"] for one in made["provenance"]["materials"]] == ["model"] * 4
    box = [(entry["event"], entry["kind"]) for entry in log if entry["unit"] == "HEP07"]
    # Snapshots 2 and 4 alone hold LS 3, in which the box lived, and LS 4 as one.
    assert box in ([("raised", "dead")], [("raised", "degraded"), ("amended", "dead")])
    assert said.count("ALARM raised: HEP07 d") == 1
    assert not [path for path in out.rglob("*") if "partial" in path.name or "publishing" in path.name]


@pytest.mark.parametrize("files", ["per_lumisection"], indirect=True)
def test_under_the_conditions_of_oms_as_run(dqm: Path, files: list[Path], tmp_path: Path) -> None:
    oms, out = tmp_path / "oms.csv", tmp_path / "out"
    head = "run_number,lumisection_number,beams_stable,pileup\n"
    rows = [f"{RUN},{ls},{int(ls != 3)},{40 - ls}\n" for ls in range(1, 8)]
    move_in(dqm, files)
    oms.write_text(head + "".join(rows))
    assert main(["run", str(dqm), "-o", str(tmp_path / "offline"), "--oms", str(oms)]) == 0
    for path in dqm.iterdir():
        path.unlink()
    for number in (4, 7):
        oms.write_text(head + "".join(rows[:number]))
        move_in(dqm, files[:number])
        assert main(["watch", str(dqm), "-o", str(out), "--once", "--oms", str(oms)]) == 0
    assert contents(out) == contents(tmp_path / "offline")


@pytest.mark.parametrize("files", ["per_lumisection"], indirect=True)
def test_killed_in_the_middle_of_a_run(
    dqm: Path, files: list[Path], by_run: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    move_in(dqm, files[:3])
    words = [sys.executable, "-m", "hcal_root_ad", "watch", str(dqm), "-o", str(out), "--patience=1", "--digest=1"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        seen = next(line for line in process.stdout if "| LS 1–3 |" in line)
        assert main(["watch", str(dqm), "-o", str(out), "--once"]) == 2  # one watch per output
        move_in(dqm, [files[5], files[3]])
        next(line for line in process.stdout if "| LS 4 |" in line)
        move_in(dqm, [files[4]])
        while len(list((out / ".watch" / f"R{RUN:09d}").glob("*.npz"))) < 6:
            pass
        process.kill()
    assert seen.endswith(" s\n")
    for path in dqm.iterdir():  # what was received need not be there any more
        path.unlink()
    move_in(dqm, files[6:])
    watch_once(dqm, out)
    assert contents(out) == by_run
    assert not list(out.glob(".publishing-*"))
    log = [json.loads(line) for line in (out / "alarms.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in log[1:] if entry["unit"] == "HEP07"] == ["raised"]
    assert main(["provenance", str(out / "alarms.jsonl")]) == 0
    assert main(["reproduce", str(out / "alarms.jsonl")]) == 2
    printed = capsys.readouterr()
    assert "alarms.jsonl: made by watch" in printed.out
    assert "he-graphstad" in printed.out
    assert "is a log of alarms, which came one by one; reproduce the ROOT files beside it." in printed.err


def test_what_cannot_be_watched(tmp_path: Path, dqm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path / "none"), "-o", str(tmp_path / "out"), "--once"]) == 2
    assert main(["watch", str(dqm), "-o", str(dqm / "out"), "--once"]) == 2
    assert main(["watch", str(dqm), "-o", str(tmp_path / "out"), "--model", "no-such", "--once"]) == 2
    assert main(["watch", str(dqm), "-o", str(tmp_path / "out"), "--once", "--false-alarms", "1e9"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 4)
    assert np.all([word in err for word in ("is no folder", "is in the folder", "no-such", "up to 50")])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "lock"]


def test_it_watches_until_it_is_interrupted(
    tmp_path: Path, dqm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Watch) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "forever", interrupted)
    out = tmp_path / "out"
    for _ in range(2):  # whoever was interrupted holds no lock
        assert main(["watch", str(dqm), "-o", str(out)]) == 130
        said, error = capsys.readouterr()
        assert said.endswith(f" watching {dqm}, writing to {out}\n")
        assert error == "hcal-root-ad: interrupted.\n"
