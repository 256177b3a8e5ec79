"""An error of ours: one sentence, exit code 3, and a file with what is known of it."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hcal_root_ad.cli import files
from hcal_root_ad.cli.main import main
from hcal_root_ad.errors import fault_sentence

FAULTS = [
    KeyError("odd\x1b[31m\nkey"),
    RecursionError("deep"),
    AssertionError(),
    UnicodeEncodeError("ascii", "é", 0, 1, "x"),
    OSError("without a file"),
    ExceptionGroup("two", [ValueError(1), TypeError(2)]),
]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def fails(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def execute(_: object) -> int:
        raise error

    monkeypatch.setattr(files, "execute_check", execute)
    return main(["check", "file.root"])


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_one_sentence_and_the_traceback_in_a_named_file(
    error: Exception, temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails(error, monkeypatch) == 3
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    name = type(error).__name__
    assert line.startswith(f"hcal-root-ad: A fault of the program ({name} in test_errors.py, line ")
    (path,) = temporary.iterdir()
    assert line.endswith(f"please report it with the file {path}.")
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text()
    assert "Traceback" in text
    assert "raise error" in text
    assert re.search(r"hcal-root-ad \d+\.\d+", text)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 2, "There is not enough memory"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "/x/y: permission denied."),
        (KeyboardInterrupt(), 130, "interrupted."),
    ],
)
def test_what_is_no_fault_of_ours(
    error: BaseException, code: int, words: str, temporary: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert fails(error, monkeypatch) == code
    assert words in capsys.readouterr().err
    assert list(temporary.iterdir()) == []


def test_where_no_file_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    assert fault_sentence(ValueError()).endswith("could not be written: No space left on device).")


def test_a_thread_that_fails_leaves_no_traceback_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def execute(_: object) -> int:
        thread = threading.Thread(target=lambda: {}["nothing"])
        thread.start()
        thread.join()
        return 0

    monkeypatch.setattr(files, "execute_check", execute)
    assert main(["check", "file.root"]) == 0
    assert "A fault of the program (KeyError" in capsys.readouterr().err


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_output_that_nobody_takes() -> None:
    program = [sys.executable, "-m", "hcal_root_ad", "reference", "list"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        ["hcal-root-ad: The output: no space left on device."],
    )
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(program, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, "")
