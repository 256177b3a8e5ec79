"""``provenance`` and ``reproduce`` on outputs of every verb: identical, or what differs, or a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.cli.main import main
from hcal_root_ad.provenance import Provenance, write_beside
from hcal_root_ad.reproduce.read_back import origins

LUMISECTIONS = 6


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a simulated detector, as a DIALS export."""
    folder = tmp_path_factory.mktemp("inputs")
    words = [
        "--format",
        "dials",
        "--lumisections",
        str(LUMISECTIONS),
        "--detector-seed",
        "2022",
        "--faults",
        "mixed",
    ]
    assert main(["simulate", "-o", str(folder), *words]) == 0
    return folder


@pytest.fixture(scope="module")
def outputs(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the verbs make of it; the input lies elsewhere."""
    folder = tmp_path_factory.mktemp("outputs")
    (file,) = inputs.glob("*.parquet")
    out = {
        name: str(folder / name)
        for name in ("root", "flags.csv", "verdict.json", "records", "plots", "maps.npz", "campaign")
    }
    judged = ["run", str(file), "-o", out["root"], "--false-alarms", "2"]
    assert (
        main(
            [
                *judged,
                "--flags",
                out["flags.csv"],
                "--json",
                out["verdict.json"],
                "--save-verdict",
                out["records"],
                "--plots",
                out["plots"],
            ]
        )
        == 0
    )
    assert main(["harvest", str(file), "-o", out["maps.npz"]]) == 0
    assert main(["certify", str(file), "-o", out["campaign"]]) == 0
    assert main(["compare", str(file), "--reference", "clean", "-o", str(folder / "compared")]) == 0
    (record,) = (folder / "records").glob("*.npz")
    assert main(["report", str(record), "-o", str(folder / "run.html")]) == 0
    assert main(["report", out["campaign"], "-o", str(folder / "campaign.html")]) == 0
    return folder


Said = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a verb, which ends with a code, and return what it prints."""

    def run(code: int, *words: object) -> str:
        capsys.readouterr()
        assert main(list(map(str, words))) == code
        printed = capsys.readouterr()
        return printed.err if code == 2 else printed.out

    return run


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.parametrize(
    "pattern",
    [
        "root/*.root",
        "flags.csv",
        "verdict.json",
        "records/*.npz",
        "plots",
        "maps.npz",
        "compared/*.root",
        "compared/*0.json",
    ],
)
def test_outputs_are_made_again_the_same(outputs: Path, inputs: Path, said: Said, pattern: str) -> None:
    shown = said(0, "reproduce", the(outputs, pattern), "--inputs", inputs)
    assert "identical" in shown
    assert "differs" not in shown


def test_a_campaign_knows_where_its_files_are(outputs: Path, said: Said) -> None:
    lines = said(0, "reproduce", outputs / "campaign").splitlines()
    names = {line.partition(":")[0].rpartition("/")[2] for line in lines}
    assert {"certification.json", "run_registry.json", "lumisections.csv", "flags.parquet"} <= names
    assert sum(name.endswith((".npz", ".root")) for name in names) == 2
    assert all(": identical, " in line for line in lines)


def test_a_simulated_run_is_made_again(inputs: Path, said: Said, tmp_path: Path) -> None:
    assert said(0, "reproduce", inputs, "-o", tmp_path / "again").count("identical") == 2
    assert the(tmp_path / "again", "*.parquet").name == the(inputs, "*.parquet").name


def test_the_provenance_names_inputs_options_and_versions_but_no_place(outputs: Path, inputs: Path, said: Said) -> None:
    for pattern in ("root/*.root", "flags.csv", "records/*.npz", "maps.npz", "campaign", "run.html", "campaign.html"):
        path = the(outputs, pattern)
        table = json.loads(said(0, "provenance", path, "--json"))
        roles = {one["role"]: one["name"] for one in table["materials"]}
        assert roles["inputs"] == the(inputs, "*.parquet").name
        assert roles["definition"] == "dials-occupancy"
        assert set(table["versions"]) == {"python", "hcal-root-ad", "numpy", "torch", "uproot"}
        assert str(inputs) not in json.dumps(table)
        assert str(outputs) not in json.dumps(table)
        shown = said(0, "provenance", path)
        assert roles["inputs"] in shown
        assert all(f"{name} {version}" in shown for name, version in table["versions"].items())
    assert json.loads(said(0, "provenance", outputs / "flags.csv", "--json"))["options"] == {"false_alarms": 2.0}


def test_no_output_for_the_gui_holds_a_place(outputs: Path) -> None:
    for path in (*outputs.glob("root/*.root"), *outputs.glob("campaign/root/*.root"), *outputs.glob("*.html")):
        assert str(outputs.parent).encode() not in path.read_bytes()


def test_what_differs_is_said(outputs: Path, inputs: Path, said: Said, tmp_path: Path) -> None:
    path = tmp_path / "maps.npz"
    with np.load(outputs / "maps.npz") as saved:
        arrays = dict(saved)
    arrays["counts"][0, 3, 4, 0] += 5
    np.savez(path, **arrays)
    shown = said(1, "reproduce", path, "--inputs", inputs)
    assert "maps.npz: differs, 1 of" in shown
    assert f"counts: 1 of {arrays['counts'].size} values differ, by up to 5" in shown


def test_a_table_that_was_edited_is_said(outputs: Path, inputs: Path, said: Said, tmp_path: Path) -> None:
    for name in ("flags.csv", "flags.csv.provenance.json"):
        shutil.copyfile(outputs / name, tmp_path / name)
    with (tmp_path / "flags.csv").open("a") as file:
        file.write("an,added,line\n")
    assert "it was changed since" in said(0, "provenance", tmp_path / "flags.csv")
    assert "is not made any more" in said(1, "reproduce", tmp_path / "flags.csv", "--inputs", inputs)


def test_another_input_of_the_name_is_refused(outputs: Path, inputs: Path, said: Said, tmp_path: Path) -> None:
    assert "was not found; name its folder" in said(2, "reproduce", outputs / "maps.npz")
    copy = shutil.copyfile(the(inputs, "*.parquet"), tmp_path / the(inputs, "*.parquet").name)
    copy.write_bytes(copy.read_bytes() + b"x")
    assert "is not the file that was used" in said(2, "reproduce", outputs / "maps.npz", "--inputs", tmp_path)


def test_other_versions_are_named(
    outputs: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(outputs / "maps.npz") as saved:
        arrays = dict(saved)
    (origin,) = origins(outputs / "maps.npz")
    made = origin.provenance
    older = Provenance(made.verb, made.materials, made.options, {**made.versions, "numpy": "1.0"})
    np.savez(tmp_path / "maps.npz", **arrays | {"provenance": np.str_(older.text())})
    assert main(["reproduce", str(tmp_path / "maps.npz"), "--inputs", str(inputs)]) == 0
    assert "made with other versions: numpy 1.0, here " in capsys.readouterr().err


def test_a_file_cannot_make_a_verb_write_elsewhere(outputs: Path, inputs: Path, said: Said, tmp_path: Path) -> None:
    (origin,) = origins(outputs / "maps.npz")
    made = origin.provenance
    bad = Provenance(made.verb, made.materials, {"output": str(tmp_path / "elsewhere")}, made.versions)
    np.savez(tmp_path / "maps.npz", provenance=np.str_(bad.text()))
    assert "asks for an option" in said(2, "reproduce", tmp_path / "maps.npz", "--inputs", inputs)
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_made_again_is_said(outputs: Path, said: Said, tmp_path: Path) -> None:
    assert "is a page" in said(2, "reproduce", outputs / "run.html")
    assert "reproduce its folder" in said(2, "reproduce", the(outputs, "campaign/root/*.root"))
    assert "reproduce its folder" in said(2, "reproduce", outputs / "campaign" / "certification.json")
    assert "does not say" in said(2, "reproduce", Path(__file__))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "not an empty folder" in said(2, "reproduce", outputs / "maps.npz", "-o", tmp_path / "full")


@pytest.mark.parametrize(
    ("name", "text"),
    [("records/files.json", "["), ("records/files.json", "[5]"), ("certification.provenance.json", None)],
)
def test_a_damaged_campaign_is_a_sentence(
    outputs: Path, said: Said, tmp_path: Path, name: str, text: str | None
) -> None:
    folder = Path(shutil.copytree(outputs / "campaign", tmp_path / "campaign"))
    path = folder / name
    path.write_text(text or json.dumps(json.loads(path.read_text()) | {"policy": 5}))
    assert f"{path} is damaged" in said(2, "reproduce", folder)


def test_a_model_is_made_again(said: Said, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    said(0, "export", "he-graphstad", "-o", tmp_path / "he.onnx")
    assert "identical" in said(0, "reproduce", tmp_path / "he.onnx")


def test_a_folder_of_several_calls_is_not_made_again_as_one(said: Said, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
        write_beside(Provenance("run", (), {"false_alarms": float(ord(name))}), tmp_path, name, [tmp_path / name])
    assert "holds outputs of several calls; name one of its files" in said(2, "reproduce", tmp_path)
    assert said(0, "provenance", tmp_path).count("made by run") == 2
