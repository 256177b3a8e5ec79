"""The process that `guided` starts: libFuzzer spells case upon case, led by the code of the reader that each reaches.

``python -m benchmarks.fuzz.under_atheris KIND PIPE FOLDER`` sends each trial down the pipe, until it is stopped.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hcal_root_ad.harvest", "uproot"]):  # before anything else imports them
    from benchmarks.fuzz.cases import spelled_case
    from benchmarks.fuzz.mutations import Damage
    from benchmarks.fuzz.originals import kinds
    from benchmarks.fuzz.trial import PATIENCE, attempt, limit_memory, warm_up

LONGEST_SPELLING = 48
"""Bytes; a damage takes some ten."""


def fuzz(kind: str, line: Connection, folder: Path) -> None:
    """Never returns."""
    seen: set[tuple[str, Damage]] = set()

    def one_input(spelling: bytes) -> None:
        if not spelling:  # libFuzzer begins with it, and takes nothing from it into its corpus
            return
        case = spelled_case(kind, spelling, len(seen))
        if (case.original, case.damage) not in seen:
            seen.add((case.original, case.damage))
            line.send(attempt(case, folder))

    options = [f"-timeout={PATIENCE:.0f}", "-rss_limit_mb=0", f"-max_len={LONGEST_SPELLING}", "-len_control=0"]
    options += [f"-seed={kinds().index(kind) + 1}", f"-artifact_prefix={folder / 'artifacts'}/"]
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], one_input)
    warm_up(folder, kind)
    limit_memory()
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], Connection(int(sys.argv[2])), Path(sys.argv[3]))
