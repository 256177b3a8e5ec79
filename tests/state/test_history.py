"""A state on disk: every update is kept, can be undone, and survives kills, neighbours and readers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.errors import StateError
from hcal_root_ad.state.history import Action, History, Input, StateStore, Update, kept_whole

FORK = get_context("fork")


def quiet(_: str) -> None:
    """Nobody listens."""


def arrays(value: float, size: int = 1000) -> dict[str, np.ndarray]:
    return {"level": np.full(size, value), "runs": np.arange(int(value))}


def begin(folder: Path, *runs: int) -> StateStore:
    store = StateStore(folder)
    with store.alone(quiet):
        store.add(arrays(0), Update(0, -1, False, Action.BEGUN, runs or (100,)))
    return store


def learn(store: StateStore, run: int, value: float | None = None) -> Update:
    """As a verb does it: what is there is read within the lock, and one more run is learned."""
    with store.alone(quiet):
        history = store.history()
        backwards = run < history.start
        last = history.last(backwards)
        level = store.read(lambda _: last).arrays["level"][0]
        record = {"lumisections": [[1, 20]], "opened": []}
        update = Update(0, last.number, backwards, Action.LEARNED, (run,), record=record,
                        inputs=(Input(f"{run}.root", "ab"),))  # fmt: skip
        return store.add(arrays(level + 1 if value is None else value), update)


def level(store: StateStore, backwards: bool = False) -> float:
    return float(store.read(lambda history: history.last(backwards)).arrays["level"][0])


def learned(store: StateStore, backwards: bool = False) -> tuple[int, ...]:
    history = store.history()
    return history.learned(history.last(backwards))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_updates_are_kept_in_their_order_with_what_they_did(tmp_path: Path) -> None:
    store = begin(tmp_path / "state", 100, 90)
    learn(store, 101)
    learn(store, 103)
    assert learned(store) == (100, 90, 101, 103)
    assert level(store) == 2
    update = store.history().last()
    assert (update.number, update.based_on, update.inputs) == (2, 1, (Input("103.root", "ab"),))
    assert update.record == {"lumisections": [[1, 20]], "opened": []}


def test_runs_before_the_clean_ones_are_a_chain_of_their_own(tmp_path: Path) -> None:
    store = begin(tmp_path)
    learn(store, 101)
    learn(store, 99)
    learn(store, 102)
    learn(store, 97)
    assert learned(store) == (100, 101, 102)
    assert learned(store, backwards=True) == (100, 99, 97)
    assert (level(store), level(store, backwards=True)) == (2, 2)


@pytest.mark.parametrize(
    ("run", "number"), [(105, 3), (104, 2), (103, 2), (102, 1), (101, 0), (100, 0), (99, 0), (98, 4)]
)
def test_a_run_is_judged_by_the_state_before_it(tmp_path: Path, run: int, number: int) -> None:
    store = begin(tmp_path)
    for one in (101, 102, 104, 99):
        learn(store, one)
    assert next(store.history().before(run)).number == number


def test_undo_goes_back_and_is_itself_recorded(tmp_path: Path) -> None:
    store = begin(tmp_path)
    for run in (101, 102, 103):
        learn(store, run)
    before = content(tmp_path)
    with store.alone(quiet):
        undone, back = store.undo("102", "HEP07 was off")
    assert (level(store), learned(store), back.number) == (1, (100, 101), 1)
    assert (undone.action, undone.runs, undone.reason) == (Action.UNDONE, (102, 103), "HEP07 was off")
    assert undone.record == {"undone": [2, 3]}
    assert before.items() <= content(tmp_path).items()  # nothing is erased
    learn(store, 102, 7)
    assert (level(store), learned(store)) == (7, (100, 101, 102))
    with store.alone(quiet), pytest.raises(StateError, match=r"learned nothing of 103 .* its runs are 100, 101, 102\."):
        store.undo("103")


def test_a_persons_word_is_undone_by_the_name_of_its_finding(tmp_path: Path) -> None:
    store = begin(tmp_path)
    learn(store, 101)
    with store.alone(quiet):
        store.add(arrays(9), Update(0, 1, False, Action.ACCEPTED, (101,), finding="HE-RBX-HEP07", reason="new HV"))
        assert level(store) == 9
        store.undo("HE-RBX-HEP07")
    assert (level(store), learned(store)) == (1, (100, 101))


def test_the_clean_runs_cannot_be_undone(tmp_path: Path) -> None:
    store = begin(tmp_path)
    with store.alone(quiet), pytest.raises(StateError, match="learned nothing of 100 that could be undone"):
        store.undo("100")


def test_few_versions_are_kept_whole_and_undo_goes_to_the_nearest_before(tmp_path: Path) -> None:
    store = begin(tmp_path)
    for run in range(101, 131):
        learn(store, run)
    whole = sorted(int(path.stem.split("-")[1]) for path in tmp_path.glob("version-*.npz"))
    assert whole == [0, 8, 16, *range(23, 31)]
    assert len(list(tmp_path.glob("update-*.json"))) == 31
    with store.alone(quiet):
        _, back = store.undo("121")  # version 20 is not kept: 16 is the nearest
    assert (back.number, level(store), learned(store)[-1]) == (16, 16, 116)


def test_what_is_kept_was_kept_before() -> None:
    for number in range(600):
        lasts = [last for last in range(number, 1200) if kept_whole(number, last)]
        assert lasts == list(range(number, number + len(lasts)))


def test_equal_updates_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        store = begin(tmp_path / name)
        learn(store, 101)
        with store.alone(quiet):
            store.undo("101")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def kill_at(number: int, store: StateStore) -> None:
    """Learn a run, and be killed before the system is asked to touch the folder the ``number``-th time."""
    left = [number]

    def hook(event: str, where: tuple[object, ...]) -> None:
        if event.startswith(("open", "os.", "shutil.", "tempfile.")) and str(store.folder) in str(where):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    learn(store, 109)


def test_a_kill_at_any_point_leaves_the_state_before_or_after(tmp_path: Path) -> None:
    old = tmp_path / "old"
    store = begin(old)
    for run in range(101, 109):  # so that a version is thinned out, too
        learn(store, run)
    shutil.copytree(old, tmp_path / "new")
    learn(StateStore(tmp_path / "new"), 109)
    before, after = content(old), content(tmp_path / "new")
    seen = []
    for number in range(1000):
        folder = tmp_path / f"{number}"
        shutil.copytree(old, folder)
        process = FORK.Process(target=kill_at, args=(number, StateStore(folder)))
        process.start()
        process.join()
        seen.append(learned(StateStore(folder))[-1])
        assert level(StateStore(folder)) == seen[-1] - 100
        if seen[-1] == 108:
            learn(StateStore(folder), 109)
            assert content(folder) == after
        else:
            assert content(folder).items() >= after.items()
            assert content(folder).keys() <= before.keys() | after.keys()
        shutil.rmtree(folder)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert number > 20
    assert seen == sorted(seen)
    assert set(seen) == {108, 109}


LEARN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_history import StateStore, learn
for _ in range(20):
    learn(StateStore(Path(sys.argv[2])), int(sys.argv[3]))
"""


def test_processes_that_update_at_once_lose_nothing(tmp_path: Path) -> None:
    store = begin(tmp_path / "state")
    words = [sys.executable, "-c", LEARN, str(Path(__file__).parent), str(store.folder)]
    processes = [subprocess.Popen([*words, run]) for run in ("101", "102")]
    levels = []
    while any(process.poll() is None for process in processes):
        levels.append(level(store))  # a reader meanwhile
    assert [process.returncode for process in processes] == [0, 0]
    assert levels == sorted(levels)
    assert level(store) == 40
    assert sorted(learned(store)[1:]) == [101] * 20 + [102] * 20


def test_the_one_who_waits_says_so(tmp_path: Path) -> None:
    store = begin(tmp_path)
    said: list[str] = []
    waits = FORK.Queue()

    def other() -> None:
        with StateStore(tmp_path).alone(waits.put):
            pass

    with store.alone(said.append):
        process = FORK.Process(target=other)
        process.start()
        assert waits.get(timeout=60) == f"Another process updates {tmp_path}: waiting for it."
    process.join()
    assert (process.exitcode, said) == (0, [])


def test_a_reader_whose_version_goes_reads_the_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = begin(tmp_path)
    learn(store, 101)
    once, read_bytes = [True], Path.read_bytes

    def slow(path: Path) -> bytes:
        if path.name == "version-000001.npz" and once and once.pop():
            for run in range(102, 112):
                learn(store, run)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", slow)
    version = store.read(History.last)
    assert (version.update.number, version.arrays["level"][0]) == (11, 11)


def damaged(folder: Path, how: str) -> None:
    """Spoil one of its files."""
    version, update = folder / "version-000002.npz", folder / "update-000001.json"
    if how == "version gone":
        version.unlink()
    elif how == "version flipped":
        content = bytearray(version.read_bytes())
        content[len(content) // 2] ^= 1
        version.write_bytes(content)
    elif how == "update changed":
        table = json.loads(update.read_text())
        update.write_text(json.dumps(table | {"runs": [7]}))
    elif how == "update cut":
        update.write_text(update.read_text()[:20])
    elif how == "update of another state":
        (folder / "update-000002.json").write_text(replace(StateStore(folder).history().last(), previous="ab").text())
    elif how == "update gone":
        update.unlink()
    else:
        update.write_text("{}")


@pytest.mark.parametrize("how", ["version gone", "version flipped", "update changed", "update cut", "update gone",
                                 "update of another state", "update of another format"])  # fmt: skip
def test_damage_is_one_sentence(tmp_path: Path, how: str) -> None:
    store = begin(tmp_path)
    learn(store, 101)
    learn(store, 102)
    damaged(tmp_path, how)
    with pytest.raises(StateError) as caught:
        store.read(History.last)
    sentence = str(caught.value)
    assert str(tmp_path) in sentence
    assert "\n" not in sentence


def test_no_state_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"holds no detector state; make one with `hcal-root-ad adapt STATE --from"):
        StateStore(tmp_path / "none").history()
