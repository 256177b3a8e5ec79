"""The page on bad input is true: its tests exist, and its sentences are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (?!what is wrong|---)(.+) \| (.+) \| (tests/\S+)::(\w+) \|$",
                  (ROOT / "docs" / "bad_input.md").read_text(), re.MULTILINE)  # fmt: skip


def test_every_row_of_the_page_is_looked_at() -> None:
    lines = [line for line in (ROOT / "docs" / "bad_input.md").read_text().splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(lines) - 5 > 60  # five heads


def named_tests() -> list[tuple[str, str]]:
    pages = [(ROOT / "docs" / name).read_text() for name in ("bad_input.md", "faults.md")]
    return sorted({found for page in pages for found in re.findall(r" (tests/\S+)::(\w+) \|$", page, re.MULTILINE)})


@pytest.mark.parametrize(("path", "name"), named_tests())
def test_the_test_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@cache
def texts() -> tuple[str, ...]:
    """All texts in the code, with what is put into them as …."""
    found = []
    for path in (ROOT / "hcal_root_ad").rglob("*.py"):
        found += [text for node in ast.walk(ast.parse(path.read_text())) if (text := _text(node))]
    return tuple(found)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def sentences() -> Iterator[str]:
    for _, cell, _, _ in ROWS:
        yield from (found for found in re.findall(r"`([^`]+)`", cell) if " " in found)


@pytest.mark.parametrize("sentence", sorted(set(sentences())))
def test_the_sentence_is_in_the_code(sentence: str) -> None:
    """What stands between the dots of a sentence stands, in this order, in one text of the code."""
    parts = [part.strip() for part in sentence.split("…") if len(part.strip()) > 2]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    assert any(pattern.search(text) for text in texts()), parts
