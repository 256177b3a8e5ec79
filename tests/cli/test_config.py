"""Settings written once: what holds, where it comes from, and that options and the environment come first."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.cli.settings import Settings, apply, config_file, read_settings
from hcal_root_ad.errors import UsageError

TEXT = """
folders = ["/data/hcal", "/data/more"]
models = ["he-graphstad", "hf"]
policy = "strict"
mask = "/data/known.toml"
label = "HCAL Preliminary"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file, which the environment does not name; nothing else is set."""
    for name in ("HCAL_ROOT_AD_CONFIG", "HCAL_ROOT_AD_PATH", "HCAL_ROOT_AD_LABEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "hcal_root_ad" / "config.toml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def options(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**{"config": None, **values})


@pytest.mark.usefixtures("file")
def test_settings_stand_in_for_options_that_are_not_given() -> None:
    arguments = options(model=None, policy=None, mask=None, runs=2)
    apply(arguments)
    assert (arguments.model, arguments.policy) == (["he-graphstad", "hf"], "strict")
    assert arguments.mask == Path("/data/known.toml")
    assert arguments.from_settings == {"model", "policy", "mask"}
    assert not hasattr(arguments, "definition")
    assert os.environ["HCAL_ROOT_AD_PATH"] == "/data/hcal:/data/more"
    assert os.environ["HCAL_ROOT_AD_LABEL"] == "HCAL Preliminary"


@pytest.mark.usefixtures("file")
def test_options_and_the_environment_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCAL_ROOT_AD_LABEL", "HCAL Internal")
    arguments = options(model=["mine"], policy=None)
    apply(arguments)
    assert (arguments.model, arguments.policy) == (["mine"], "strict")
    assert os.environ["HCAL_ROOT_AD_LABEL"] == "HCAL Internal"


def test_which_file_holds(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    other.write_text('policy = "standard"')
    assert config_file() == file
    assert config_file(other) == other
    monkeypatch.setenv("HCAL_ROOT_AD_CONFIG", str(other))
    assert config_file() == other
    assert read_settings(config_file()) == Settings(policy="standard")
    monkeypatch.setenv("HCAL_ROOT_AD_CONFIG", "")
    assert config_file() is None
    assert read_settings(None) == Settings()
    monkeypatch.setenv("HCAL_ROOT_AD_CONFIG", "/no/such.toml")
    with pytest.raises(UsageError, match=r"names /no/such\.toml, which is no file"):
        config_file()
    with pytest.raises(UsageError, match="--config /none: no such file"):
        config_file(Path("/none"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modles = ["a"]', "models"),
        ("models = 3", "models"),
        ("[[[", "settings"),
        ("false_alarms = true", "false_alarms"),
    ],
)
def test_a_wrong_file_is_one_sentence(file: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(text)
    assert main(["config"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line
    assert words in line


def test_config_shows_what_holds_and_where_it_comes_from(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCAL_ROOT_AD_LABEL", "HCAL Internal")
    assert main(["config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"settings: {file}"
    assert f"policy        strict  (from {file})" in lines
    assert "definition    the one that fits  (default)" in lines
    assert "label         HCAL Internal  (from HCAL_ROOT_AD_LABEL)" in lines
    assert lines[-2:] == ["  HE of Run3: he-graphstad", "  HF of Run3: hf"]


@pytest.mark.usefixtures("file")
def test_the_label_is_on_the_plots() -> None:
    from hcal_root_ad.style import page

    apply(options())
    texts = [text.get_text() for text in page(370101, 8, 6).axes[0].texts]
    assert "HCAL Preliminary" in texts


def test_the_shell_completes_verbs_and_options() -> None:
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    for line, expected in {"hcal-root-ad ce": ["certify"], "hcal-root-ad run --mo": ["--model"]}.items():
        environment = os.environ | {
            "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout", "COMP_LINE": line,
            "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_IFS": "\n",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "hcal_root_ad"], env=environment, capture_output=True, text=True, check=False
        )
        assert [word.strip() for word in done.stdout.split("\n")] == expected
