"""Damaged text inputs end in a sound table or in one sentence: a sample of the campaign, and its own rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz import texts
from benchmarks.fuzz.text_damage import EITHER, REFUSED, SAME, TextDamage, damage
from benchmarks.fuzz.text_kinds import KINDS, TextKind
from benchmarks.fuzz.texts import FIND, OTHERWISE, attempt, campaign, main
from hcal_root_ad.errors import InputError

QUICK = 60


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_of_each_kind(name: str) -> None:
    results, finds, _, growth = campaign(name, QUICK)
    assert finds == []
    assert sum(results.values()) == QUICK
    assert results[REFUSED] > QUICK / 4
    assert results[SAME] > 0
    assert growth < texts.MOST


def test_damage_is_the_same_each_time_and_of_every_sort() -> None:
    kind = KINDS["golden"]
    drawn = [damage(kind, np.random.default_rng([3, number])) for number in range(400)]
    assert drawn == [damage(kind, np.random.default_rng([3, number])) for number in range(400)]
    words = {one.words.partition(" ")[0] for one in drawn}
    assert {"number", "deep", "bytes", "cut", "lines", "BOM", "CRLF", "gzip", "UTF-16", "no", "zip"} <= words
    assert {one.expected for one in drawn} == {SAME, REFUSED, EITHER}


def kind_that(reads: object) -> TextKind:
    def read(_: Path) -> object:
        if isinstance(reads, Exception):
            raise reads
        return reads

    return TextKind("x.json", {}, str, read, {})


@pytest.mark.parametrize(
    ("reads", "expected", "result"),
    [
        (7, SAME, SAME),
        (8, EITHER, OTHERWISE),
        (8, SAME, FIND),
        (7, REFUSED, FIND),  # a wrong value was taken
        (float("inf"), EITHER, FIND),
        (ZeroDivisionError(), EITHER, FIND),
        (InputError("The file x.json is wrong."), REFUSED, REFUSED),
        (InputError("The file x.json is wrong."), SAME, FIND),
        (InputError("Something is wrong."), REFUSED, FIND),  # which file?
        (InputError("x.json\nis wrong"), REFUSED, FIND),
        (InputError("x.json \x1b[31m"), REFUSED, FIND),
        (InputError("x.json " * 1000), REFUSED, FIND),
    ],
)
def test_what_is_a_find(tmp_path: Path, reads: object, expected: str, result: str) -> None:
    one = TextDamage(b"", "damage", expected)
    assert attempt(kind_that(reads), one, "7", tmp_path).result == result


def test_the_command_writes_counts_and_a_page(tmp_path: Path) -> None:
    assert main(["-o", str(tmp_path), "--files", "10", "--only", "policy"]) == 0
    (row,) = (line for line in (tmp_path / "texts.md").read_text().splitlines() if line.startswith("| policy | 10 |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert sum(map(int, cells[2:6])) == 10
    assert cells[5] == "0"
