"""Content is found by name: the user's folders first, then what is shipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hcal_root_ad import content


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of the user, the first without harvesters."""
    for folder, name in (("first/models", "mine"), ("second/models", "mine"), ("second/harvesters", "mine.toml")):
        (tmp_path / folder / name).mkdir(parents=True)
    (tmp_path / "second" / "models" / ".hidden").mkdir()
    path = os.pathsep.join((str(tmp_path / "first"), "", str(tmp_path / "second"), str(tmp_path / "missing")))
    monkeypatch.setenv(content.SEARCH_VARIABLE, path)
    return tmp_path


def test_the_first_folder_wins(own: Path) -> None:
    assert content.find("models", "mine") == own / "first" / "models" / "mine"
    assert content.find("harvesters", "mine.toml") == own / "second" / "harvesters" / "mine.toml"


def test_own_folders_come_before_the_shipped_ones(own: Path) -> None:
    assert content.search_path("models")[:2] == (own / "first" / "models", own / "second" / "models")
    assert len(content.search_path("models")) == 3


def test_names_are_sorted_unique_and_not_hidden(own: Path) -> None:
    names = content.names("models")
    assert own.name not in names
    assert names.count("mine") == 1
    assert list(names) == sorted(names)
    assert not any(name.startswith(".") for name in names)


def test_names_follow_a_pattern(own: Path) -> None:
    assert "mine.toml" in content.names("harvesters", "*.toml")
    assert content.names("harvesters", "mine.*") == ("mine.toml",)
    assert (own / "second" / "harvesters" / "mine.toml").exists()


def test_an_unknown_name_is_none() -> None:
    assert content.find("models", "no-such-bundle") is None


@pytest.mark.parametrize("kind", ["harvesters", "models", "policies", "reference_runs"])
def test_every_kind_is_shipped(kind: content.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(content.SEARCH_VARIABLE, raising=False)
    assert len(content.search_path(kind)) == 1
    assert content.names(kind)
