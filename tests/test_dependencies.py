"""What the project depends on: pinned, with hashes, as tested, and no lower than tested."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from checks.audit import judge, main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_TORCH = re.compile(r"(nvidia|cuda)-.*|triton")
"""What torch's build on PyPI brings for graphics cards, and builds for processors alone do not."""


def pins(name: str) -> dict[str, Version]:
    """Versions by package in a file of pins; lines of hashes are left out."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.removesuffix("\\").strip().split("==") for line in lines if re.match(r"[a-z0-9]", line)]
    return {package: Version(version.partition(";")[0]) for package, version in found}


def requirements_tested() -> list[Requirement]:
    """What the core and the extra of the tests ask for, extras of ours resolved."""
    extras = PROJECT["optional-dependencies"]
    found, pending = list(PROJECT["dependencies"]), ["test"]
    while pending:
        for text in extras[pending.pop()]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                pending += requirement.extras
            else:
                found.append(text)
    return [Requirement(text) for text in found]


def test_the_locked_environment_is_the_tested_one() -> None:
    constraints, locked = pins("constraints.txt"), pins("requirements-locked.txt")
    assert len(locked) > 100
    assert {name: locked.get(name) for name in constraints} == constraints
    assert [name for name in locked if name not in constraints and not OF_TORCH.fullmatch(name)] == []


def test_every_locked_package_has_hashes() -> None:
    text = (ROOT / "requirements-locked.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(blocks) == len(pins("requirements-locked.txt"))
    for block in blocks:
        first, *hashes = block.splitlines()
        assert first.endswith("\\")
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)


@pytest.mark.parametrize("name", ["constraints.txt", "requirements-locked.txt", "requirements-lowest.txt"])
def test_no_file_of_pins_names_an_index_or_a_place(name: str) -> None:
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not re.search(r"://|--(extra-)?index-url|--find-links|@ |\+cpu|\+cu\d", text)


@pytest.mark.parametrize("requirement", requirements_tested(), ids=lambda requirement: requirement.name)
def test_declared_lower_bounds_are_the_lowest_that_were_tested(requirement: Requirement) -> None:
    (bound,) = (one for one in requirement.specifier if one.operator in (">=", "=="))
    assert pins("requirements-lowest.txt")[requirement.name] == Version(bound.version)
    assert pins("constraints.txt")[requirement.name] in requirement.specifier


def test_only_tested_pythons_are_declared() -> None:
    said = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert said
    assert PROJECT["requires-python"] == f">={said[0]}"
    tests = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    assert [version for version in said if f"Python {version}" not in tests] == []


@pytest.mark.parametrize(
    ("dependencies", "code", "words"),
    [
        ([{"name": "a", "skip_reason": "not found"}], 0, "skipped"),
        ([], 0, "skipped"),
        ([{"name": "a", "version": "1", "vulns": []}], 0, "0 known vulnerabilities in 1 packages"),
        ([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": ""}], 0, "not audited: b."),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: CVE-1, mended in 2.",
        ),
    ],
)
def test_an_audit_that_could_not_ask_is_no_success(dependencies: list[dict], code: int, words: str) -> None:
    found, sentences = judge(dependencies)
    assert found == code
    assert words in "\n".join(sentences)


def test_files_that_the_container_copies_are_there() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = [
        place for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE) for place in line.split()[:-1]
    ]
    assert len(copied) >= 6
    assert [place for place in copied if not (ROOT / place).exists()] == []
    forced = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*forced["packages"], *forced["force-include"], PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)
    assert re.search(r"^USER (?!root)\w+$", text, flags=re.MULTILINE)
    assert text.rstrip().endswith('CMD ["--help"]')
    assert 'ENTRYPOINT ["hcal-root-ad"]' in text


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "0 known vulnerabilities"),
        ('{"dependencies": [{"name": "a", "skip_reason": "no network"}]}', 0, "audit: skipped"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": []}]}]}',
            1,
            "a 1: CVE-1, mended in no release.\naudit: 1 known vulnerabilities in 1 packages.\n",
        ),
        ("", 0, "audit: skipped, pip-audit gave no answer (no route)"),
    ],
)
def test_the_audit_asks_about_the_locked_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str, code: int, words: str
) -> None:
    stand_in = tmp_path / "pip-audit"
    asked = tmp_path / "asked"
    stand_in.write_text(f"#!/bin/sh\necho \"$@\" > {asked}\necho no route >&2\nprintf '%s' '{answer}'\n")
    stand_in.chmod(0o755)
    assert main(str(stand_in)) == code
    assert words in capsys.readouterr().out
    assert f"--requirement {ROOT / 'requirements-locked.txt'}" in asked.read_text()
    assert "--require-hashes" in asked.read_text()


def test_an_audit_whose_tools_cannot_be_installed_is_skipped_with_a_word(tmp_path: Path) -> None:
    words = ["make", "-s", "audit", f"TOOLS={tmp_path}", "PYTHON=false"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "audit: skipped, pip-audit cannot be installed from here.\n")
