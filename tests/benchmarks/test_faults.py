"""Killed in the middle: the quick form of ``make faults``, and that it would see what is wrong."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ROOT", reason="genuine ROOT writes the inputs")

from benchmarks.faults import Work, _judge, hidden, kill_often, main, state


def test_every_kind_of_work_survives_a_kill(tmp_path: Path) -> None:
    quick = [
        "run",
        "train",
        "replace a model",
        "watch",
    ]  # certify: tests/certify/test_campaign.py kills it three times
    assert main(["-o", str(tmp_path / "out"), "--kills", "1", "--only", *quick, "--scratch", str(tmp_path)]) == 0
    rows = [line.split(" | ") for line in (tmp_path / "out" / "table.md").read_text().splitlines()]
    assert {row[0].removeprefix("| "): row[-1] for row in rows if row[-1:] == ["0 |"]} == dict.fromkeys(quick, "0 |")


def test_what_is_written_in_place_is_seen(tmp_path: Path) -> None:
    def write(out: Path, text: str) -> None:
        out.mkdir(exist_ok=True)
        with (out / "a.txt").open("w") as file:
            for letter in text:
                file.write(letter * 20)
                file.flush()
                import time

                time.sleep(0.02)

    sloppy = Work("sloppy", lambda out: write(out, "old"), lambda out: write(out, "newer" * 4))
    found = kill_often(sloppy, 4, tmp_path, seed=1)
    assert found.kills
    assert any("killed, a.txt: neither old nor new" in sentence for sentence in found.wrong)


def test_files_are_old_or_new() -> None:
    left: Counter[str] = Counter()
    before, after = {"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "2"}
    assert _judge({"a": "1", "b": "2", "c": "1"}, before, after, left) == []
    assert left == {"new": 1, "old": 2}  # b; c is still there, d is not
    assert _judge({"a": "3"}, before, after, left) == ["a", "b"]


def test_hidden_files_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "in" / ".partial" / ".more").mkdir(parents=True)
    (tmp_path / "in" / ".partial" / "a").touch()
    np.savez(tmp_path / "b.npz", a=np.arange(3))
    assert list(state(tmp_path)) == ["b.npz"]
    assert hidden(tmp_path) == {"in/.partial"}


def test_a_mixed_bundle_and_what_is_left_over_are_seen(tmp_path: Path) -> None:
    def write(out: Path, text: str) -> None:
        import time

        out.mkdir(exist_ok=True)
        (out / f".{os.getpid()}").touch()
        for name in "ab":
            partial = out / f".{name}"
            partial.write_text(text)
            partial.rename(out / name)
            time.sleep(0.2)
        (out / f".{os.getpid()}").unlink()

    mixing = Work("mixing", lambda out: write(out, "old"), lambda out: write(out, "new"), together=True)
    found = kill_often(mixing, 6, tmp_path, seed=1)
    assert found.kills == 6
    assert "killed, some files are old and some new" in found.wrong
    assert any(sentence.startswith("begun again, .") and sentence.endswith(": left over") for sentence in found.wrong)
