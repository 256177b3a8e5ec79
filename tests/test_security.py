"""Nothing from a file is executed, no path from a file leads out of the output folder, no network unless asked."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
import socket
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hcal_root_ad import content
from hcal_root_ad.certify.store import Store, result_of_table
from hcal_root_ad.cli.main import main
from hcal_root_ad.errors import HcalRootAdError, InputError, ModelError
from hcal_root_ad.harvest.dials import dials_run
from hcal_root_ad.model.graphstad import network_of
from hcal_root_ad.model.model import HEAD, REFERENCE, WEIGHTS, load_model
from hcal_root_ad.provenance import sha256_of
from hcal_root_ad.publish.gui_rules import offline_name
from hcal_root_ad.publish.saved_verdict import load_record

PACKAGE = Path(__file__).parents[1] / "hcal_root_ad"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PLACES = ["../up", "/tmp/away", "a/../../b", "..", "DQM_V0001_R000370101__A__B__../../C.root", "x\x00y"]
"""Names that would lead out of a folder."""


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the name that is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


# Nothing is executed.


COMMANDS = Path("watch/messages.py")
"""Starts what the user names on the command line, and nothing that a file says."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_executes_what_it_reads(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    starts = {"subprocess"} if path.relative_to(PACKAGE) != COMMANDS else set()
    assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "code", *starts}
    for name, call in calls(path):
        assert name not in (
            "eval",
            "exec",
            "compile",
            "__import__",
            "os.system",
            "os.popen",
            "torch.load",
            "runpy.run_path",
        )
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in ("np.load", "numpy.load"):
            assert given["allow_pickle"] == "False"
        if name == "import_module":
            assert ast.unparse(call.args[0]) in ("_HOMES[name]",) or ast.unparse(call.args[0]).startswith(
                ("f'hcal_root_ad.", 'f"hcal_root_ad.')
            )


def test_verbs_and_containers_are_imported_by_fixed_names_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["../../os"])
    assert "is no verb" in capsys.readouterr().err
    assert main(["simulate", "-o", "nowhere", "--format", "../os"]) == 2


def test_a_pickle_in_a_record_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "R370101.verdict.npz"
    np.savez(path, words=np.array(Bomb(tmp_path / "boom"), dtype=object))
    with pytest.raises(InputError, match="damaged file or another kind"):
        load_record(path)
    assert not (tmp_path / "boom").exists()


def test_the_bomb_would_go_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom")))
    assert (tmp_path / "boom").exists()


# Models are what their digests say.


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = content.find("models", "he-graphstad")
    assert folder is not None
    return Path(shutil.copytree(folder, tmp_path / "mine"))


def with_true_digests(model: Path) -> None:
    """Write down the digests of the files as they are now: what a forger would do."""
    head = (model / HEAD).read_text()
    for name, old in tomllib.loads(head)["sha256"].items():
        head = head.replace(old, sha256_of(model / name))
    (model / HEAD).write_text(head)


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_one_changed_byte_is_refused(model: Path, name: str, where: float) -> None:
    data = bytearray((model / name).read_bytes())
    data[int(where * len(data))] ^= 1
    (model / name).write_bytes(data)
    with pytest.raises(ModelError, match="does not match the digest"):
        load_model(model)


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE])
def test_a_pickle_in_the_place_of_tensors_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    (model / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with_true_digests(model)
    with pytest.raises(ModelError, match="unreadable"):
        load_model(model)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("name", [WEIGHTS, REFERENCE])
@pytest.mark.parametrize("change", ["one more", "one less"])
def test_a_tensor_too_many_or_too_few_is_refused(model: Path, name: str, change: str) -> None:
    tensors = load_file(model / name)
    if change == "one more":
        tensors["more"] = np.zeros(1, np.float32)
    else:
        del tensors[sorted(tensors)[0]]
    save_file(tensors, model / name)
    with_true_digests(model)
    with pytest.raises(ModelError):
        network_of(load_model(model))


@pytest.mark.parametrize("line", [WEIGHTS, REFERENCE])
def test_a_digest_that_is_left_out_is_refused(model: Path, line: str) -> None:
    lines = (model / HEAD).read_text().splitlines()
    (model / HEAD).write_text("\n".join(one for one in lines if not one.startswith(f'"{line}"')) + "\n")
    with pytest.raises(ModelError):
        load_model(model)


def test_another_threshold_is_another_digest(model: Path) -> None:
    before = load_model(model)
    head = (model / HEAD).read_text()
    (model / HEAD).write_text(head.replace("false_alarms = 0.5", "false_alarms = 50.0"))
    after = load_model(model)
    assert (before.false_alarms, after.false_alarms) == (0.5, 50.0)
    assert before.digest != after.digest
    shutil.copytree(model, model.with_name("renamed"))
    assert load_model(model.with_name("renamed")).digest == after.digest


# No path from a file leads out of the output folder.


@pytest.mark.parametrize("name", PLACES)
def test_an_input_of_any_name_gives_a_plain_file_name(name: str) -> None:
    assert Path(offline_name(370101, name)).name == offline_name(370101, name)


@pytest.mark.parametrize("place", PLACES[:4])
def test_a_marker_of_a_campaign_leads_nowhere_else(tmp_path: Path, place: str) -> None:
    (tmp_path / "up").write_text("mine")
    run = {"run": 370101, "lumisections": 1, "flags": 0, "root": place}
    table = {"identity": "0", "files": [], "runs": [run], "failures": []}
    with pytest.raises(InputError, match="no file of its"):
        result_of_table(table)
    store = Store(tmp_path / "campaign")
    store.records.mkdir(parents=True)
    (store.records / "R370101.item.json").write_text(json.dumps(table))
    assert store.campaign().items == ()
    assert (tmp_path / "up").read_text() == "mine"


@pytest.mark.parametrize("run", ["../../370101", 1.5, None, True])
def test_a_run_that_is_no_number_is_refused(run: object) -> None:
    one = {"run": run, "lumisections": 1, "flags": 0, "root": ""}
    with pytest.raises(InputError):
        result_of_table({"identity": "0", "files": [], "runs": [one], "failures": []})


def test_a_dataset_of_dials_gives_a_plain_file_name() -> None:
    wanted = dials_run("dials:370101@/../../etc/passwd")
    assert wanted is not None
    assert Path(wanted.file_name).name == wanted.file_name
    with pytest.raises(InputError):
        dials_run("dials:../../370101")


@pytest.mark.parametrize("place", ["../elsewhere.csv", "/etc/hostname", "a/../../b"])
def test_a_list_of_outputs_leads_nowhere_else(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "simulated"
    assert main(["simulate", "-o", str(folder), "--format", "dials", "--lumisections", "1"]) == 0
    (file,) = folder.glob("*.provenance.json")
    table = json.loads(file.read_text())
    table["outputs"][place] = "00"
    file.write_text(json.dumps(table))
    assert main(["reproduce", str(folder)]) == 2
    assert "not in the folder" in capsys.readouterr().err


def test_a_model_of_any_name_is_written_where_it_was_asked_for(model: Path, tmp_path: Path) -> None:
    loaded = replace(load_model(model), name="../../up")
    before = set(tmp_path.rglob("*"))
    saved = loaded.save(tmp_path / "new")
    assert saved.name == "new"
    assert all(path.is_relative_to(tmp_path / "new") for path in set(tmp_path.rglob("*")) - before)


@pytest.mark.parametrize("name", ["../up", "a/b", "/tmp/x", ".."])
def test_a_reference_is_kept_under_a_plain_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(content.SEARCH_VARIABLE, str(tmp_path / "own"))
    assert main(["reference", "add", "clean", "--name", name]) == 2
    assert "no name for a reference" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# No network unless asked.


def test_no_verb_opens_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a connection was opened")

    class Refused(socket.socket):
        def __init__(self, *_: object, **__: object) -> None:
            refuse()

    monkeypatch.setattr(socket, "socket", Refused)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    with pytest.raises(AssertionError, match="a connection was opened"):
        socket.create_connection(("localhost", 1))
    out = str(tmp_path / "out")
    words = ["--format", "dials", "--lumisections", "3", "--detector-seed", "2022"]
    assert main(["simulate", "-o", str(tmp_path / "in"), *words]) == 0
    (file,) = map(str, (tmp_path / "in").glob("*.parquet"))
    assert main(["inspect", file]) == 0
    assert main(["harvest", file, "-o", str(tmp_path / "maps.npz")]) == 0
    assert (
        main(["run", file, "-o", out, "--flags", f"{out}/flags.csv", "--plots", f"{out}/plots", "--save-verdict", out])
        == 0
    )
    (root,) = map(str, (tmp_path / "out").glob("*.root"))
    (record,) = map(str, (tmp_path / "out").glob("*.npz"))
    assert main(["check", root]) == 0
    assert main(["report", record, "-o", f"{out}/page.html"]) == 0
    assert main(["certify", file, "-o", str(tmp_path / "campaign")]) == 0
    assert main(["compare", file, "--reference", "clean", "-o", str(tmp_path / "compared")]) == 0
    assert main(["reference", "list"]) == 0
    assert main(["provenance", root]) == 0
    assert main(["reproduce", str(tmp_path / "maps.npz"), "--inputs", str(tmp_path / "in")]) == 0


def test_an_address_is_asked_for_and_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def magic(url: str) -> NoReturn:
        asked.append(url)
        raise HcalRootAdError("asked")

    monkeypatch.setattr("fsspec.core.url_to_fs", magic)
    assert main(["inspect", "https://example.org/a.root"]) == 2
    assert set(asked) == {"https://example.org/a.root"}
    assert "asked" in capsys.readouterr().err
