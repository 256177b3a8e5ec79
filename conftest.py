"""Examples are tests: Python blocks of the pages, and the prompts (``>>>``) in docstrings.

The blocks of a page run in order, in a folder of their own that holds the files which pages name. Recipes change the
code, and are tried on a copy of it: see tests/docs/test_recipes.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

from hcal_root_ad.cli.main import main

# Settings of whoever runs the tests have no say in them.
os.environ["HCAL_ROOT_AD_CONFIG"] = ""
# A test that is slow because the machine is busy has not failed.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROOT = Path(__file__).parent
CLEAN = ROOT / "reference_runs/clean/DQM_V0001_R000404000__SimulatedZeroBias__Run3-v1__DQMIO.root"


STEPS_BEFORE = {
    "verdict_json.md": ("run nanodqmio.root -o out --json verdict.json",),
    "onnx.md": (
        "harvest nanodqmio.root -o maps.npz",
        "export he-graphstad -o he.onnx",
    ),
}
"""Commands that a page has its reader run before the example."""


@pytest.fixture(scope="module")
def a_shifters_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The current folder of a page's examples: a DQM file, and what the commands before the example leave."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(CLEAN, folder / "nanodqmio.root")
    with contextlib.chdir(folder):
        for line in STEPS_BEFORE.get(request.path.name, ()):
            assert main(line.split()) == 0
        yield


pages = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["a_shifters_folder"],
)
docstrings = Sybil(parsers=[DocTestParser()], patterns=["hcal_root_ad/*.py", "hcal_root_ad/**/*.py"])

pytest_collect_file = (pages + docstrings).pytest()
