"""The page on detector states: its commands do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

from hcal_root_ad.state.history import WHOLE, History, StateStore

NOTHING = re.compile(r"[│\s]+")
PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_every_step_prints_what_the_page_shows(page_on_states: SimpleNamespace) -> None:
    assert len(page_on_states.steps) == 5
    for step in page_on_states.steps:
        printed = NOTHING.sub(" ", step.printed)
        for line in step.promised:
            assert NOTHING.sub(" ", line).strip() in printed, step.commands


def test_it_ends_before_the_run_that_was_undone(page_on_states: SimpleNamespace) -> None:
    store = StateStore(page_on_states.folder / "era")
    history = store.history()
    assert history.learned(history.last()) == (371000, 371001, 372000, 372001)
    sizes = [path.stat().st_size for path in store.folder.glob("version-*.npz")]
    assert max(sizes) < 4e6
    assert store.read(History.last).update.number == 7


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"The last {WHOLE} versions are whole, and of older ones every 8th, 64th" in text
