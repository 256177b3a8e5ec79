"""Damaged files end in counts or in one sentence: a sample of the campaign, and all that it ever found."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz import trial as of_trials
from benchmarks.fuzz.__main__ import main
from benchmarks.fuzz.cases import MOST_DAMAGE, Case, case, finds, spelled_case
from benchmarks.fuzz.guided import Reach, guided_trials, reach
from benchmarks.fuzz.mutations import Damage, Edit, Spelled, Spent, regions
from benchmarks.fuzz.originals import kinds, originals
from benchmarks.fuzz.table import Count, refusal
from benchmarks.fuzz.trial import FIND, OTHERWISE, REFUSED, SAME, TOLD, Trial, Worker, attempt, trials

QUICK = 100


def test_what_was_found_stays_mended() -> None:
    kept = list(finds())
    assert len(kept) >= 13
    assert [(one.case.damage.kind, one.words) for one in trials(kept) if one.result == FIND] == []


_PLAIN = "plain-DQM_V0001_R000370001__SimulatedZeroBias__Run3-v1__DQMIO.root"
_FOLDER = 476_558  # the record of By Lumi Section 2-2; its key takes 77 bytes


@pytest.mark.parametrize(
    ("kind", "original", "edit", "result", "words"),
    [
        ("nanodqmio", "lzma-nanodqmio_run370001.root", Edit(19106, 19107, b"\x02"), TOLD,
         "the index of the file and its trees contradict each other"),
        ("nanodqmio", "plain-nanodqmio_run370001.root", Edit(805249, 805250, b"\x19"), TOLD,
         "LS 2: without the event counter that other LS have"),
        ("dqm_file", _PLAIN, Edit(689931, 689995, bytes(64)), REFUSED, "a list of keys with a hole in it"),
        ("dqm_file", _PLAIN, Edit(_FOLDER + 95, _FOLDER + 99, b"\0\0\1\0"), REFUSED, "is not where, or what, it is"),
        ("dqm_file", _PLAIN, Edit(_FOLDER + 40, _FOLDER + 41, b"-"), REFUSED, "is not where, or what, it is said"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_not_read_as_something_else(
    tmp_path: Path, kind: str, original: str, edit: Edit, result: str, words: str
) -> None:
    trial = attempt(Case(kind, original, Damage("", "", (edit,))), tmp_path)
    assert (trial.result, words in trial.words) == (result, True), trial.words


@pytest.mark.parametrize("kind", kinds())
def test_a_sample_of_each_kind(kind: str) -> None:
    done = list(trials(case(kind, number) for number in range(QUICK)))
    assert len(done) == QUICK
    assert [(one.case.number, one.words) for one in done if one.result == FIND] == []


def test_led_by_coverage(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    assert main(["-o", str(tmp_path), "--only", "dials", "--files", str(QUICK)]) == 0
    table = json.loads((tmp_path / "dials.json").read_text())
    assert sum(table["count"]["results"].values()) == QUICK
    assert table["reach"]["all"] > table["reach"]["sound"] > 0
    page = (tmp_path / "table.md").read_text()
    (row,) = (line.split(" | ") for line in page.splitlines() if line.startswith(f"| dials | {QUICK} |"))
    assert row[-1] == "0 |"
    assert sum(map(int, row[2:-1])) == QUICK
    assert not (tmp_path / "finds.json").exists()


def test_without_a_fuzzer_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RuntimeError):
        next(guided_trials("dials", 1, tmp_path))


def test_what_bytes_spell() -> None:
    drawn = Spelled(bytes([7, 1, 44, 128, 2, 65]))
    assert drawn.integers(4, 10) == 5  # 4 + 7 mod 6
    assert drawn.integers(1000) == 300  # two bytes
    assert drawn.random() == 0.5
    assert drawn.choice("abc") == "c"
    assert drawn.bytes(1) == b"A"
    assert drawn.integers(3, 4) == 3  # no choice, no byte
    with pytest.raises(Spent):
        drawn.bytes(1)


def test_a_spelled_case() -> None:
    sound = spelled_case("dials", b"\x01", 3)
    assert sound.content() == originals("dials")["zstd-dials_run370001.parquet"]
    (magic,) = (n for n, region in enumerate(sorted(regions(sound.content()))) if region == "magic")
    # The magic, its one place, a hole (the fourth of five kinds) from byte 2 on, of 2 ** (1 + 0) bytes.
    assert spelled_case("dials", bytes([1, magic, 3, 2, 0]), 3).damage.edits == (Edit(2, 4, bytes(2)),)
    many = spelled_case("dials", bytes([1, *[magic, 3, 2, 0] * 9]), 3)
    assert len(many.damage.edits) == MOST_DAMAGE


def test_reach_by_hand(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "INFO: seed corpus\n#3\tINITED cov: 40 ft: 50 corp: 2/4b exec/s: 0\n"
        "#9\tNEW    cov: 44 ft: 58 corp: 3/9b lim: 48 exec/s: 9\n#16\tpulse  cov: 46 ft: 60 corp: 5/9b lim: 48\n"
    )
    assert reach(tmp_path) == Reach(40, 46, 5)


def test_damage_is_the_same_each_time_and_reaches_every_region() -> None:
    some = [case("nanodqmio", n) for n in range(200)]
    assert [case("nanodqmio", n) for n in range(200)] == some
    found = {region for data in originals("nanodqmio").values() for region in regions(data)}
    assert {"header", "key of TTree", "inside of TBasket", "head of StreamerInfo", "key of TFile"} <= found
    assert {one.damage.region for one in some} == found
    assert {one.damage.kind for one in some} == {"flips", "field", "cut", "hole", "splice"}


@pytest.mark.parametrize("kind", kinds())
def test_regions_cover_the_file(kind: str) -> None:
    for data in originals(kind).values():
        parts = sorted(part for places in regions(data).values() for part in places)
        assert parts[0][0] == 0
        assert all(np.diff([edge for part in parts for edge in part]) >= 0)
        assert sum(stop - start for start, stop in parts) > 0.98 * len(data)


def test_edits_by_hand() -> None:
    edits = (Edit(1, 2, b"XY"), Edit(4, 99, b""))
    assert Damage("", "", edits).of(b"abcdef") == b"aXYc"


def test_a_worker_that_dies_or_hangs_is_a_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Case("dials", next(iter(originals("dials"))), Damage("", "", ()))

    def dies(_: Case, __: Path) -> Trial:
        import os

        os._exit(7)

    def hangs(_: Case, __: Path) -> Trial:
        import time

        time.sleep(60)
        raise AssertionError

    monkeypatch.setattr(of_trials, "PATIENCE", 0.5)
    for behaviour, words in ((dies, "the process died (7)"), (hangs, "still reading after 0.5 s")):
        with monkeypatch.context() as here:
            here.setattr(of_trials, "attempt", behaviour)
            worker = Worker(tmp_path)
            trial = worker.attempt(sound)
            assert (trial.result, trial.words) == (FIND, words)
            worker.stop()


def test_what_is_counted(tmp_path: Path) -> None:
    sound = Case("dials", next(iter(originals("dials"))), Damage("", "", ()))
    cut = Case("dials", sound.original, Damage("cut", "", (Edit(2000, 10**6, b""),)))
    count = Count()
    for one in (sound, cut):
        count.add(attempt(one, tmp_path))
    assert dict(count.results) == {SAME: 1, REFUSED: 1}
    assert dict(count.refusals) == {"damaged or cut short, and how the reader noticed": 1}
    count.add(Trial(sound, OTHERWISE, "events(largest 3, 2) coarse totals"))
    assert Count.of_table(json.loads(json.dumps(count.as_table()))) == count
    assert dict(count.otherwise) == {"events, coarse totals": 1}
    assert refusal("InputError: FILE has a face") == "other sentences"


def test_the_kept_files_are_small() -> None:
    sizes = [path.stat().st_size for path in Path(__file__).parent.rglob("*") if path.suffix in (".xz", ".json")]
    assert sum(sizes) < 500_000
    assert len(list(chain.from_iterable(map(originals, kinds())))) == 16
