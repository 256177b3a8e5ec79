"""A small judged run: 12 lumisections, one dead box, one hot and one masked channel, one lumisection not assessed."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.verdict import (
    Finding,
    Interval,
    Kind,
    Level,
    ModelInfo,
    RunVerdict,
    State,
    StripVerdict,
    Verdict,
)
from hcal_root_ad.lumi_maps import LumiMaps, Source

RUN = 370101
LUMISECTIONS = np.array([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13], dtype=np.int32)
"""LS 8 is not in the file."""
NOT_ASSESSED = 2
"""Row (LS 3) with too few events."""
DEAD_FIRST, DEAD_LAST = 5, 12
HOT_FIRST, HOT_LAST = 10, 13
JUDGE = ModelInfo(name="he-graphstad", version="1", digest="ab12", threshold=6.5, false_alarms=1.0)


def _events() -> np.ndarray:
    events = np.full(len(LUMISECTIONS), 1500, dtype=np.int64)
    events[NOT_ASSESSED] = 20
    return events


def make_verdict(name: str) -> Verdict:
    channels = channel_table(Era.RUN3).select(name)
    events, n = _events(), len(channels)
    probability = 0.3 + 0.4 * np.abs(channels.ieta) / 29
    expected = np.outer(events, probability).astype(np.float32)
    observed = np.random.default_rng(7).binomial(events[:, None], probability).astype(np.int32)
    states = np.full((len(events), n), State.GOOD, dtype=np.uint8)
    score = np.zeros((len(events), n), dtype=np.float32)
    states[NOT_ASSESSED] = State.NOT_ASSESSED
    intervals: list[Interval] = []
    findings: list[Finding] = []

    def flag(rows: np.ndarray, kind: Kind, first: int, last: int, factor: float, sign: int, group: str) -> None:
        at = (first <= LUMISECTIONS) & (last >= LUMISECTIONS)
        observed[np.ix_(at, rows)] = np.minimum(observed[np.ix_(at, rows)] * factor, events[at, None])
        states[np.ix_(at, rows)] = kind.state
        score[np.ix_(at, rows)] = sign * 40.0
        for row in rows:
            seen, wanted = int(observed[at, row].sum()), float(expected[at, row].sum())
            intervals.append(Interval(int(row), kind, first, last, seen, wanted, 40.0, group))
        seen, wanted = int(observed[np.ix_(at, rows)].sum()), float(expected[np.ix_(at, rows)].sum())
        level, size, n = (Level.CHANNEL if "/" in group else Level.RBX), seen / wanted, int(at.sum())
        findings.append(Finding(name, level, group, kind, ((first, last),), n, 1.0, tuple(rows.tolist()), seen, wanted,
                                size, size / max(seen, 1) ** 0.5, 13.6 * len(rows) ** 0.5))  # fmt: skip

    if name == "HE":
        box = np.flatnonzero((channels.rbx == 7) & (channels.ieta > 0))
        flag(box, Kind.DEAD, DEAD_FIRST, DEAD_LAST, 0.0, -1, "HEP07")
        masked = int(np.flatnonzero((channels.ieta == -20) & (channels.iphi == 11) & (channels.depth == 3))[0])
        states[:, masked], observed[:, masked] = State.NOT_CONNECTED, 0
    else:
        hot = np.flatnonzero((channels.ieta == 4) & (channels.iphi == 33) & (channels.depth == 2))
        flag(hot, Kind.HOT, HOT_FIRST, HOT_LAST, 2.0, 1, "HB +4/33/2")
    assessed = np.arange(len(events)) != NOT_ASSESSED
    return Verdict(
        subdetector=name,
        channels=channels,
        lumisections=LUMISECTIONS,
        events=events,
        assessed=assessed,
        observed=observed,
        expected=expected,
        score=score,
        states=states,
        intervals=tuple(intervals),
        judge=JUDGE,
        notes=("A note with <brackets> and a µ.",),
        findings=tuple(findings),
    )


def make_maps(source: str = "nanodqmio_run370101.root") -> LumiMaps:
    table = channel_table(Era.RUN3).select("HB", "HE")
    n = len(LUMISECTIONS)
    return LumiMaps(
        run=RUN,
        channels=table,
        lumisections=LUMISECTIONS,
        events=_events(),
        event_source=np.full(n, 3, dtype=np.uint8),
        counts=np.zeros((n, len(table)), dtype=np.int32),
        present=np.ones(n, dtype=bool),
        definition="nanodqmio",
        sources=(Source(source, 1234, "00ff"),),
    )


def make_strips() -> StripVerdict:
    events = _events()
    expected = np.outer(events, np.full(288, 20.0)).astype(np.float32)
    observed = expected.astype(np.int64)
    states = np.full(expected.shape, State.GOOD, dtype=np.uint8)
    score = np.zeros_like(expected)
    states[NOT_ASSESSED] = State.NOT_ASSESSED
    box = 3 * 72 + np.arange(23, 27) - 1  # HEP07: iphi 23 to 26
    at = (LUMISECTIONS >= DEAD_FIRST) & (LUMISECTIONS <= DEAD_LAST)
    observed[np.ix_(at, box)] = 0
    states[np.ix_(at, box)] = State.BAD
    score[np.ix_(at, box)] = -30
    wanted = float(expected[np.ix_(at, box[:1])].sum())
    intervals = tuple(Interval(int(s), Kind.DEAD, DEAD_FIRST, DEAD_LAST, 0, wanted, 30.0, "HEP07") for s in box)
    finding = Finding("HE", Level.RBX, "HEP07", Kind.DEAD, ((DEAD_FIRST, DEAD_LAST),), int(at.sum()), 1.0,
                      tuple(box.tolist()), 0, 4 * wanted, 0.0, 0.0, 23.5)  # fmt: skip
    assessed = np.arange(len(events)) != NOT_ASSESSED
    return StripVerdict(
        LUMISECTIONS, events, assessed, observed, expected, score, states, intervals, JUDGE, ("Strips only.",),
        trust_reason="each strip against its own share", findings=(finding,),
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_run() -> SimpleNamespace:
    """Builders of the parts, for tests that need other combinations."""
    return SimpleNamespace(verdict=make_verdict, maps=make_maps, strips=make_strips)


@pytest.fixture(scope="session")
def verdict() -> RunVerdict:
    return RunVerdict(make_maps(), (make_verdict("HB"), make_verdict("HE")), notes=("A note on the run.",))


@pytest.fixture(scope="session")
def strip_verdict() -> RunVerdict:
    return RunVerdict(make_maps("DQM_V0001_Hcal_R000370101.root"), (), strips=make_strips())


@pytest.fixture(scope="session")
def published(verdict: RunVerdict, tmp_path_factory: pytest.TempPathFactory):
    """The file of the small run, written once for all tests."""
    from hcal_root_ad.publish.publish import publish

    return publish(verdict, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def listing():
    """A reader of its own, to test against: lists a file as the newer DQM GUI does, by walking all records in sequence.

    Written from the description of ``DQMServices/DQMGUI/python/nanoroot.py`` and ``dqmclassic_importer.py``; shares no
    code with the package. A byte that is neither a record nor a marked gap raises AssertionError, as there.
    """
    return _listing


_SHOWN = {"TH1D", "TH1F", "TH1S", "TH2D", "TH2F", "TH2S", "TH3F", "TObjString", "TProfile", "TProfile2D"}


def _name(data: bytes, position: int) -> tuple[str, int]:
    size = data[position]
    if size == 255:
        (size,) = struct.unpack_from(">i", data, position + 1)
        position += 4
    return data[position + 1 : position + 1 + size].decode(), position + 1 + size


def _key(data: bytes, position: int) -> tuple[int, int, str, str]:
    """Size, parent, class and name of the key at a position."""
    size, version, _, _, _, _, seek, parent = struct.unpack_from(">iHIIHHII", data, position)
    head = 26
    if version > 1000:
        size, version, _, _, _, _, seek, parent = struct.unpack_from(">iHIIHHQQ", data, position)
        head = 34
    assert seek == position, f"key at {position} is corrupted"
    class_name, after = _name(data, position + head)
    return size, parent, class_name, _name(data, after)[0]


def _folder(data: bytes, parent: int) -> tuple[str, ...]:
    if parent == 0:
        return ()
    _, above, _, name = _key(data, parent)
    return (*_folder(data, above), name)


def _listing(data: bytes) -> list[tuple[str, str, str]]:
    """(GUI folder, name, class) of all that the newer GUI lists; folders without Run summary begin with <broken>."""
    (end,) = struct.unpack_from(">I", data, 12)
    position, found = 100, []
    while position < end:
        (size,) = struct.unpack_from(">i", data, position)
        assert size != 0
        if size < 0:
            position -= size
            continue
        size, parent, class_name, name = _key(data, position)
        if class_name in _SHOWN:
            parts = _folder(data, parent)[1:]
            shown = len(parts) >= 4 and parts[3] == "Run summary"
            found.append(
                ("/".join((parts[2], *parts[4:])) if shown else "<broken>" + "/".join(parts), name, class_name)
            )
        position += size
    assert position == end
    return found
