"""What may be imported from the package: listed, documented, on its page, and light until it is asked for."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hcal_root_ad

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
CODE = Path(hcal_root_ad.__file__).read_text(encoding="utf-8")


def test_the_page_describes_every_name_and_no_other() -> None:
    described = re.findall(r"auto(?:function|class|exception):: hcal_root_ad\.(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(described) == sorted(hcal_root_ad.__all__)


def test_the_table_of_the_page_names_the_same() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(hcal_root_ad.__all__)


@pytest.mark.parametrize("name", hcal_root_ad.__all__)
def test_every_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    found = getattr(hcal_root_ad, name)
    assert not inspect.ismodule(found)
    says = inspect.getdoc(found) or ""
    assert len(says.split()) > 2
    assert not says.startswith(f"{name}(")  # what dataclasses say of themselves where nobody does
    assert name in dir(hcal_root_ad)


def test_type_checkers_see_the_same_names() -> None:
    imported = [node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.ImportFrom)]
    seen = [
        name.asname or name.name for node in imported for name in node.names if node.module.startswith("hcal_root_ad.")
    ]
    assert sorted(seen) == sorted(hcal_root_ad.__all__)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'judge_everything'"):
        hcal_root_ad.judge_everything  # noqa: B018


def test_the_import_is_light() -> None:
    code = "import sys, hcal_root_ad; print([n for n in ('numpy', 'torch', 'uproot') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
