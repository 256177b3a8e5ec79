"""The tutorial and the page on states, worked through once: shell blocks in order, in a folder of their own."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hcal_root_ad.cli.main import main

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"


@dataclass(frozen=True)
class Step:
    """A shell block of the tutorial, the lines that it is said to print, and what it printed."""

    commands: str
    promised: tuple[str, ...]
    printed: str


@dataclass(frozen=True)
class Tutorial:
    """The folder in which the tutorial was worked through, and its steps."""

    folder: Path
    steps: tuple[Step, ...]


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    folder = tmp_path_factory.mktemp("tutorial")
    with contextlib.chdir(folder):
        return Tutorial(folder, tuple(steps(TUTORIAL.read_text(encoding="utf-8"))))


@pytest.fixture(scope="session")
def page_on_states(tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    """``docs/states.md``, worked through in the same way, with the file of faults that it shows."""
    folder = tmp_path_factory.mktemp("states")
    text = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    (faults,) = re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (folder / "hep07.toml").write_text(faults)
    with contextlib.chdir(folder):
        return Tutorial(folder, tuple(steps(text)))


def steps(text: str) -> Iterator[Step]:
    """The shell blocks, each executed when it is reached; a block of text behind one says what it prints."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    for number, (language, block) in enumerate(blocks):
        if language == "sh":
            follows = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
            promised = tuple(follows[1].splitlines()) if follows[0] == "text" else ()
            yield Step(block, promised, "".join(map(printed_by, block.splitlines())))


def printed_by(line: str) -> str:
    """What a line of a shell block prints; our own program runs in this process, which saves its start."""
    words = shlex.split(line, comments=True)
    if words[0] != "hcal-root-ad":
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    words = [path for word in words[1:] for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(words) == 0, line
    return out.getvalue()
