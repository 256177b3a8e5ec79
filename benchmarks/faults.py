"""Kill the program at random moments and look at what it left: ``python -m benchmarks.faults -o DIR``.

Each kind of work writes over an older output, is killed (SIGKILL) somewhere between its beginning and its end, and is
begun again. Every file must be the old one, the new one or not there yet, and at last all must be as if nothing had
happened. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import machine, program
from hcal_root_ad.cli.main import main as command_line
from hcal_root_ad.cli.options import count
from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.files import write_text

if TYPE_CHECKING:
    from hcal_root_ad.model.model import Model

State = dict[str, str]
"""Digest of the content of each file below a folder, hidden ones left out."""
_FORK = multiprocessing.get_context("fork")
_LOG = ".jsonl"
"""Grows line by line, so after a kill it may be neither old nor new."""
_NUMBERS = ("kills", "finished", "old", "new", "wrong")

_HEAD = """# Killed at random moments

Each kind of work wrote over an older output, was killed at a moment drawn evenly over the time that it takes, and was
begun again. Files that differ between the older and the newer output are counted as what they were after the kill (not
there yet counts as old). Wrong is a file that is neither, a model of old and new files, a file that is not as it
should be after the second beginning, and a hidden file that is then left over. `make faults` makes this page again.

| work | killed | done before the kill | files old | files new | wrong |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Work:
    """One kind of work: what it does in a folder, first with older settings, then with newer ones.

    ``together``: its files are all old or all new.
    """

    name: str
    older: Callable[[Path], None]
    newer: Callable[[Path], None]
    together: bool = False


@dataclass
class Found:
    """What the kills of one kind of work left: each file old, new, or not there yet; and what must not be."""

    kills: int = 0
    finished: int = 0
    left: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def works(inputs: Path) -> list[Work]:
    """All kinds, on small simulated runs that are written first."""
    dqm, clean = _simulated(inputs)

    def verbs(*words: str) -> Callable[[Path], None]:
        return lambda out: _quietly([word.format(out=out) for word in words])

    run = ("run", str(dqm), "-o", "{out}", "--flags", "{out}/flags.csv", "--save-verdict", "{out}")
    attach = ("run", str(dqm), "-o", "{out}", "--attach")
    certify = ("certify", str(dqm.parent), "-o", "{out}")
    watch = ("watch", str(dqm.parent), "-o", "{out}", "--once")
    before, after = _models()
    return [
        Work("run", verbs(*run, "--false-alarms", "20"), verbs(*run)),
        Work("run --attach", verbs(*attach, "--false-alarms", "20"), verbs(*attach)),
        Work("train", lambda out: _train(clean, out, 1), lambda out: _train(clean, out, 3), together=True),
        Work("replace a model", partial(_save, before), partial(_save, after), together=True),
        Work("certify", verbs(*certify, "--false-alarms", "20"), verbs(*certify)),
        Work("watch", _nothing, verbs(*watch)),  # goes on with what is there, so there is nothing older
    ]


def _nothing(out: Path) -> None:
    out.mkdir()


def _simulated(folder: Path) -> tuple[Path, Path]:
    from hcal_root_ad.simulate.formats import write_format
    from hcal_root_ad.simulate.scenario import mixed_faults, simulate_conditions
    from hcal_root_ad.simulate.simulated_detector import simulate_detector
    from hcal_root_ad.simulate.simulated_run import simulate_run

    detector, conditions = simulate_detector(2022), simulate_conditions(12, 3)
    faulty = simulate_run(detector, conditions, mixed_faults(detector, conditions, 3), 3, 370_003)
    (dqm,) = write_format(faulty, folder / "dqm", "dqm_file")
    clean = simulate_run(detector, simulate_conditions(40, 4), (), 4, 370_004)
    (training,) = write_format(clean, folder / "clean", "dials")
    return dqm, training


def _train(clean: Path, out: Path, epochs: int) -> None:
    from hcal_root_ad.harvest.read import read_lumi_maps
    from hcal_root_ad.model.training import Schedule
    from hcal_root_ad.model.transfer import train

    train(read_lumi_maps(clean), "HE", out / "model", schedule=Schedule(epochs=epochs))


def _models() -> tuple[Model, Model]:
    """Two that differ in every file."""
    from hcal_root_ad.model.model import load_model

    return load_model("hb-graphstad-from-he"), load_model("he-graphstad")


def _save(model: Model, out: Path) -> None:
    model.save(out / "model")


def _quietly(words: list[str]) -> None:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
        code = command_line(words)
    if code:
        raise RuntimeError(f"{words} ended with {code}: {said.getvalue()}")


def kill_often(work: Work, times: int, folder: Path, seed: int) -> Found:
    """Kill one kind of work so many times; where it is often done before its kill, in four times as many tries."""
    old, new, draw, found = folder / "old", folder / "new", np.random.default_rng(seed), Found()
    work.older(old)
    before = state(old)
    start = time.monotonic()
    _in_a_process(work.newer, new)
    seconds, after = time.monotonic() - start, state(new)
    for number in range(4 * times):
        if found.kills == times:
            break
        out = folder / f"{number}"
        shutil.copytree(old, out)
        killed = _in_a_process(work.newer, out, float(draw.uniform(0, seconds)))
        found.kills += killed
        found.finished += not killed
        seen = state(out)
        found.wrong += [f"killed, {name}: neither old nor new" for name in _judge(seen, before, after, found.left)]
        if work.together and seen not in (before, before | after):
            found.wrong.append("killed, some files are old and some new")
        _in_a_process(work.newer, out)
        at_last = state(out)
        found.wrong += [f"begun again, {name}: left over" for name in sorted(hidden(out) - hidden(new))]
        expected = before | after  # files that only the older settings write stay
        found.wrong += [f"begun again, {name}: not as it should be" for name in sorted({*at_last, *expected})
                        if at_last.get(name) != expected.get(name)]  # fmt: skip
    return found


def _judge(seen: State, before: State, after: State, left: Counter[str]) -> list[str]:
    """Names of files that are neither; the others are counted."""
    wrong = []
    for name in sorted({*seen, *before, *after}):
        is_old, is_new = (seen.get(name) == one.get(name) for one in (before, after))
        if is_old != is_new:
            left["old" if is_old else "new"] += 1
        if not is_old and not is_new and not name.endswith(_LOG):
            wrong.append(name)
    return wrong


def state(folder: Path) -> State:
    """What lies in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    shown = {str(path.relative_to(folder)): path for path in files}
    return {
        name: _content(path) for name, path in shown.items() if not any(p.startswith(".") for p in Path(name).parts)
    }


def hidden(folder: Path) -> set[str]:
    """Hidden files and folders, but for those within."""
    every = (path.relative_to(folder) for path in folder.rglob(".*"))
    return {str(path) for path in every if not any(part.startswith(".") for part in path.parts[:-1])}


def _content(path: Path) -> str:
    """Digest of what a file says, without the times and numbers that every writing makes again."""
    digest = hashlib.sha256()
    if path.suffix == ".root":
        import uproot

        with uproot.open({str(path): None}) as file:
            for name, kind in sorted(file.classnames().items()):
                text = "" if kind == "TDirectory" else name
                digest.update(text.encode())
                if kind.startswith("TH"):
                    digest.update(np.ascontiguousarray(file[name].values(flow=True)).tobytes())
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            for name in sorted(arrays):
                digest.update(name.encode() + arrays[name].tobytes())
    elif path.suffix == _LOG:
        for line in path.read_text().splitlines():
            digest.update(json.dumps({key: value for key, value in json.loads(line).items() if key != "time"}).encode())
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _in_a_process(task: Callable[[Path], None], out: Path, kill_after: float | None = None) -> bool:
    """Do something in a forked process; returns whether it was killed. Raises RuntimeError if it fails by itself."""
    process = _FORK.Process(target=task, args=(out,))
    process.start()
    process.join(kill_after)
    killed = process.is_alive()
    process.kill()
    process.join()
    if not killed and process.exitcode:
        raise RuntimeError(f"ended with {process.exitcode}")
    return killed


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Found] = {}
    with TemporaryDirectory(dir=arguments.scratch) as place, progress("Killing") as report:
        chosen = [work for work in works(Path(place) / "in") if work.name in (arguments.only or [work.name])]
        for number, work in enumerate(chosen):
            (Path(place) / str(number)).mkdir()
            found[work.name] = kill_often(work, arguments.kills, Path(place) / str(number), number)
            remark(*(f"{work.name}: {sentence}" for sentence in found[work.name].wrong))
            if report:
                report(number + 1, len(chosen))
    _write_page(arguments.output, found)
    show(f"table: {arguments.output / 'table.md'}")
    return int(any(one.wrong for one in found.values()))


def _write_page(folder: Path, found: dict[str, Found]) -> None:
    """Keep the counts as JSON, and write the page of all kinds of work that are counted there."""
    counts, about = folder / "counts.json", machine() | program()
    kept = json.loads(counts.read_text()) if counts.exists() else {}
    for name, one in found.items():
        numbers = {"kills": one.kills, "finished": one.finished, **{what: one.left[what] for what in ("old", "new")}}
        kept[name] = {**numbers, "wrong": len(one.wrong), "commit": about["commit"], "date": f"{datetime.now(UTC):%F}"}
    write_text(counts, json.dumps(kept, indent=1))
    rows = [f"| {name} | {' | '.join(str(one[key]) for key in _NUMBERS)} |" for name, one in kept.items()]
    facts = [f"- {fact}: {about[fact]}" for fact in ("processor", "Python", "version")]
    facts += [f"- {name}: {one['date']}, commit {one['commit']}" for name, one in kept.items()]
    write_text(folder / "table.md", "\n".join([_HEAD + "\n".join(rows), "", *facts]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.faults", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the table")
    parser.add_argument("--kills", type=count, default=25, metavar="N", help="of each kind of work (default: 25)")
    parser.add_argument("--only", nargs="+", metavar="WORK", help="kinds of work (default: all)")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="folder for what is written (default: the system's)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
