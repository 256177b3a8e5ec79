"""The figures of what the tests reach: sums by package, and the shares that are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import coverage


def report(**files: tuple[int, int, int, int]) -> dict[str, object]:
    names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    return {"files": {name: {"summary": dict(zip(names, numbers, strict=True))} for name, numbers in files.items()}}


PARTS = report(
    **{
        "hcal_root_ad/judge/a.py": (60, 60, 10, 9),
        "/tmp/copy/hcal_root_ad/judge/deep/b.py": (40, 39, 0, 0),
        "hcal_root_ad/errors.py": (100, 90, 10, 9),
    }
)


def test_packages_are_sums_of_their_modules() -> None:
    assert coverage.by_package(PARTS) == {
        "hcal_root_ad": coverage.Reached(100, 90, 10, 9),
        "judge": coverage.Reached(100, 99, 10, 9),
    }


def test_the_page_has_all_first() -> None:
    rows = coverage.page(coverage.by_package(PARTS), {"lines": 95, "branches": 90}, "made").splitlines()[7:]
    assert rows[0] == "| all | 200 | 94.5 % | 20 | 90.0 % |"
    assert [row.split()[1] for row in rows] == ["all", "hcal_root_ad", "judge"]


def test_nothing_is_reached_as_a_whole() -> None:
    assert coverage.Reached().percent == {"lines": 100.0, "branches": 100.0}


@pytest.mark.parametrize(
    ("lines", "code", "says"), [(189, 1, "94.50 % of the lines, 95 % wanted"), (191, 0, "95.50 %")]
)
def test_too_little_ends_with_1(
    lines: int,
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "figures.json").write_text(json.dumps(report(**{"hcal_root_ad/a.py": (200, lines, 20, 19)})))
    monkeypatch.setattr("sys.argv", ["coverage", str(tmp_path / "figures.json"), "-o", str(tmp_path / "page.md")])
    assert coverage.main() == code
    assert capsys.readouterr().out.startswith(says)
    assert "| all | 200 |" in (tmp_path / "page.md").read_text()
