"""Where the time of a run goes: ``python -m benchmarks.profile FILE … -o docs/results/bench``.

Processor time of each step that `certify` takes with a run, in ms per lumisection, of files of one run each; the least
of several turns, as another program on the machine only adds to it. The numbers of earlier commits stay in
``profile.json``, so ``profile.md`` shows each step before and after.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks.machine import machine, program
from hcal_root_ad.certify.outputs import write_run_flags
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.pipeline import Judging, load_models
from hcal_root_ad.publish.publish import publish
from hcal_root_ad.publish.saved_verdict import record_of, save_record

Answer = TypeVar("Answer")

_PAGE = """# Where the time of a run goes

Processor time in ms per lumisection, one thread, of the steps that `certify` takes with a run; the least of several
turns. Made by `python -m benchmarks.profile`, on {about}.

| step | {commits} |
|---|{rule}
{rows}

{equal}
"""


class Steps:
    """Adds up the processor time of steps by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[[], Answer]) -> Answer:
        begun = time.process_time()
        answer = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begun
        return answer


def steps_of(path: Path, judging: Judging, folder: Path, steps: Steps) -> tuple[int, bytes]:
    """Lumisections of a run, and all that is written of it; its steps are added to ``steps``."""
    (maps,) = steps.timed("reading", lambda: read_lumi_maps(path))
    judge = judging.run_judge()
    steps.timed("fitting the common part", lambda: judge.add(maps))
    verdict = steps.timed("scanning, findings", judge.verdict)
    made = judging.provenance("certify", [verdict])
    record = steps.timed("record: making", lambda: record_of(verdict, made))
    steps.timed("record: writing", lambda: save_record(record, folder / "record"))
    steps.timed("table of flags", lambda: write_run_flags(verdict, folder / "flags"))
    root = steps.timed("ROOT file", lambda: publish(verdict, folder, provenance=made))
    return len(maps), b"".join(written.read_bytes() for written in (folder / "record", folder / "flags", root))


def profile(files: Sequence[Path], turns: int) -> tuple[int, dict[str, float], str]:
    """Lumisections, ms per lumisection of each step, and a digest of the verdicts and files that were made."""
    judging, least = Judging(load_models()), dict[str, float]()
    for _ in range(turns):
        steps, lumisections, digest = Steps(), 0, hashlib.sha256()
        with TemporaryDirectory() as folder:
            for path in files:
                length, written = steps_of(path, judging, Path(folder), steps)
                lumisections += length
                digest.update(written)
        least = {name: min(seconds, least.get(name, seconds)) for name, seconds in steps.seconds.items()}
    return lumisections, {name: 1e3 * seconds / lumisections for name, seconds in least.items()}, digest.hexdigest()


def page(by_commit: dict[str, dict[str, dict[str, float]]], digests: dict[str, str], about: str) -> str:
    """The profiles as Markdown: ``by_commit`` and by input."""
    columns = [(kind, commit) for commit, kinds in by_commit.items() for kind in kinds]
    columns.sort(key=lambda column: column[0])
    steps = list(next(iter(next(iter(by_commit.values())).values())))
    table = {step: [by_commit[commit][kind][step] for kind, commit in columns] for step in steps}
    table["**all**"] = [sum(by_commit[commit][kind].values()) for kind, commit in columns]
    same = [len({value for key, value in digests.items() if key.startswith(kind)}) == 1 for kind, _ in columns]
    words = "Verdicts and files of all columns of an input are equal to the byte."
    return _PAGE.format(
        about=about, commits=" | ".join(f"{kind}, {commit}" for kind, commit in columns), rule="---|" * len(columns),
        rows="\n".join(f"| {step} | {' | '.join(f'{value:.2f}' for value in row)} |" for step, row in table.items()),
        equal=words if all(same) else "Verdicts and files of the columns of an input are not all equal to the byte.",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.profile", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of one run each")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the page")
    parser.add_argument("--turns", type=int, default=3, help="of which the least counts (default: 3)")
    arguments = parser.parse_args(argv)
    lumisections, steps, digest = profile(arguments.files, arguments.turns)
    kind, commit = f"{len(arguments.files)} × {lumisections // len(arguments.files)} LS", program()["commit"]
    stored = arguments.output / "profile.json"
    known = json.loads(stored.read_text()) if stored.exists() else {"steps": {}, "digests": {}}
    known["steps"].setdefault(commit, {})[kind] = steps
    known["digests"][f"{kind}, {commit}"] = digest
    where = machine()
    about = f"{where['processor']}, load {where['load before']}, Python {where['Python']}"
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_text(stored, json.dumps(known, indent=1) + "\n")
    write_text(arguments.output / "profile.md", page(known["steps"], known["digests"], about))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
