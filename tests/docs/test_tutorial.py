from __future__ import annotations

import json
import re
from types import SimpleNamespace

NOTHING = re.compile(r"[│\s]+")


def test_every_step_prints_what_the_page_shows(tutorial: SimpleNamespace) -> None:
    assert len(tutorial.steps) == 7
    for step in tutorial.steps:
        printed = NOTHING.sub(" ", step.printed)
        for line in step.promised:
            assert NOTHING.sub(" ", line).strip() in printed, step.commands


def test_it_ends_with_certified_lumisections_and_pages(tutorial: SimpleNamespace) -> None:
    good = json.loads((tutorial.folder / "campaign" / "certification.json").read_text())
    assert good["404000"] == [[1, 60]]
    assert all(last < 18 or first > 31 for first, last in good["403000"])
    assert "Run 403000: HCAL verdict" in (tutorial.folder / "report.html").read_text(encoding="utf-8")
    page = (tutorial.folder / "campaign.html").read_text(encoding="utf-8")
    for run in good:
        assert f'href="campaign_runs/R{run}.html"' in page
        assert (tutorial.folder / "campaign_runs" / f"R{run}.html").is_file()


def test_the_lines_shown_are_some(tutorial: SimpleNamespace) -> None:
    assert sum(len(step.promised) for step in tutorial.steps) >= 10
