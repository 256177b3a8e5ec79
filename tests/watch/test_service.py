"""The watch from look to look: order, disorder, restarts, full disks, and the verdict that ``run`` would give.

The judge of these tests keeps what it is given and finds nothing, so that many runs can be replayed; what is published
is kept in memory. ``test_agreement.py`` and ``tests/cli/test_watch.py`` have the real ones.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hcal_root_ad import pipeline
from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import InputError, NoHcalError, OutputError, UsageError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Finding, Kind, Level, ModelInfo, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.references import fitting_reference
from hcal_root_ad.watch import run_in_progress, service
from hcal_root_ad.watch.alarms import Severity
from hcal_root_ad.watch.received import ReceivedFiles
from hcal_root_ad.watch.run_in_progress import GrowingExport
from hcal_root_ad.watch.service import KEPT, RETRY, Watch, WatchSettings

from .conftest import RUN, Clock, DqmFolder, maps_of, read, same_maps

PATIENCE = 60.0


class KeepingJudge:
    """Takes lumisections that rise, as a judge does, and gives them back."""

    made_with: ClassVar[list[tuple[Any, ...]]] = []
    known: ClassVar[list[dict[int, float]]] = []

    def __init__(self, *given: object, without_reference: bool, **_: object) -> None:
        self.made_with.append((*given, without_reference))
        self.maps: LumiMaps | None = None

    def add(self, maps: LumiMaps) -> None:
        if self.maps is not None:
            assert maps.lumisections[0] > self.maps.lumisections[-1]
            names = ("lumisections", "events", "event_source", "counts", "present")
            both = {name: np.concatenate([getattr(self.maps, name), getattr(maps, name)]) for name in names}
            maps = replace(maps, **both)
        self.maps = maps

    def after(self, before: KeepingJudge) -> KeepingJudge:  # noqa: ARG002
        return self

    def know(self, pileup: Mapping[int, float]) -> None:
        self.known.append(dict(pileup))

    def verdict(self) -> RunVerdict:
        assert self.maps is not None
        return RunVerdict(self.maps, ())


@dataclass
class Published:
    """What was published, by run; ``full`` says that the disk takes nothing."""

    runs: dict[int, list[RunVerdict]] = field(default_factory=dict)
    full: bool = False

    def __call__(self, verdict: RunVerdict, folder: Path, *, online: bool = False, **_: object) -> Path:
        if self.full:
            raise OutputError(f"{folder}: cannot be written (No space left on device); choose another folder.")
        self.runs.setdefault(verdict.maps.run, []).append(verdict)
        return folder / f"R{verdict.maps.run}{'_online' if online else ''}.root"

    def last(self, run: int = RUN) -> LumiMaps:
        return self.runs[run][-1].maps


@pytest.fixture
def published() -> Iterator[Published]:
    with replaced() as found:
        yield found


class replaced:
    """The judge and the publication of these tests in the place of the real ones."""

    def __enter__(self) -> Published:
        self.patch, found = pytest.MonkeyPatch(), Published()
        self.patch.setattr(pipeline, "RunJudge", KeepingJudge)
        self.patch.setattr(service, "publish", found)
        return found

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


Start = Callable[[], Watch]


@pytest.fixture
def start(published: Published, dqm: DqmFolder, tmp_path: Path, said: list[str], clock: Clock) -> Start:  # noqa: ARG001
    """Starts a watch, and starts it again as after a kill: nothing is left of the one before but its files."""
    return lambda: Watch(WatchSettings(dqm.path, tmp_path / "out", PATIENCE), Judging(()), said.append, clock, read)


def lumisections(published: Published, run: int = RUN) -> list[list[int]]:
    """Those of each publication."""
    return [verdict.maps.lumisections.tolist() for verdict in published.runs.get(run, [])]


def test_each_lumisection_is_published_as_it_comes(
    start: Start, dqm: DqmFolder, published: Published, clock: Clock, said: list[str]
) -> None:
    watch = start()
    for ls in (1, 2, 3):
        dqm.leave(ls)
        watch.look()
        clock.passes(23)
        watch.look()
    assert lumisections(published) == [[1], [1, 2], [1, 2, 3]]
    assert said[1] == f"run {RUN} | LS 2 | 1000 events | not assessed | 0 alarms | 0.00 s"
    assert same_maps(published.last(), maps_of(dqm.path))


@pytest.mark.usefixtures("published")
def test_each_publication_has_a_version_of_its_own_of_which_the_last_three_stay(
    dqm: DqmFolder, clock: Clock, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(verdict: RunVerdict, folder: Path, *, online: bool, version: int, **_: object) -> Path:
        assert online
        path = folder / f"DQM_V{version:04d}_HcalAD_R{verdict.maps.run:09d}.root"
        path.write_text("a file")
        return path

    monkeypatch.setattr(service, "publish", write)
    told = tmp_path / "told.txt"
    settings = WatchSettings(dqm.path, tmp_path / "out", PATIENCE, online=True, on_publish=f"sh -c 'echo $0 >> {told}'")
    watch = Watch(settings, Judging(()), said.append, clock, read)
    for ls in range(1, 6):
        dqm.leave(ls)
        watch.look()
    watch._on_publish.finish()
    names = [f"DQM_V{version:04d}_HcalAD_R{RUN:09d}.root" for version in range(1, 6)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.root")) == names[2:]
    assert sorted(Path(line).name for line in told.read_text().split()) == names


def test_a_detector_that_no_model_knows_is_held_against_a_fitting_reference_as_run_does(
    start: Start, dqm: DqmFolder
) -> None:
    watch = start()
    dqm.leave(1)
    watch.look()
    models, false_alarms, find, without_reference = KeepingJudge.made_with[-1]
    assert (models, false_alarms, without_reference) == ((), None, False)
    assert find.__self__.fitting is fitting_reference


def test_a_missing_lumisection_is_waited_for_then_passed_over_then_counted_all_the_same(
    start: Start, dqm: DqmFolder, published: Published, clock: Clock, said: list[str]
) -> None:
    watch = start()
    dqm.leave(1, 3)
    watch.look()
    clock.passes(PATIENCE - 1)
    watch.look()
    assert lumisections(published) == [[1]]
    clock.passes(1)
    watch.look()
    assert lumisections(published)[1:] == [[1, 3]]
    assert said[-2] == f"run {RUN}: LS 2 did not come in time, passed over for now."
    dqm.leave(2)
    watch.look()
    assert lumisections(published)[2:] == [[1, 2, 3]]
    assert f"run {RUN} | LS 2 | 1000 events | not assessed | 0 alarms | LS 2 late | judged again" in said[-1]
    assert same_maps(published.last(), maps_of(dqm.path))


def test_what_oms_says_by_now_counts_and_a_damaged_export_changes_nothing(
    dqm: DqmFolder, published: Published, tmp_path: Path, said: list[str], clock: Clock
) -> None:
    oms = tmp_path / "oms.csv"
    head = "run_number,lumisection_number,beams_stable,pileup,hlt_key\n"
    rows = [f"{RUN},1,1,40,menu\n", f"{RUN},2,0,41,menu\n", f"{RUN},3,1,39,menu\n"]
    oms.write_text(head + rows[0])
    settings = WatchSettings(dqm.path, tmp_path / "out", PATIENCE)
    watch = Watch(settings, Judging(()), said.append, clock, read, GrowingExport(oms, said.append))
    dqm.leave(1, 2)
    watch.look()
    assert published.last().present.tolist() == [True, True]
    assert KeepingJudge.known[-1] == {1: 40.0}
    oms.write_text(head + "".join(rows))
    dqm.leave(3)
    watch.look()
    assert published.last().present.tolist() == [True, False, True]
    assert KeepingJudge.known[-1] == {1: 40.0, 2: 41.0, 3: 39.0}
    oms.write_text("what is this\n")
    dqm.leave(4)
    watch.look()
    assert published.last().present.tolist() == [True, False, True, True]
    assert sum("oms.csv" in sentence and "What was read before holds." in sentence for sentence in said) == 1


def test_half_written_files_block_nobody(start: Start, dqm: DqmFolder, published: Published, clock: Clock) -> None:
    watch = start()
    dqm.leave_half(2)
    dqm.leave(1, 3)
    watch.look()
    clock.passes(PATIENCE)
    watch.look()
    assert lumisections(published) == [[1], [1, 3]]


def test_the_same_lumisection_twice_is_what_run_makes_of_it(start: Start, dqm: DqmFolder, published: Published) -> None:
    watch = start()
    dqm.leave(1, 2)
    watch.look()
    shutil.copy(dqm.name(1), dqm.path / "copy.root")
    (dqm.path / "part.root").write_text(dqm.text(2, more=7))
    watch.look()
    maps = published.last()
    assert same_maps(maps, maps_of(dqm.path))
    assert maps.events.tolist() == [1000, 2000]
    assert any("same file" in note for note in maps.notes)


def test_snapshots_are_taken_apart_and_may_go(
    start: Start, dqm: DqmFolder, published: Published, clock: Clock, said: list[str], tmp_path: Path
) -> None:
    """As the DQM does by default: each snapshot is removed once the next one is there."""
    whole = DqmFolder(tmp_path / "all")
    whole.path.mkdir()
    for number, ls in enumerate((10, 20, 30)):
        for folder in (dqm, whole):
            folder.leave(ls, snapshot=True)
        start().look()
        dqm.name(ls, snapshot=True).unlink()
        clock.passes(230)
        assert len(published.runs.get(RUN, [])) == number
    assert lumisections(published) == [[10, 20], [10, 20, 30]]
    assert same_maps(published.last(), maps_of(whole.path))
    assert sum("nothing can be judged yet" in sentence for sentence in said) == 1


def test_a_file_that_contradicts_the_others_is_left_out(
    start: Start, dqm: DqmFolder, published: Published, said: list[str]
) -> None:
    dqm.leave(10, 20, snapshot=True)
    watch = start()
    watch.look()
    odd = dqm.name(15)
    odd.write_text(dqm.text(15))
    watch.look()
    assert lumisections(published) == [[10, 20]]
    assert f"run {RUN}: {odd.name} is left out: Run {RUN} comes as maps per LS in one file" in said[-1]
    again = start()
    again.look()
    dqm.leave(30, snapshot=True)
    again.look()
    assert lumisections(published)[1:] == [[10, 20], [10, 20, 30]]


def test_a_snapshot_that_holds_less_is_left_out_as_run_does(start: Start, dqm: DqmFolder, published: Published) -> None:
    dqm.leave(10, 20, snapshot=True)
    watch = start()
    watch.look()
    dqm.name(15, snapshot=True).write_text(dqm.text(15, snapshot=True, more=-250))
    watch.look()
    maps = published.last()
    assert same_maps(maps, maps_of(dqm.path))
    assert maps.lumisections.tolist() == [10, 20]
    assert any("1 snapshots hold less than an earlier one" in note for note in maps.notes)


def test_a_restart_neither_loses_nor_repeats(
    start: Start, dqm: DqmFolder, published: Published, said: list[str]
) -> None:
    dqm.leave(1, 2)
    start().look()
    for path in dqm.path.iterdir():
        path.unlink()
    dqm.leave(3)
    start().look()
    assert lumisections(published) == [[1, 2], [1, 2, 3]]
    assert said[1] == f"run {RUN}: goes on with the 2 files that were received before."
    assert said[2] == f"run {RUN} | LS 1–3 | 3000 events | not assessed | 0 alarms | 0.00 s"


def test_damaged_state_is_said_and_built_anew_from_the_folder(
    start: Start, dqm: DqmFolder, published: Published, said: list[str], tmp_path: Path
) -> None:
    dqm.leave(1, 2, 3)
    start().look()
    sorted((tmp_path / "out").rglob("*.npz"))[1].write_bytes(b"damage")
    start().look()
    assert lumisections(published) == [[1, 2, 3]] * 2
    assert sum("saved state that cannot be used" in sentence for sentence in said) == 1


def test_the_next_run_ends_the_one_before_but_its_late_files_count(
    start: Start, dqm: DqmFolder, published: Published, clock: Clock, said: list[str]
) -> None:
    watch = start()
    dqm.leave(1, 3)
    watch.look()
    dqm.leave(1, run=RUN + 1)
    watch.look()
    clock.passes(PATIENCE)
    watch.look()
    assert lumisections(published) == [[1], [1, 3]]
    assert said[-1] == f"run {RUN}: over, 0 alarms still raised, {watch._settings.output / f'R{RUN}.root'}"
    dqm.leave(2)
    watch.look()
    clock.passes(PATIENCE)
    watch.look()
    assert lumisections(published)[-1] == [1, 2, 3]
    assert sum("over, " in sentence for sentence in said) == 2
    assert lumisections(published, RUN + 1) == [[1]]


def test_a_run_that_is_over_is_not_judged_again_after_a_restart(
    start: Start, dqm: DqmFolder, published: Published, clock: Clock
) -> None:
    dqm.leave(1)
    dqm.leave(1, run=RUN + 1)
    watch = start()
    watch.look()
    clock.passes(PATIENCE)
    watch.look()
    start().look()
    assert len(published.runs[RUN]) == 1
    assert len(published.runs[RUN + 1]) == 2


def test_counts_of_runs_that_are_over_go_when_their_files_are_gone(
    start: Start, dqm: DqmFolder, clock: Clock, tmp_path: Path
) -> None:
    watch = start()
    for run in range(RUN, RUN + KEPT + 3):
        dqm.leave(1, run=run)
        watch.look()
        clock.passes(PATIENCE)
        watch.look()
        if run != RUN + 1:
            dqm.name(1, run).unlink()
    kept = sorted(int(place.name[1:]) for place in (tmp_path / "out" / ".watch").glob("R*"))
    assert kept == [RUN + 1, RUN + KEPT, RUN + KEPT + 1, RUN + KEPT + 2]


def test_a_full_disk_is_said_once_and_the_run_published_when_there_is_room(
    start: Start, dqm: DqmFolder, published: Published, clock: Clock, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = start()
    published.full = True
    with monkeypatch.context() as full:
        full.setattr(np, "savez_compressed", _no_space)
        for ls in (1, 2, 3):
            dqm.leave(ls)
            watch.look()
            clock.passes(1)
        with pytest.raises(OutputError, match="not everything could be written"):
            watch.once()
    assert len(said) == 2
    assert "cannot be saved (No space left on device)" in said[0]
    assert "is not published, tried again" in said[1]
    published.full = False
    watch.look()
    assert lumisections(published) == []
    clock.passes(RETRY)
    watch.look()
    assert lumisections(published) == [[1, 2, 3]]
    assert said[2:4] == ["What was received is saved again.", f"run {RUN} is published again."]
    assert said[4].startswith(f"run {RUN} | LS 1–3 | 3000 events")
    for path in dqm.path.iterdir():
        path.unlink()
    start().look()
    assert lumisections(published)[-1] == [1, 2, 3]


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_goes_and_comes(
    start: Start, dqm: DqmFolder, published: Published, said: list[str], tmp_path: Path
) -> None:
    dqm.leave(1)
    watch = start()
    dqm.path.rename(tmp_path / "away")
    watch.look()
    watch.look()
    assert said == [f"{dqm.path} cannot be listed (No such file or directory); tried again."]
    (tmp_path / "away").rename(dqm.path)
    watch.look()
    assert lumisections(published) == [[1]]


def test_a_run_that_cannot_be_judged_is_said_once(
    start: Start, dqm: DqmFolder, published: Published, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: KeepingJudge) -> RunVerdict:
        raise NoHcalError("nothing can be judged")

    watch = start()
    with monkeypatch.context() as dark:
        dark.setattr(KeepingJudge, "verdict", nothing)
        for ls in (1, 2):
            dqm.leave(ls)
            watch.look()
    assert said == [f"run {RUN}: nothing can be judged"]
    dqm.leave(3)
    watch.look()
    assert lumisections(published) == [[1, 2, 3]]
    assert said[-1].startswith(f"run {RUN} | LS 1–3 |")


def test_a_run_that_stays_without_a_verdict_is_an_alarm_of_its_own(
    start: Start, dqm: DqmFolder, clock: Clock, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Too little data may only be the beginning, and is waited for; what breaks the judge is told at once."""

    def nothing(_: KeepingJudge) -> RunVerdict:
        raise NoHcalError("nothing can be judged")

    watch = start()
    with monkeypatch.context() as dark:
        dark.setattr(KeepingJudge, "verdict", nothing)
        for ls in (1, 2, 3):
            dqm.leave(ls)
            watch.look()
            clock.passes(PATIENCE / 2)
    alarm = f"run {RUN}: ALARM raised: the run not judged: nothing can be judged [sub-detector]"
    assert said == [f"run {RUN}: nothing can be judged", alarm]
    dqm.leave(4)
    watch.look()
    assert said[2] == f"run {RUN}: alarm cleared: the run not judged: nothing can be judged [sub-detector]"
    events = [json.loads(line).get("event") for line in (tmp_path / "out" / "alarms.jsonl").read_text().splitlines()]
    assert events == [None, "raised", "cleared"]


def test_status_comes_as_a_digest_and_at_once_where_something_is_late(
    dqm: DqmFolder, published: Published, clock: Clock, said: list[str], tmp_path: Path
) -> None:
    watch = Watch(WatchSettings(dqm.path, tmp_path / "out", PATIENCE, digest=10), Judging(()), said.append, clock, read)
    for ls in (*range(1, 22), 23):
        dqm.leave(ls)
        watch.look()
    clock.passes(PATIENCE)
    watch.look()
    dqm.leave(22)
    watch.look()
    assert len(published.runs[RUN]) == 23
    lines = [line.split(" | ")[1] for line in said if " | " in line]
    assert lines == ["LS 1", "LS 2–11", "LS 12–21", "LS 22–23"]


def finding(unit: str, level: Level, rows: tuple[int, ...]) -> Finding:
    return Finding("HE", level, unit, Kind.DEAD, ((1, 1),), 1, 1.0, rows, 0, 100.0, 0.0, 0.0, 15.0)


def with_findings(judge: KeepingJudge) -> RunVerdict:
    """A box and a channel elsewhere are dead."""
    assert judge.maps is not None
    maps, channels = judge.maps, channel_table().select("HE")
    nothing = np.zeros((len(maps), 0))
    found = (finding("HEP07", Level.RBX, (1, 2, 3)), finding("HE +20/5/3", Level.CHANNEL, (9,)))
    one = Verdict(
        "HE", channels, maps.lumisections, maps.events, np.ones(len(maps), dtype=np.bool_), nothing.astype(np.int32),
        nothing.astype(np.float32), nothing.astype(np.float32), nothing.astype(np.uint8), (), (),
        ModelInfo("b", "1", "", 3.0, 0.5), findings=found,
    )  # fmt: skip
    return RunVerdict(maps, (one,))


def test_alarms_below_the_asked_severity_are_in_the_log_only_and_a_command_hears_the_others(
    dqm: DqmFolder, published: Published, clock: Clock, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published.runs == {}
    monkeypatch.setattr(KeepingJudge, "verdict", with_findings)
    heard = tmp_path / "heard"
    command = tmp_path / "tell.sh"
    command.write_text(f'#!/bin/sh\necho "$1" >> {heard}\ncat >> {heard}\n')
    command.chmod(0o755)
    settings = WatchSettings(
        dqm.path, tmp_path / "out", 0.0, minimum_severity=Severity.MODULE, on_alarm=shlex.join([str(command)])
    )
    watch = Watch(settings, Judging(()), said.append, clock, read)
    dqm.leave(1)
    watch.once()
    alarm = f"run {RUN}: ALARM raised: HEP07 dead, RBX, 3 channels, LS 1, ×0 [box]"
    assert [line for line in said if "ALARM" in line] == [alarm]
    sentence, entry = heard.read_text().splitlines()
    assert sentence == alarm
    assert (json.loads(entry)["unit"], json.loads(entry)["severity"]) == ("HEP07", "box")
    log = [json.loads(line) for line in (tmp_path / "out" / "alarms.jsonl").read_text().splitlines()]
    assert {line["unit"] for line in log[1:]} == {"HEP07", "HE +20/5/3"}
    assert "| 2 alarms |" in said[-1]


def test_what_is_watched_and_written(tmp_path: Path, dqm: DqmFolder) -> None:
    with pytest.raises(InputError, match="is no folder; name the one"):
        WatchSettings(tmp_path / "none", tmp_path / "out").check()
    for inside in (dqm.path, dqm.path / "out"):
        with pytest.raises(UsageError, match="is in the folder that is watched"):
            WatchSettings(dqm.path, inside).check()


def test_forever_looks_and_sleeps(start: Start, dqm: DqmFolder, published: Published) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt
        dqm.leave(len(pauses))

    with pytest.raises(KeyboardInterrupt):
        start().forever(sleep)
    assert lumisections(published) == [[1], [1, 2]]
    assert min(pauses) >= service.PAUSE


STYLES = ("whole", "half", "twice", "changed", "never")
ARRIVAL = st.tuples(st.integers(0, 8), st.sampled_from(STYLES), st.integers(1, 6))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(ARRIVAL, min_size=1, max_size=6), min_size=1, max_size=2),
    st.sets(st.integers(0, 25), max_size=4),
    st.booleans(),
)
def test_whatever_happens_the_last_word_is_that_of_run(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[list[tuple[int, str, int]]],
    kills: set[int],
    snapshot: bool,
) -> None:
    """Late, out of order, half-written, changed, twice, missing, and killed at any moment."""
    place = tmp_path_factory.mktemp("replay")
    dqm, clock = DqmFolder(place / "dqm"), Clock()
    dqm.path.mkdir()
    plan: dict[int, list[Callable[[], object]]] = {}
    for number, arrivals in enumerate(runs):
        for ls, arrival in enumerate(arrivals, start=1):
            for tick, act in _acts(dqm, RUN + number, ls, snapshot, *arrival):
                plan.setdefault(tick + 6 * number, []).append(act)
    with replaced() as published:

        def begin() -> Watch:
            return Watch(WatchSettings(dqm.path, place / "out", 3.0), Judging(()), lambda _: None, clock, read)

        watch = begin()
        for tick in range(30):
            for act in plan.get(tick, []):
                act()
            watch.look()
            clock.passes(1)
            if tick in kills:
                watch = begin()
        for run in {RUN + number for number in range(len(runs))}:
            there = {path.read_text() for path in dqm.path.iterdir() if f"R{run:09d}" in path.name}
            if len(there) > snapshot:
                assert same_maps(published.last(run), maps_of(dqm.path, run))
            else:
                assert run not in published.runs


def _acts(
    dqm: DqmFolder, run: int, ls: int, snapshot: bool, delay: int, style: str, later: int
) -> Iterator[tuple[int, Callable[[], object]]]:
    """What happens to the file of one lumisection, and when."""
    name, text = dqm.name(ls, run, snapshot), dqm.text(ls, run, snapshot)
    first = ls + delay
    if style == "never":
        return
    if style == "half":
        yield first, lambda: name.write_text(text[:-5])
        yield first + later, lambda: name.write_text(text)
        return
    if style == "changed" and not snapshot:
        yield first, lambda: name.write_text(dqm.text(ls, run, more=60))
        yield first + later, lambda: name.write_text(text)
        return
    yield first, lambda: name.write_text(text)
    if style == "twice":
        copy = name.with_name(f"copy_{name.name}")
        yield first + later, lambda: copy.write_text(text)


@pytest.mark.parametrize(
    "name", ["tab\there.root", "two\nlines.root", "back\\slash.root", "bytes\udcff.root", "\x1b[31mred.root"]
)
def test_a_file_of_an_odd_name_is_judged_and_ends_nothing(
    name: str, start: Start, dqm: DqmFolder, published: Published, said: list[str]
) -> None:
    (dqm.path / name).write_text(dqm.text(1))
    dqm.leave(2)
    start().look()
    assert published.last().lumisections.tolist() == [1, 2]
    assert all(source.name.isprintable() for source in published.last().sources)
    again = start()
    again.look()
    assert f"run {RUN}: goes on with the 2 files that were received before." in said
    dqm.leave(3)
    again.look()
    assert published.last().lumisections.tolist() == [1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("odd"), UnicodeEncodeError("utf-8", "x", 0, 1, "odd")])
@pytest.mark.parametrize("where", ["take", "save", "publish"])
def test_what_breaks_us_at_one_file_ends_nothing(
    where: str, error: Exception, start: Start, dqm: DqmFolder, published: Published, said: list[str], clock: Clock,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    watch, place = start(), {"take": (run_in_progress.RunInProgress, "take"), "save": (ReceivedFiles, "save")}
    dqm.leave(1)

    def breaks(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as here:
        here.setattr(*place.get(where, (service, "publish")), breaks)
        watch.look()
        watch.look()
    faults = [sentence for sentence in said if "A fault of the program" in sentence]
    assert len(faults) == 1
    assert len(list(tmp_path.glob("hcal-root-ad-fault-*.txt"))) == 1
    dqm.leave(2)
    watch.look()
    clock.passes(PATIENCE)  # where LS 1 was lost
    watch.look()
    assert 2 in published.last().lumisections


def test_an_alarm_log_that_cannot_be_read_ends_nothing(
    start: Start, dqm: DqmFolder, published: Published, said: list[str], tmp_path: Path
) -> None:
    watch = start()
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "alarms.jsonl").write_text("no log\n")
    dqm.leave(1)
    watch.look()
    assert published.last().lumisections.tolist() == [1]
    assert any("is no log of alarms" in sentence for sentence in said)
