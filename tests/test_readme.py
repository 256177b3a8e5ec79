"""What the README shows is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hcal_root_ad.cli.main import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("harvesters/*.md"), *ROOT.glob("models/**/*.md")]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_first_screen_shows_both_commands_and_a_picture() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    assert all(word in first_screen for word in ("make run", "make test", "docs/pictures/"))


def test_every_verb_is_explained() -> None:
    table = re.findall(r"^\| `(\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(VERBS)
