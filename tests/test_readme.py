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
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r"^#+ +(.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", text)).lower().replace(" ", "-") for text in headings}


def leads_somewhere(link: str, page: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", CODE.sub("", page.read_text(encoding="utf-8")))
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", text)
    assert [link for link in links if not leads_somewhere(link, page)] == []


def test_a_link_to_no_page_or_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What `run` does\n\n```\n# no heading\n```\n")
    assert anchors(page) == {"what-run-does"}
    assert leads_somewhere("page.md#what-run-does", page)
    assert leads_somewhere("#what-run-does", page)
    assert not leads_somewhere("#no-heading", page)
    assert not leads_somewhere("elsewhere.md", page)


def test_first_screen_shows_both_commands_and_a_picture() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    assert all(word in first_screen for word in ("make run", "make test", "docs/pictures/"))


def test_every_verb_is_explained() -> None:
    table = re.findall(r"^\| `(\w+)", (ROOT / "docs" / "verbs.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(VERBS)
