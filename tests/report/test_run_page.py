from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from hcal_root_ad.judge.verdict import CommonPart, State, Trust
from hcal_root_ad.publish.saved_verdict import PartRecord, RunRecord
from hcal_root_ad.report.page import picture
from hcal_root_ad.report.run_page import events_figure, run_page

MakePart = Callable[..., PartRecord]
VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Open elements, addresses, ids and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [value for name in ("src", "href") if (value := values.get(name))]
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th", "dt", "dd", "span"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data


def words_of(run_html: str) -> str:
    return re.sub(r"\s+", " ", Outline(run_html).text.replace("\u2060", ""))


def test_verdict_comes_first_then_what_it_rests_on(run_html: str) -> None:
    words = words_of(run_html)
    order = ["Run 370101", "A readout box is bad in 7 of the 11 lumisections", "Timeline", "Maps per depth", "Findings",
             "Ageing", "Conditions", "Provenance"]  # fmt: skip
    body = words[words.index("Provenance") + 1 :]  # behind the table of contents
    places = [body.index(heading) for heading in order[1:]]
    assert places == sorted(places)


def test_numbers_are_those_of_the_record(run_html: str) -> None:
    words = words_of(run_html)
    numbers = "HB HE judged by LS LS LS judged 11 11 LS in the run 12 12 LS without a flag 8 4 LS with a bad box 0 7"
    assert f"{numbers} bad channels 1 1 problematic 0 0 not connected 0 0 findings 1 1" in words
    assert "HEP07 RBX, 90 channels ✖ bad dead 90 channels of readout box HEP07 gave no digi at all" in words
    assert "HE +20/5/3 1 2 80% 5% 50 40–70" in words
    assert "Lumisections 12 (1–7, 9–13) Not in the input 8 Not assessed 3 Events 16,520 in all, 1,500 in a" in words
    assert "he-graphstad, version 1 adapted model 6.50 1.0 ab12" in words
    assert "no digest (read by network, or changed since)" in words


def test_page_is_well_formed_and_asks_for_nothing(run_html: str) -> None:
    outline = Outline(run_html)
    assert outline.open == ["html"] or outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {address[:5] for address in outline.addresses if not address.startswith("#")} == {"data:"}
    assert {address[1:] for address in outline.addresses if address.startswith("#")} <= set(outline.ids)
    assert "<script" not in run_html
    assert "default-src 'none'" in run_html


def test_texts_are_escaped(run_html: str) -> None:
    assert "A note with &lt;b&gt;brackets&lt;/b&gt; &amp; an ampersand." in run_html
    assert "<b>brackets" not in run_html


@pytest.mark.usefixtures("undrawn")
def test_equal_records_give_equal_pages(record: RunRecord) -> None:
    assert run_page(record) == run_page(record)


def test_equal_figures_give_equal_pictures() -> None:
    first, second = (picture(events_figure(1, np.ones(9), np.ones(9, dtype=bool)), "Events.") for _ in range(2))
    assert first == second


@pytest.mark.usefixtures("undrawn")
def test_a_quiet_run_says_that_nothing_is_flagged(quiet: RunRecord) -> None:
    words = words_of(run_page(quiet))
    assert "✔ good Nothing is flagged in the 11 lumisections that were judged." in words
    assert "To keep in mind" not in words
    assert "Nothing loses digis" in words


@pytest.mark.usefixtures("undrawn")
def test_trust_stands_before_the_verdict_and_conditions_below(record: RunRecord) -> None:
    hb, he = record.parts
    nothing = np.zeros((12, 0), dtype=np.float32)
    common = CommonPart(record.lumisections, nothing, nothing, {}, nothing, nothing, (), nothing,
                        ("The trigger mix changed in LS 7.",))  # fmt: skip
    doubtful = replace(record, parts=(hb, replace(he, trust=Trust.NONE)), common=common, masked=("HEP07",))
    words = words_of(run_page(doubtful))
    assert words.index("HE: NOT TRUSTED, no reference.") < words.index("A readout box is bad in 7")
    assert "What all channels have in common: The trigger mix changed in LS 7." in words
    assert "Left out by request: HEP07." in words
    assert "How far to trust it" not in words_of(run_page(record))


@pytest.mark.usefixtures("undrawn")
def test_hf_has_its_sides_in_the_table_and_no_place_on_the_maps(record: RunRecord) -> None:
    he = record.parts[1]
    counts = {name: getattr(he, name)[:, :2] for name in ("judged", "problematic", "bad")}
    states = np.full((12, 2), State.GOOD, dtype=np.uint8)
    states[4:6, 1] = State.BAD
    hf = replace(he, name="HF", boxes=("HFM", "HFP"), box_states=states, **counts, findings=())
    words = words_of(run_page(replace(record, parts=(*record.parts, hf))))
    assert "HFP 5–6 none" in words


@pytest.mark.usefixtures("undrawn")
def test_what_was_not_judged_is_named(record: RunRecord) -> None:
    assert "HE not judged: nothing on this page speaks about it." in words_of(
        run_page(replace(record, parts=record.parts[:1]))
    )


@pytest.mark.usefixtures("undrawn")
def test_strips_have_no_maps_per_depth(record: RunRecord) -> None:
    empty = {
        name: getattr(record.parts[1], name)[:0] for name in ("worst", "fraction", "observed", "expected", "score")
    }
    strips = replace(record.parts[1], name="strips", granularity="strips", **empty)
    page = run_page(replace(record, parts=(strips,)))
    assert 'id="maps"' not in page
    assert "90 strips of readout box HEP07" in page


@pytest.mark.usefixtures("undrawn")
def test_a_run_judged_as_a_whole_has_no_small_pictures(record: RunRecord) -> None:
    he = record.parts[1]
    rows = {name: getattr(he, name)[4:5] for name in ("assessed", "judged", "problematic", "bad", "box_states")}
    histories = {name: getattr(he, name)[:, 4:5] for name in ("finding_observed", "finding_expected")}
    page = run_page(replace(record, parts=(replace(he, granularity="run", **rows, **histories),)))
    assert 'class="stamp"><img' not in page
    assert "the run, which was judged as a whole" in page


@pytest.mark.usefixtures("undrawn")
def test_nothing_judged_is_drawn_too(quiet: RunRecord) -> None:
    parts = tuple(
        replace(part, assessed=np.zeros_like(part.assessed), box_states=np.minimum(part.box_states, State.NOT_ASSESSED))
        for part in quiet.parts
    )
    assert "○ not assessed No lumisection could be judged" in words_of(run_page(replace(quiet, parts=parts)))
    assert "No lumisection could be judged" in run_page(replace(quiet, parts=()))


def test_a_long_run_stays_small(long_html: str) -> None:
    assert len(long_html.encode()) < 3_000_000
    words = words_of(long_html)
    assert "A column holds 2 LS and shows the worst of them." in words
    assert long_html.count('class="stamp"') == 60
    assert "240 weaker findings" in words
    assert "And 100 more" in words


@pytest.mark.usefixtures("undrawn")
def test_the_timeline_outlines_what_it_shows(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding in the totals of the run has no place among the lumisections of the strips."""
    strips = replace(record.parts[1], name="strips", granularity="strips")
    totals = replace(record.parts[0], granularity="run", assessed=np.array([True]))
    drawn = []
    monkeypatch.setattr("hcal_root_ad.report.run_page.timeline_figure", lambda *arguments: drawn.append(arguments[3]))
    run_page(replace(record, parts=(totals, strips)))
    assert [(one.number, one.box, one.first, one.last) for one in drawn[0]] == [(1, 60, 5, 12)]
