"""Each recipe is followed to the letter, on a copy of the code: its files are made, its changes applied, its lines run.

Blocks of a page: ``diff`` is applied, a first line that names a file (``# folder/name.toml``) makes that file, and
``python`` is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))


@pytest.fixture
def copy_of_the_code(tmp_path: Path) -> Path:
    for changed in ("hcal_root_ad", "studies", "harvesters", "docs/gui.md"):
        source, target = ROOT / changed, tmp_path / changed
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    for read_only in ("models", "policies", "reference_runs"):
        (tmp_path / read_only).symlink_to(ROOT / read_only)
    return tmp_path


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_recipe_works(page: Path, copy_of_the_code: Path) -> None:
    ran = 0
    for language, text in blocks(page):
        named = re.match(r"# (\S+/\S+\.\w+)\n", text)
        if language == "diff":
            apply = ["git", "apply", "--unidiff-zero", "-"]
            done = subprocess.run(apply, cwd=copy_of_the_code, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        elif named:
            path = copy_of_the_code / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif language == "python":
            run_lines(text, copy_of_the_code)
            ran += 1
    assert ran > 0


def run_lines(text: str, folder: Path) -> None:
    """Run Python with the copy of the code, and the folder ``mine`` on the search path."""
    environment = os.environ | {"PYTHONPATH": str(folder), "HCAL_ROOT_AD_PATH": str(folder / "mine")}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # What runs here is not the code that is measured.
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_recipe_fits_a_page(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 100
