"""Counts of a campaign as a page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fuzz.guided import Reach
from benchmarks.fuzz.trial import FIND, OTHERWISE, REFUSED, SAME, TOLD, Trial

_CLASSES = {
    "damaged or cut short, and how the reader noticed": r"is damaged or cut short",
    "shorter than its header says": r"is cut short: it should have",
    "neither ROOT nor parquet": r"neither a ROOT nor a parquet|is empty",
    "ROOT, but no DQM; no HCAL maps; no run; a depth is missing": r"NoHcalError",
    "contents that cannot be counts": r"counts of digis were expected",
    "other bins or axes": r"bins|axes",
    "numbers of runs, lumisections or events that cannot be": r"speaks of|which cannot be",
    "parts of a run that contradict each other": r"^InputError: Run|one piece|runs in maps|in pieces that",
    "no DIALS export": r"DIALS export|rows \[iphi\]",
    "another class of object, or no branch where one was expected": r"was expected|has no tree",
}
_HEAD = """# Damaged files

Different damaged files of each kind of container were handed to the reader, and every {every}th to the verbs `inspect`,
`check` and `harvest` as well, in a process with {room} GB of address space beyond its own and {patience:g} s for a
file. The originals (in the tests) are small simulated runs in all codecs that a kind is written with.
[libFuzzer](https://llvm.org/docs/LibFuzzer.html) leads, by way of [Atheris](https://github.com/google/atheris): it sees
which branches of the reader and of uproot each file reaches, and damages further, or a little otherwise, what reached
new ones. It chooses up to three damages: by region (header, keys, head and inside of the records of each class;
parquet: pages, footer, magic), and what is done there: bits and bytes flipped, numbers made extreme or a little off, a
cut, a hole of zeros, bytes moved, put in or lost. `make fuzz` makes this page again.

"""
_COLUMNS = ("kind", "files", "read as if whole", "read, and said what is missing", "read otherwise, without a word",
            "refused in a sentence", "anything else")  # fmt: skip
_METHOD = """
"Anything else" is what must not be: a traceback, a process that dies, more than {patience:g} s or {most} MB for a file,
an output half-written, a refusal that does not name the file. Damage that is read as if whole hit what is not read.
What is read otherwise without a word is damage that the format cannot show: payload without a checksum (not compressed,
ZSTD, or parquet pages) that still holds whole counts, or a name that became another's.
What one part of a file says of another is compared with it: keys, folders, the index of DQMIO, the counters of the LS.

"""
_SLOWER = "The watch over the branches makes reading two to three times slower; so does other work on the machine."
_REACH = """## What they reached

An edge is a way from one branch of the code to the next. What sound files reach is where the fuzzer begins; kept are
files that reached something new, for others to be made of.

| kind | edges reached by sound files | by all | more | kept |
| --- | --- | --- | --- | --- |
"""


@dataclass
class Count:
    """What is counted of one kind."""

    results: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    otherwise: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    most: int = 0

    def add(self, trial: Trial) -> None:
        self.results[trial.result] += 1
        self.longest, self.most = max(self.longest, trial.seconds), max(self.most, trial.growth)
        if trial.result == REFUSED:
            self.refusals[refusal(trial.words)] += 1
        if trial.result == OTHERWISE:
            self.otherwise[", ".join(re.findall(r"[a-z_]+(?=\(largest)|coarse \w+|runs", trial.words))] += 1

    def as_table(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {name: dict(one) if isinstance(one, Counter) else one for name, one in vars(self).items()}

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Count:
        """From plain data."""
        results, refusals, otherwise = (Counter(table[name]) for name in ("results", "refusals", "otherwise"))
        return cls(results, refusals, otherwise, float(table["longest"]), int(table["most"]))


def refusal(words: str) -> str:
    """Class of a sentence."""
    return next((name for name, pattern in _CLASSES.items() if re.search(pattern, words)), "other sentences")


def page(counts: dict[str, Count], reached: dict[str, Reach], facts: Sequence[str], numbers: dict[str, float]) -> str:
    """The page as Markdown."""
    results = (SAME, TOLD, OTHERWISE, REFUSED, FIND)
    rows = [
        _row(kind, count.results.total(), *(count.results[one] for one in results)) for kind, count in counts.items()
    ]
    edges = [
        _row(kind, one.sound, one.all, f"{one.all / one.sound - 1:.0%}", one.kept) for kind, one in reached.items()
    ]
    extremes = [_row(kind, f"{one.longest:.2f}", f"{one.most / 1024:.0f}") for kind, one in counts.items()]
    head = [_row(*_COLUMNS), _row(*["---"] * len(_COLUMNS))]
    parts = [_HEAD.format(**numbers) + "\n".join([*head, *rows]), _METHOD.format(**numbers),
             _REACH + "\n".join(edges), "", "## Sentences", "",
             *_by_kind({kind: one.refusals for kind, one in counts.items()}, "sentence"), "",
             "## Read otherwise, without a word", "",
             *_by_kind({kind: one.otherwise for kind, one in counts.items()}, "what differs"), "",
             "## Time and memory", "", _SLOWER, "",
             _row("kind", "longest (s)", "most memory filled (MB)"), _row("---", "---", "---"), *extremes, "",
             *(f"- {fact}" for fact in facts)]  # fmt: skip
    return "\n".join(parts) + "\n"


def _by_kind(counters: dict[str, Counter[str]], title: str) -> list[str]:
    names = sum(counters.values(), Counter[str]()).most_common()
    head = [_row(title, *counters), _row(*["---"] * (len(counters) + 1))]
    return head + [_row(name, *(one[name] for one in counters.values())) for name, _ in names]


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
