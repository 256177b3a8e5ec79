"""The page on the GUIs names tests that there are, and pictures that are small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gui_look.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if "test_" in line and line.startswith("|")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_rule_has_a_test_that_is_there(row: str) -> None:
    files = [ROOT / (name if "/" in name else f"tests/publish/{name}") for name in re.findall(r"`([\w/]+\.py)`", row)]
    assert files
    assert all(file.is_file() for file in files)
    sources = "".join(file.read_text(encoding="utf-8") for file in files)
    for name in re.findall(r"`(test_\w+)…?`", row):
        assert f"def {name}" in sources
    for tail in re.findall(r"`…(\w+)`", row):
        assert tail in sources


def test_pictures_are_small() -> None:
    pictures = re.findall(r"\((pictures/\w+\.png)\)", PAGE)
    assert len(pictures) == 4
    assert all((ROOT / "docs" / picture).stat().st_size < 300_000 for picture in pictures)
