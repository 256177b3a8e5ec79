"""The front door: verbs, exit codes, one sentence per mistake, and no heavy import before a verb is chosen."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hcal_root_ad import cli
from hcal_root_ad.cli import files, options
from hcal_root_ad.cli.main import VERBS, main
from hcal_root_ad.errors import HcalRootAdError, InputError
from hcal_root_ad.references import input_paths


def test_every_verb_has_its_functions_and_every_module_is_known() -> None:
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}
    assert modules == {*(verb.module for verb in VERBS.values()), "__init__", "main", "options", "terminal"}
    for name, verb in VERBS.items():
        add_arguments = getattr(options, f"add_{name}")
        assert add_arguments.__doc__
        add_arguments(argparse.ArgumentParser())
        assert callable(getattr(import_module(f"hcal_root_ad.cli.{verb.module}"), f"execute_{name}"))


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert [verb for verb in VERBS if f"\n  {verb} " not in shown] == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_begins_with_what_it_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"hcal-root-ad {verb}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    heavy = ["numpy", "rich", "torch", "uproot", "matplotlib", "ROOT", "hist", "importlib.metadata"]
    code = (
        "import sys, hcal_root_ad.cli.main as door\n"
        "try: door.main(['--help'])\n"
        f"except SystemExit: print('heavy:', [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("hcal-root-ad 0.")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "judge",
        "check",
        "harvest file.root",
        "run a -o b --false-alarms 0",
        "run a -o b --false-alarms few",
        "simulate -o x --format online --runs 0",
        "train a -o b --subdetector HX",
    ],
)
def test_wrong_use_ends_with_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("certfy x -o y", "certfy is no verb; did you mean certify?"),
        ("certify x -o y --wrokers 2", "did you mean --workers?"),
        ("certify x -o y --retry", "did you mean --retry-failed?"),  # no abbreviations
        ("run x --outptu=y", "did you mean --output?"),
        ("reference add x --nam y", "did you mean --name?"),
    ],
)
def test_what_is_not_known_names_the_nearest(line: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    assert hint in capsys.readouterr().err


def end_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def execute(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(files, "execute_check", execute)
    return main(["check", "file.root"])


@pytest.mark.parametrize("kind", [HcalRootAdError, *HcalRootAdError.__subclasses__()])
def test_our_errors_are_one_sentence(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_with(kind("file.root: expected this, found that."), monkeypatch) == 2
    assert capsys.readouterr() == ("", "hcal-root-ad: file.root: expected this, found that.\n")


def test_trouble_with_the_disk_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_with(PermissionError(13, "Permission denied", "out/a.root"), monkeypatch) == 2
    assert capsys.readouterr().err == "hcal-root-ad: out/a.root: permission denied.\n"


def test_our_own_mistakes_are_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for error in (OSError("no file named"), ZeroDivisionError()):
        assert end_with(error, monkeypatch) == 3
        assert "please report it with the file" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2


def test_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_with(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr().err == "hcal-root-ad: interrupted.\n"


def test_module_form_is_the_same_program() -> None:
    command = [sys.executable, "-m", "hcal_root_ad", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("hcal-root-ad 0.")


def test_unknown_input_says_what_there_is() -> None:
    with pytest.raises(InputError, match=r"no-such\.root: no such file, and no reference run of that name"):
        input_paths("no-such.root")


def test_reference_run_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reference_runs").mkdir()
    run = tmp_path / "reference_runs" / "good.root"
    run.touch()
    monkeypatch.setenv("HCAL_ROOT_AD_PATH", str(tmp_path))
    assert input_paths("good.root") == (run,)
    monkeypatch.chdir(tmp_path)
    Path("good.root").touch()
    assert input_paths("good.root") == (Path("good.root"),)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run x -o y --false-alarm 1", "unrecognized arguments: --false-alarm 1; did you mean --false-alarms?"),
        ("run x -o y --plot=z", "unrecognized arguments: --plot=z; did you mean --plots?"),
        ("reference list --jsn", "unrecognized arguments: --jsn"),
        ("run x -o y stray --qqqqqq", "unrecognized arguments: stray --qqqqqq\n"),
    ],
)
def test_an_unknown_option_names_the_nearest_and_none_is_cut_short(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err
