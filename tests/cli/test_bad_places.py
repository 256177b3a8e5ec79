"""Pipes, devices, links, full disks, through the command line: one sentence, no waiting, nothing half-written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz.originals import originals
from hcal_root_ad.cli.main import main
from hcal_root_ad.errors import OutputError
from hcal_root_ad.watch.intake import lying_in

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small file of two lumisections."""
    path = tmp_path / "in" / "nanodqmio.root"
    path.parent.mkdir()
    path.write_bytes(originals("nanodqmio")["zlib-nanodqmio_run370001.root"])
    return path


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.root"
    os.mkfifo(path)
    return path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was said on stderr, without the name of the program."""

    def read() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err.removeprefix("hcal-root-ad: ").rstrip()

    return read


READERS = ("inspect {}", "harvest {} -o {}.npz", "run {} -o out", "check {}", "report {} -o r.html",
           "train {} --subdetector HE -o b", "compare {} -o c", "watch {} -o w --once")  # fmt: skip


@pytest.mark.parametrize("line", READERS)
def test_a_pipe_is_not_waited_for(
    line: str, pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.format(pipe, pipe).split()) == 2
    words = "is no folder" if line.startswith("watch") else f"{pipe} is a pipe or a device; save what comes from it"
    assert words in said()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.root"]


def test_a_pipe_in_a_watched_folder_is_left_alone(pipe: Path) -> None:
    (pipe.parent / "good.root").touch()
    (pipe.parent / "gone.root").symlink_to("nowhere")
    assert [path.name for path in lying_in(pipe.parent)] == ["good.root"]


def test_bundles_and_definitions_that_are_pipes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "model.toml")
    assert main(["run", str(source), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "model")]) == 2
    assert "found it unreadable (model.toml is no file)" in said()
    (tmp_path / "harvesters").mkdir()
    os.mkfifo(tmp_path / "harvesters" / "mine.toml")
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(tmp_path))
    assert main(["inspect", str(source)]) == 2
    assert said() == (
        f"The definition {tmp_path}/harvesters/mine.toml cannot be read: it is a pipe or a device; "
        "save it as a file first."
    )


@pytest.mark.parametrize("line", ["harvest {source} -o {pipe}", "run {source} -o out --flags {pipe}"])
def test_an_output_that_is_a_pipe_or_a_device_stays_one(
    line: str, source: Path, pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.format(source=source, pipe=pipe).split()) == 2
    assert said() == f"{pipe} is a pipe or a device; name a file to write."
    assert pipe.is_fifo()
    assert not (tmp_path / "out").exists()


def test_two_outputs_in_one_place(source: Path, tmp_path: Path, said: Callable[[], str]) -> None:
    name = tmp_path / "out" / "DQM_V0001_HcalAD_R000370001.root"
    assert main(["run", str(source), "-o", str(tmp_path / "out"), "--online", "--flags", str(name)]) == 2
    assert said() == f"{name} would be written twice; give each output a place of its own."


def test_links_are_followed_on_reading_and_replaced_on_writing(source: Path, tmp_path: Path) -> None:
    link, target, other = tmp_path / "link.root", tmp_path / "maps.npz", tmp_path / "other.npz"
    link.symlink_to(source)
    other.write_text("kept")
    target.symlink_to(other)
    assert main(["harvest", str(link), "-o", str(target)]) == 0
    assert not target.is_symlink()
    assert np.load(target)["lumisections"].tolist() == [1, 2]
    assert other.read_text() == "kept"


def test_a_link_to_nothing(tmp_path: Path, said: Callable[[], str]) -> None:
    (tmp_path / "a.root").symlink_to("nowhere")
    assert main(["inspect", str(tmp_path / "a.root")]) == 2
    assert f"{tmp_path}/a.root: no such file, and no reference run of that name" in said()
    assert main(["inspect", str(tmp_path)]) == 2
    assert said() == f"There is no file {tmp_path}/a.root; check the path."


def test_a_folder_that_is_named_as_a_file_is_no_file(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source.parent / "folder.root").mkdir()
    assert main(["inspect", str(source.parent)]) == 0
    assert "370001" in capsys.readouterr().out


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_leaves_nothing(source: Path, tmp_path: Path, said: Callable[[], str]) -> None:
    target = tmp_path / "maps.npz"
    with files_no_larger_than(1000):
        assert main(["harvest", str(source), "-o", str(target)]) == 2
    assert said() == f"{target}: cannot be written (File too large); choose another place."
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_full_disk_leaves_what_was_there(source: Path, tmp_path: Path, said: Callable[[], str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here (that takes root)")
    try:
        (disk / "maps.npz").write_text("old")
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(10_000))
        assert main(["harvest", str(source), "-o", str(disk / "maps.npz")]) == 2
        assert said() == f"{disk}/maps.npz: cannot be written (No space left on device); choose another place."
        assert (disk / "maps.npz").read_text() == "old"
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "maps.npz"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_error_in_the_middle(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    read = os.preadv

    def breaks(file: int, buffers: list[memoryview], start: int) -> int:
        if start > 10_000:
            raise OSError(5, "Input/output error")
        return read(file, buffers, start)

    monkeypatch.setattr(os, "preadv", breaks)
    assert main(["harvest", str(source), "-o", str(tmp_path / "maps.npz")]) == 2
    assert said() == (
        f"The file {source} is damaged or cut short (OSError: [Errno 5] Input/output error); fetch it again."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_names_that_are_no_text_are_printed_all_the_same(tmp_path: Path) -> None:
    code = "import sys; from hcal_root_ad.cli.main import main; sys.exit(main(['inspect', 'gr\\udce9ce–.root']))"
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=ascii_only, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"hcal-root-ad: gr\\udce9ce\\u2013.root: no such file")


def test_the_library_says_the_same(source: Path, tmp_path: Path) -> None:
    from hcal_root_ad.harvest.read import read_lumi_maps

    (maps,) = read_lumi_maps(source)
    with pytest.raises(OutputError, match=r"is a folder; name a file to write\."):
        maps.save(tmp_path)
