"""Records small enough to do by hand, a long one, and a headless browser where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.aggregate import depth_maps
from hcal_root_ad.judge.verdict import Finding, Forecast, Kind, Level, ModelInfo, State
from hcal_root_ad.lumi_maps import Source, within
from hcal_root_ad.publish.saved_verdict import PartRecord, RunRecord, record_name, save_record
from hcal_root_ad.report.page import Picture
from hcal_root_ad.report.run_page import run_page

JUDGE = ModelInfo("he-graphstad", "1", "ab12", 6.5, 1.0)
BOXES = {"HB": slice(0, 36), "HE": slice(36, 72)}
HEP07, HBP09 = 60, 26
EVENTS, EXPECTED = 1500, 600.0

MakePart = Callable[..., PartRecord]


def make_finding(
    unit: str, kind: Kind, ranges: tuple[tuple[int, int], ...], channels: int, observed: int, expected: float,
    significance: float, duty: float = 1.0,
) -> Finding:  # fmt: skip
    level = Level.CHANNEL if "/" in unit else Level.RM if "-RM" in unit else Level.RBX
    lumisections = round(duty * sum(last - first + 1 for first, last in ranges))
    size = observed / expected
    return Finding(unit[:2], level, unit, kind, ranges, lumisections, duty, tuple(range(channels)), observed, expected,
                   size, size / max(observed, 1) ** 0.5, significance)  # fmt: skip


def make_part(name: str, lumisections: np.ndarray, *faults: tuple[Finding, int, int]) -> PartRecord:
    """A sub-detector with 100 channels in each box; a fault is (finding, box, channels that are bad)."""
    n, boxes = len(lumisections), BOXES[name]
    assessed = lumisections != 3
    judged, problematic, bad = (np.zeros((n, 72), dtype=np.int32) for _ in range(3))
    judged[:, boxes] = 100 * assessed[:, None]
    states = np.zeros((n, 72), dtype=np.uint8)
    states[:, boxes] = np.where(assessed, State.GOOD, State.NOT_ASSESSED)[:, None]
    maps = _maps(name)
    expected = np.full((len(faults), n), EXPECTED, dtype=np.float32) * assessed
    observed = expected.copy()
    for row, (finding, box, channels) in enumerate(faults):
        at = within(lumisections, finding.ranges) & assessed
        (bad if finding.kind.state is State.BAD else problematic)[at, box] += channels
        states[at, box] = State.BAD if bad[at, box].max(initial=0) >= 25 else State.PROBLEMATIC
        observed[row, at] *= finding.size
        cell = tuple(place[row] for place in np.nonzero(maps["worst"] == State.GOOD))
        maps["worst"][cell], maps["fraction"][cell], maps["score"][cell] = finding.kind.state, 0.5, -10.0
    return PartRecord(
        name, "lumisection", JUDGE, assessed, judged, problematic, bad, states,
        tuple(finding for finding, _, _ in faults), observed, expected, **maps,
    )  # fmt: skip


def _maps(name: str) -> dict[str, Any]:
    channels = channel_table(Era.RUN3).select(name)
    there = depth_maps(channels, 1)
    return {
        "worst": (State.GOOD * there).astype(np.uint8),
        "fraction": np.zeros(there.shape, dtype=np.float32),
        "observed": (5000 * there).astype(np.float32),
        "expected": (5000 * there).astype(np.float32),
        "score": np.zeros(there.shape, dtype=np.float32),
    }


DEAD = make_finding("HEP07", Kind.DEAD, ((5, 12),), 90, 0, 4200.0, 96.0)
HOT = make_finding("HB +4/33/2", Kind.HOT, ((10, 11), (13, 13)), 1, 3700, 1500.0, 13.6, 0.75)


@pytest.fixture(scope="session")
def make() -> MakePart:
    return make_part


@pytest.fixture(scope="session")
def record() -> RunRecord:
    """LS 1 to 13 without LS 8, LS 3 not assessed; HEP07 dead, a channel of HB hot twice, another one ageing."""
    lumisections = np.array([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13], dtype=np.int32)
    hb = make_part("HB", lumisections, (HOT, HBP09, 1))
    he = make_part("HE", lumisections, (DEAD, HEP07, 90))
    return RunRecord(
        run=370101,
        definition="dqmio-occupancy",
        lumisections=lumisections,
        events=np.where(lumisections == 3, 20, EVENTS).astype(np.int64),
        sources=(Source("nanodqmio.root", 1234, "00ff"), Source("root://far/away.root", 99, "")),
        notes=("A note with <b>brackets</b> & an ampersand.",),
        program="hcal-root-ad 0.1.0",
        parts=(hb, replace(he, forecasts=(Forecast("HE +20/5/3", 1, 2, 0.8, 0.05, 40, 50, 70),))),
    )


@pytest.fixture(scope="session")
def quiet(record: RunRecord) -> RunRecord:
    """The same run with nothing wrong."""
    parts = tuple(make_part(name, record.lumisections) for name in ("HB", "HE"))
    return replace(record, parts=parts, notes=())


@pytest.fixture(scope="session")
def long_record(record: RunRecord) -> RunRecord:
    """2,000 LS with 400 findings: a bad night."""
    lumisections = np.arange(1, 2001, dtype=np.int32)
    draw = np.random.default_rng(5)
    channels = channel_table(Era.RUN3).select("HE")
    faults = []
    for row in draw.choice(len(channels), 200, replace=False):
        first = int(draw.integers(4, 1900))
        unit = f"HE {channels.ieta[row]:+d}/{channels.iphi[row]}/{channels.depth[row]}"
        finding = make_finding(unit, Kind.DEGRADED, ((first, first + 60),), 1, 300, 600.0, float(draw.uniform(5.5, 60)))
        faults.append((finding, int(channels.box[row]), 1))
    he = make_part("HE", lumisections, *faults)
    noisy = (he.finding_expected * draw.normal(1, 0.05, he.finding_expected.shape)).astype(np.float32)
    he = replace(he, finding_observed=noisy)
    of_hb = tuple(replace(finding, unit="HB" + finding.unit[2:]) for finding in he.findings)
    hb = replace(make_part("HB", lumisections), findings=of_hb, finding_observed=noisy,
                 finding_expected=he.finding_expected)  # fmt: skip
    events = draw.integers(1000, 2000, len(lumisections))
    return replace(record, lumisections=lumisections, events=events, parts=(hb, he))


@pytest.fixture(scope="session")
def run_html(record: RunRecord) -> str:
    """The page on the small run, drawn once for all tests."""
    return run_page(record)


@pytest.fixture(scope="session")
def long_html(long_record: RunRecord) -> str:
    """The page on the long run, drawn once for all tests."""
    return run_page(long_record)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out, which takes all the time, where only words matter."""

    def picture(_: object, words: str) -> Picture:
        return Picture("data:image/png,", 1, 1, words)

    for module in ("run_page", "campaign_page"):
        monkeypatch.setattr(f"hcal_root_ad.report.{module}.picture", picture)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a profile of its own, which must not speak to anybody."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,900",
    ):  # fmt: skip
        options.add_argument(flag)
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture
def press(browser: Any) -> Callable[..., None]:
    """Press keys, by name."""
    from selenium.webdriver import ActionChains, Keys

    def press_keys(*names: str) -> None:
        ActionChains(browser).send_keys(*(getattr(Keys, name) for name in names)).perform()

    return press_keys


CSV = """\
run,lumisection,status,cause,hb,he,hf,ho,events,pileup,delivered,recorded,policy
370101,1,GOOD,,GOOD,GOOD,NOTSET,NOTSET,1500,50.9,,1,standard 1 (abc)
370101,2,GOOD,,GOOD,GOOD,NOTSET,NOTSET,1500,40,,1,standard 1 (abc)
370101,3,BAD,HE: lost RBX,GOOD,BAD,NOTSET,NOTSET,1500,,,1,standard 1 (abc)
370101,4,GOOD,,GOOD,GOOD,NOTSET,NOTSET,1500,,,1,standard 1 (abc)
370102,1,STANDBY,no stable beams,STANDBY,STANDBY,NOTSET,NOTSET,0,,,0,standard 1 (abc)
370102,2,NOTSET,too few events or no data,NOTSET,NOTSET,NOTSET,NOTSET,10,,,,standard 1 (abc)
"""


@pytest.fixture(scope="session")
def campaign_folder(record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What certify leaves of two runs: four and two LS, one of them bad; and a file that failed."""
    folder = tmp_path_factory.mktemp("campaign")
    flag = {"status": "BAD", "cause": "HE: lost RBX", "comment": "HE up to 60.0% bad, lost HEP07; policy"}
    fine = {"status": "GOOD", "cause": "", "comment": "policy"}
    registry = {
        "370101": [
            {"start": 1, "end": 2, "hcal-hcal": fine},
            {"start": 3, "end": 3, "hcal-hcal": flag},
            {"start": 4, "end": 4, "hcal-hcal": fine},
        ],
        "370102": [{"start": 1, "end": 1, "hcal-hcal": {"status": "STANDBY", "cause": "", "comment": ""}}],
    }
    rules = {
        "bad_channels": 0.02,
        "problematic_channels": 0.05,
        "lost_rbx_share": 0.75,
        "lost_rbx": 0,
        "consecutive": 1,
    }
    policy = {"label": "standard 1 (abc)", "digest": "abc", "name": "standard", "version": "1", "description": "Bad.",
              "needed": ["HB", "HE"], "counted": ["HF"], "untrusted": "not assessed",
              "rules": {"HB": rules, "HE": rules}}  # fmt: skip
    trust = {name: {"trust": "adapted model", "reason": "", "sensitivity": 1.0} for name in ("HB", "HE")}
    run = {"judges": {"HB": "hb 1", "HE": "he 1 ab12"}, "trust": trust, "open_findings": []}
    provenance = {
        "program": "hcal-root-ad 0.1.0", "policy": policy, "notes": ["A note."], "runs": {"370101": run, "370102": run},
        "failed": [{"file": "broken.root", "sentence": "broken.root is damaged <here>."}],
    }  # fmt: skip
    (folder / "lumisections.csv").write_text(CSV)
    (folder / "run_registry.json").write_text(json.dumps(registry))
    (folder / "certification.json").write_text('{"370101": [[1, 2], [4, 4]]}')
    (folder / "certification.provenance.json").write_text(json.dumps(provenance))
    for number in (370101, 370102):
        save_record(replace(record, run=number), folder / "records" / record_name(number))
    return folder
