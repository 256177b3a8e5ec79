"""Numbers quoted from the stored tables are there, as they are quoted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "results" / "index.md"
ENTRIES = re.split(r"^- ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
FOLDERS = {path.parent for path in PAGE.parent.glob("*/table.md")}


def tables_of(entry: str) -> list[Path]:
    return [PAGE.parent / link for link in re.findall(r"\]\(([^)]*?\.md)\)", entry) if not link.startswith("..")]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[3:20])
def test_every_number_of_an_entry_stands_in_its_table(entry: str) -> None:
    tables = tables_of(entry)
    assert tables
    there = "\n".join(table.read_text(encoding="utf-8") for table in tables).replace(",", "")
    numbers = re.findall(r"(?<![\w.,⁻])-?\d+(?:\.\d+)?%?", re.sub(r"\]\([^)]*\)|per 100 LS|10⁻³", "", entry))
    quoted = [number for number in numbers if "." in number or "%" in number or len(number) > 2]
    assert quoted
    assert [number for number in quoted if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", there)] == []


def test_every_table_has_an_entry() -> None:
    assert {table.parent for entry in ENTRIES for table in tables_of(entry)} - {PAGE.parent} == FOLDERS
