"""The pages in headless Chromium: opened, clicked, driven by keyboard, printed. Skipped where there is no Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hcal_root_ad.files import write_text
from hcal_root_ad.report.campaign_page import campaign_page, load_campaign

CONTRAST = 4.5
"""Least contrast of text (WCAG 2.2, level AA, text of any size)."""
A4 = 703
"""Pixels of 96 to the inch between the margins of a sheet."""

CONTRASTS = """
const channels = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function ground(element) {
  for (; element; element = element.parentElement) {
    const [r, g, b, a = 1] = channels(getComputedStyle(element).backgroundColor);
    if (a === 1) return [r, g, b];
    if (a > 0) throw new Error("a background that is not opaque");
  }
  return [255, 255, 255];
}
document.querySelectorAll("details").forEach(one => one.open = true);
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  if (!walker.currentNode.data.trim()) continue;
  const element = walker.currentNode.parentElement;
  const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.trim()]);
}
return found;
"""


@pytest.fixture(scope="module")
def pages(run_html: str, campaign_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the pages of the small run and of the small campaign."""
    folder = tmp_path_factory.mktemp("pages")
    write_text(folder / "run.html", run_html)
    write_text(folder / "campaign.html", campaign_page(load_campaign(campaign_folder), {370101: "run.html"}))
    return folder


@pytest.fixture
def page(pages: Path, request: pytest.FixtureRequest) -> Path:
    """The page that the test names, else that of the run."""
    return pages / f"{getattr(request, 'param', 'run')}.html"


both = pytest.mark.parametrize("page", ["run", "campaign"], indirect=True)


@pytest.fixture
def chromium(browser: Any, page: Path) -> Any:
    """The browser with the page just opened, and nothing in its logs from before."""
    browser.get("about:blank")
    for log in ("performance", "browser"):
        browser.get_log(log)
    browser.get(page.as_uri())
    return browser


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for since the last look."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]


@both
def test_nothing_is_said_on_the_console_and_nothing_asked_for(chromium: Any) -> None:
    address = chromium.current_url
    chromium.get_log("performance")
    chromium.refresh()
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in asked if not url.startswith("data:")} == {address}
    assert chromium.get_log("browser") == []


def test_the_console_and_the_requests_are_watched(chromium: Any, tmp_path: Path) -> None:
    """The test above would see a page that is not like ours."""
    path = tmp_path / "bad.html"
    path.write_text("<img src='other.png'><script>console.error('a mistake')</script>")
    chromium.get(path.as_uri())
    assert (tmp_path / "other.png").as_uri() in requests(chromium)
    assert any("a mistake" in entry["message"] for entry in chromium.get_log("browser"))


def test_every_picture_is_there_and_has_words(chromium: Any) -> None:
    pictures = chromium.execute_script("return [...document.images].map(i => [i.complete && i.naturalWidth, i.alt])")
    assert len(pictures) == 2 + 4  # two findings; timeline, states, ratios, events
    for natural, words in pictures:
        assert natural > 100
        assert words.endswith(".")
        assert len(words) > 40
    assert "Bad at some time: HEP07." in pictures[0][1]
    assert any("Where flagged: 0 seen, 0.4 expected." in words for _, words in pictures)


@both
def test_structure_speaks_to_a_screen_reader(chromium: Any, page: Path) -> None:
    headings = chromium.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    titles = {"run": "Run 370101: HCAL verdict", "campaign": "Certification of 2 runs: HCAL"}
    script = """return {
        lang: document.documentElement.lang, title: document.title,
        scopeless: document.querySelectorAll('th:not([scope])').length,
        unnamed: document.querySelectorAll('[role=region]:not([aria-label]), section:not([aria-labelledby])').length,
        main: document.querySelectorAll('main').length, nav: document.querySelectorAll('nav[aria-label]').length}"""
    assert chromium.execute_script(script) == {
        "lang": "en", "title": titles[page.stem], "scopeless": 0, "unnamed": 0, "main": 1, "nav": 1,
    }  # fmt: skip


@both
def test_first_tab_skips_to_the_verdict(chromium: Any, press: Callable[..., None]) -> None:
    press("TAB")
    skip = chromium.switch_to.active_element
    assert skip.text == "Skip to the verdict"
    assert skip.rect["x"] >= 0
    press("ENTER")
    assert chromium.current_url.endswith("#verdict")


def test_details_open_and_close_by_keyboard(chromium: Any, press: Callable[..., None]) -> None:
    summaries = chromium.execute_script("return document.querySelectorAll('summary').length")
    assert summaries == 4
    reached = 0
    for _ in range(60):
        press("TAB")
        if chromium.switch_to.active_element.tag_name != "summary":
            continue
        reached += 1
        is_open = "return document.activeElement.parentElement.open"
        assert chromium.execute_script(is_open) is False
        press("ENTER")
        assert chromium.execute_script(is_open) is True
        press("SPACE")
        assert chromium.execute_script(is_open) is False
        ring = "return getComputedStyle(document.activeElement).outlineWidth"
        assert float(chromium.execute_script(ring).removesuffix("px")) >= 2
        if reached == summaries:
            return
    pytest.fail(f"only {reached} of {summaries} details were reached by keyboard")


@pytest.mark.parametrize("page", ["campaign"], indirect=True)
def test_a_campaign_leads_to_its_runs(chromium: Any) -> None:
    chromium.find_element("link text", "370101").click()
    assert chromium.title == "Run 370101: HCAL verdict"


def test_links_lead_to_what_they_name(chromium: Any) -> None:
    link = chromium.find_element("css selector", "a[href='#finding-1']")
    link.click()
    row = chromium.find_element("css selector", "tr:target")
    assert row.text.replace("\u2060", "").startswith("1 HEP07")
    top = chromium.execute_script("return document.querySelector('tr:target').getBoundingClientRect().top")
    assert 0 <= top < chromium.execute_script("return innerHeight")


@both
def test_all_texts_can_be_read(chromium: Any) -> None:
    found = chromium.execute_script(CONTRASTS)
    assert len(found) > 80
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < CONTRAST] == []


@both
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(chromium: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wide = chromium.execute_script(
            "const root = document.documentElement; return [innerWidth, root.scrollWidth - root.clientWidth]"
        )
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == [width, 0]


def test_findings_are_cards_on_a_phone(chromium: Any) -> None:
    """One below the other, each with all of its words, and nothing to be scrolled sideways."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    sideways = (
        "return [...document.querySelectorAll('.wide')].filter(one => one.checkVisibility())"
        ".map(one => one.scrollWidth - one.clientWidth)"
    )
    lefts = (
        "return [...document.querySelectorAll('[aria-label=Findings] tbody tr')]"
        ".map(row => new Set([...row.children].map(cell => cell.getBoundingClientRect().left)).size)"
    )
    assert set(chromium.execute_script(lefts)) == {8}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert set(chromium.execute_script(sideways)) == {0}
        assert set(chromium.execute_script(lefts)) == {1}
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("page", ["campaign"], indirect=True)
def test_a_campaign_is_read_on_a_phone(chromium: Any) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    sideways = (
        "return [...document.querySelectorAll('.wide')].filter(one => one.checkVisibility())"
        ".map(one => one.scrollWidth - one.clientWidth)"
    )
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert set(chromium.execute_script(sideways)) == {0}
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@both
def test_print_shows_all_that_is_folded_or_wide(chromium: Any) -> None:
    shown = "return [...document.querySelectorAll('details > :not(summary)')].map(one => one.checkVisibility())"
    assert set(chromium.execute_script(shown)) == {False}
    within = "return [...document.querySelectorAll('.wide')].map(one => one.scrollWidth - one.clientWidth)"
    a4 = {"width": A4, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", a4)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert set(chromium.execute_script(within)) == {0}
        assert set(chromium.execute_script(shown)) == {True}
        hidden = "return getComputedStyle(document.querySelector('nav')).display"
        assert chromium.execute_script(hidden) == "none"
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert len(chromium.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000


def test_a_long_run_opens(chromium: Any, long_html: str, tmp_path: Path) -> None:
    path = tmp_path / "long.html"
    write_text(path, long_html)
    chromium.get(path.as_uri())
    assert chromium.execute_script("return document.querySelectorAll('*').length") < 6000
    assert chromium.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert chromium.get_log("browser") == []
