"""Hand thousands of damaged text inputs to their readers and count what comes: ``python -m benchmarks.fuzz.texts``.

Of each kind (OMS, golden JSON, Run Registry, policies, definitions, …) sound files are damaged by value, by table and
by text. What must not be, a find: anything but one sentence on what is wrong, a value of a wrong type that is taken, a
harmless difference (BOM, CRLF, gzip) that is refused or read otherwise, more memory or time than a file may take.
Counts go to ``texts.json``, the page of all that are there to ``texts.md``; exit code 1 if there is a find.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.fuzz.text_damage import EITHER, REFUSED, SAME, TextDamage, damage
from benchmarks.fuzz.text_kinds import KINDS, TextKind
from benchmarks.fuzz.trial import memory_folder
from benchmarks.machine import program
from hcal_root_ad.cli.options import count
from hcal_root_ad.cli.terminal import remark, show
from hcal_root_ad.errors import HcalRootAdError
from hcal_root_ad.files import write_text

OTHERWISE, FIND = "otherwise", "find"
MOST = 256 * 2**10
"""kB by which the memory that was ever filled may grow in all files of a kind together."""
PATIENCE = 5.0
"""Seconds for one file."""
LONGEST = 1000
"""Characters of a sentence."""


@dataclass(frozen=True)
class TextTrial:
    """What came of a damaged file, and in which words."""

    result: str
    words: str
    seconds: float


def attempt(kind: TextKind, one: TextDamage, sound: str, folder: Path) -> TextTrial:
    """Hand a damaged file to its reader."""
    path = folder / kind.file_name
    path.write_bytes(one.content)
    start = time.perf_counter()
    result, words = _result(kind, path, sound)
    seconds = time.perf_counter() - start
    if seconds > PATIENCE:
        result, words = FIND, f"{seconds:.1f} s for {one.words}"
    elif result != FIND and one.expected not in (EITHER, result):
        result, words = FIND, f"{one.words}: {one.expected} was expected, {result} came: {words}"
    return TextTrial(result, words, seconds)


def _result(kind: TextKind, path: Path, sound: str) -> tuple[str, str]:
    try:
        found = repr(kind.read(path))
    except HcalRootAdError as error:
        sentence = str(error)
        plain = sentence.isprintable() and len(sentence) < LONGEST and kind.file_name in sentence
        return (REFUSED, sentence) if plain else (FIND, f"an odd sentence: {sentence!r}")
    except (Exception, RecursionError) as error:
        return FIND, f"{type(error).__name__}: {error}"
    if found == sound:
        return SAME, ""
    if "inf" in found and "inf" not in sound:
        return FIND, f"no number was taken: {found:.200}"
    return OTHERWISE, found


def campaign(name: str, files: int) -> tuple[Counter[str], list[str], float, int]:
    """Results of so many files of a kind, the finds in words, the longest time, and the growth of memory (kB)."""
    kind, results, finds, longest = KINDS[name], Counter[str](), dict[str, None](), 0.0
    with TemporaryDirectory(prefix="fuzz-", dir=memory_folder()) as place:
        folder = Path(place)
        (folder / kind.file_name).write_text(kind.write(kind.table), encoding="utf-8")
        sound = repr(kind.read(folder / kind.file_name))
        before = _peak()
        for number in range(files):
            one = damage(kind, np.random.default_rng([list(KINDS).index(name), number]))
            trial = attempt(kind, one, sound, folder)
            results[trial.result] += 1
            longest = max(longest, trial.seconds)
            if trial.result == FIND:
                finds[f"{name} {number}: {trial.words}"] = None
        growth = _peak() - before
    if growth > MOST:
        results[FIND] += 1
        finds[f"{name}: {growth >> 10} MB of memory"] = None
    return results, list(finds), longest, growth


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz.texts", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the table")
    parser.add_argument("--files", type=count, default=10_000, metavar="N", help="of each kind (default: 10000)")
    parser.add_argument("--only", nargs="+", default=[*KINDS], choices=[*KINDS], metavar="KIND")
    arguments = parser.parse_args(argv)
    earlier = arguments.output / "texts.json"
    rows = json.loads(earlier.read_text(encoding="utf-8"))["kinds"] if earlier.exists() else {}
    found = False
    for name in arguments.only:
        results, finds, longest, growth = campaign(name, arguments.files)
        rows[name] = {"files": arguments.files, **results, "longest": round(longest, 3), "memory": growth}
        found = found or bool(finds)
        remark(*finds[:20])
    table = {"date": f"{datetime.now(UTC):%F}", "commit": program()["commit"], "kinds": rows}
    write_text(arguments.output / "texts.json", json.dumps(table, indent=1))
    write_text(arguments.output / "texts.md", _page(table["date"], table["commit"], rows))
    show(str(arguments.output / "texts.md"))
    return int(found)


def _page(date: object, commit: object, rows: dict[str, dict[str, float]]) -> str:
    results = (SAME, OTHERWISE, REFUSED, FIND)
    head = ("kind", "files", "read as if sound", "read as another sound table", "refused in a sentence",
            "anything else", "longest (s)", "memory (MB)")  # fmt: skip
    lines = [_HEAD, "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        counts = [row.get(result, 0) for result in results]
        cells = [name, row["files"], *counts, row["longest"], int(row["memory"]) >> 10]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, _FOOT.format(patience=PATIENCE, most=MOST >> 10), f"- {date}, commit {commit}"])


_HEAD = """# Damaged text inputs

Sound files of each kind were damaged by value (another type, NaN, huge, `²`, nested deeply), by table (keys lost,
misspelled) and by text (bytes, cuts, lines twice, BOM, CRLF, packed, not UTF-8), and handed to their readers.
`python -m benchmarks.fuzz.texts -o docs/results/fuzz` makes this page again.
"""
_FOOT = """
"Anything else" is what must not be: a traceback, more than {patience:g} s for a file, more than {most} MB for all files
of a kind together, a sentence that does not name the file or is not one line, a value of a wrong type that is taken, a
BOM or CRLF that is not. Another sound table is one that says other things (a digit, a name, a line less).
"""


if __name__ == "__main__":
    raise SystemExit(main())
