"""The wheel works without the checkout and installs one top-level module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hcal_root_ad import content

ROOT = Path(__file__).parents[1]

pytest.importorskip("hatchling")

TEMPLATES = "hcal_root_ad/report/templates"

LIST_CONTENT = """
import json, hcal_root_ad
from hcal_root_ad import content
names = {kind: content.names(kind) for kind in ("harvesters", "models", "policies", "reference_runs")}
print(json.dumps([hcal_root_ad.__file__, names]))
"""


def pip(*words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("hcal_root_ad-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def run_installed(installed: Path, elsewhere: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed copy first on its path, far from the checkout and without the user's folders."""
    environment = {name: value for name, value in os.environ.items() if name != content.SEARCH_VARIABLE}
    environment["PYTHONPATH"] = str(installed)
    return subprocess.run([sys.executable, *words], cwd=elsewhere, env=environment, capture_output=True, text=True)


def test_only_our_module_at_the_top(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hcal_root_ad"}


def test_wheel_holds_code_licence_types_and_script(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    assert {"hcal_root_ad/py.typed", "hcal_root_ad/cli/main.py", "hcal_root_ad/__main__.py"} <= set(names)
    templates = {f"{TEMPLATES}/{path.name}" for path in (ROOT / TEMPLATES).iterdir()}
    assert len(templates) >= 5
    assert templates <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    (scripts,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "hcal-root-ad = hcal_root_ad.cli.main:main" in archive.read(scripts).decode()
    assert not any(name.startswith(("hcal_root_ad/tests", "tests")) for name in names)


def test_wheel_holds_every_tracked_content_file(wheel: Path) -> None:
    git = ["git", "-C", str(ROOT), "ls-files", "harvesters", "models", "policies", "reference_runs"]
    listing = subprocess.run(git, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    tracked = {f"hcal_root_ad/content/{name}" for name in listing.stdout.split() if not name.endswith(".gitkeep")}
    assert tracked <= set(zipfile.ZipFile(wheel).namelist())


def test_installed_copy_finds_its_content_without_the_checkout(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(content.SEARCH_VARIABLE, raising=False)
    done = run_installed(installed, tmp_path, "-c", LIST_CONTENT)
    assert done.returncode == 0, done.stderr
    where, names = json.loads(done.stdout)
    assert Path(where).is_relative_to(installed)
    shipped = {kind: list(content.names(kind)) for kind in ("harvesters", "models", "policies", "reference_runs")}
    assert names == shipped
    assert all(shipped.values())


def test_installed_command_line_works(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "-m", "hcal_root_ad", "--help")
    assert done.returncode == 0
    assert "simulate" in done.stdout
    done = run_installed(installed, tmp_path, "-m", "hcal_root_ad", "inspect", "missing.root")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hcal-root-ad: missing.root: no such file")


def test_constraints_pin_every_dependency_exactly() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 and not set("@+/ ") & set(line) for line in pins)
    assert len(pins) == len({line.split("==")[0] for line in pins})
