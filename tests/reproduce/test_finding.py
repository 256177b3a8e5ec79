"""Materials are found by name, and believed by digest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.model.model import load_model
from hcal_root_ad.provenance import Material, file_material, reference_material
from hcal_root_ad.references.catalogue import entry_of
from hcal_root_ad.reproduce.rerun import Places


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "below" / "a[1].root"
    path.parent.mkdir(parents=True)
    path.write_text("abc")
    return path


def test_near_below_and_known(file: Path, tmp_path: Path) -> None:
    one = file_material("inputs", file)
    assert Places((file.parent,)).find(one) == str(file)
    assert Places((), (tmp_path,)).find(one) == str(file)
    assert Places((), (), {one.sha256: file}).find(one) == str(file)
    with pytest.raises(InputError, match=r"a\[1\].root .* was not found; name its folder with --inputs"):
        Places((tmp_path,)).find(one)


def test_another_file_of_the_name_is_refused(file: Path, tmp_path: Path) -> None:
    one = file_material("inputs", file)
    file.write_text("abd")
    with pytest.raises(InputError, match="is not the file that was used"):
        Places((file.parent,)).find(one)
    (tmp_path / file.name).write_text("abc")
    assert Places((file.parent,), (tmp_path,)).find(one) == str(tmp_path / file.name)


def test_what_was_read_by_network_cannot_be_made_sure_of() -> None:
    with pytest.raises(InputError, match="no digest"):
        Places(()).find(Material("inputs", "far.root", ""))


def test_models_are_found_whatever_their_name(tmp_path: Path) -> None:
    shipped = load_model("he-graphstad")
    mine = shipped.save(tmp_path / "somewhere" / "mine")
    assert mine.digest == shipped.digest
    one = Material("model", "he-graphstad", shipped.digest)
    assert load_model(Places((), (tmp_path,)).find(one)).name == "mine"
    assert Path(Places(()).find(one)).name == "he-graphstad"
    with pytest.raises(InputError, match="model he-graphstad"):
        Places((), (tmp_path,)).find(replace(one, sha256="00"))


def test_references_are_those_of_the_catalogue() -> None:
    one = reference_material(entry_of("clean"))
    assert Places(()).find(one) == "clean"
    with pytest.raises(InputError, match="other rates"):
        Places(()).find(replace(one, sha256="00"))
    with pytest.raises(InputError, match="not in the catalogue"):
        Places(()).find(replace(one, name="no-such-reference"))
