"""One verdict through every door: ``run``, ``watch``, ``certify`` and Python say the same of the same files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.certify.store import Store
from hcal_root_ad.cli.main import main
from hcal_root_ad.errors import ModelError, UsageError
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model
from hcal_root_ad.pipeline import SHIPPED_MODELS, Judging, load_models
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.publish.publish import publish
from hcal_root_ad.publish.saved_verdict import RunRecord, load_record, record_of
from hcal_root_ad.reproduce.read_back import differences, origins, parts_of
from hcal_root_ad.simulate.formats import write_format
from hcal_root_ad.simulate.scenario import FillConditions, make_fault
from hcal_root_ad.simulate.simulated_detector import SimulatedDetector, simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

pytest.importorskip("ROOT", reason="genuine ROOT writes the simulated files")
pytestmark = pytest.mark.usefixtures("own_models")

LENGTH = 8


@pytest.fixture(params=["known", "unknown"])
def files(request: pytest.FixtureRequest, detector: SimulatedDetector, tmp_path: Path) -> Path:
    """A folder with a run of a detector that the models know, or of one that they do not; HEP07 dies in LS 4."""
    own = detector if request.param == "known" else simulate_detector(7)
    nothing = np.zeros(LENGTH, dtype=bool)
    conditions = FillConditions(
        np.arange(1, LENGTH + 1, dtype=np.int32), np.full(LENGTH, 1500, dtype=np.int64), np.full(LENGTH, 45.0),
        np.zeros(LENGTH, dtype=int), nothing, nothing,
    )  # fmt: skip
    fault = make_fault(own, "dead", "HEP07", 4, LENGTH, 0.0)
    run = simulate_run(own, conditions, [fault], seed=3, run=370_101)
    folder = tmp_path / "dqm"
    folder.mkdir()
    write_format(run, folder, "per_lumisection")
    return folder


def provenance(path: Path) -> Provenance:
    (origin,) = origins(path)
    return origin.provenance


def made_of(found: Provenance) -> tuple[object, ...]:
    """What counts of a provenance: all but the verb."""
    return set(found.materials), found.options, found.versions, found.trust


def in_words(record: RunRecord) -> list[tuple[object, ...]]:
    return [(part.name, part.trust, part.trust_reason, part.judge, part.findings) for part in record.parts]


def test_one_verdict_through_every_door(files: Path, tmp_path: Path) -> None:
    out, watched, campaign = (tmp_path / name for name in ("out", "watched", "campaign"))
    assert main(["run", str(files), "-o", str(out), "--save-verdict", str(out)]) == 0
    assert main(["watch", str(files), "-o", str(watched), "--once"]) == 0
    certified = main(["certify", str(files), "-o", str(campaign)])
    judging = Judging(load_models())
    (maps,) = read_lumi_maps([files])
    verdict = judging.judge(maps)
    by_python = publish(verdict, tmp_path / "python", provenance=judging.provenance("run", [verdict]))

    roots = [*out.glob("*.root"), *watched.glob("*.root"), *(campaign / "root").glob("*.root"), by_python]
    assert len(roots) == 4
    first = parts_of(roots[0])
    for other in roots[1:]:
        assert list(differences(first, parts_of(other))) == []
    assert [made_of(provenance(path)) for path in roots[1:]] == [made_of(provenance(roots[0]))] * 3

    saved = next(out.glob("*.verdict.npz"))
    kept = Store(campaign).record(370_101)
    records = [load_record(saved), load_record(kept), record_of(verdict, judging.provenance("run", [verdict]))]
    assert in_words(records[0]) == in_words(records[1]) == in_words(records[2])
    assert list(differences(parts_of(saved), parts_of(kept))) == []

    trust = {part.subdetector: part.trust for part in verdict.verdicts}
    if trust["HE"] is Trust.ADAPTED:
        assert [(f.unit, f.first, f.last) for f in verdict.findings if f.subdetector == "HE"] == [("HEP07", 4, LENGTH)]
        assert certified == 0
    else:
        assert not trust["HE"].trusted
        assert certified == 1
        assert (campaign / "certification.json").read_text().split() == ["{}"]
    assert Store(campaign).campaign().runs == (370_101,)


def test_without_reference_is_said_everywhere(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["run", str(files), "-o", str(out), "--save-verdict", str(out), "--without-reference"]) == 0
    assert "NOT TRUSTED, no reference (judged against this run itself" in " ".join(capsys.readouterr().out.split())
    made = provenance(next(out.glob("*.root")))
    assert made.options == {"without_reference": True}
    assert {made.trust[name] for name in ("HB", "HE")} == {"no reference"}
    record = load_record(next(out.glob("*.verdict.npz")))
    assert [part.trust for part in record.parts if part.name in ("HB", "HE")] == [Trust.NONE, Trust.NONE]
    assert main(["certify", str(files), "-o", str(tmp_path / "campaign"), "--without-reference"]) == 1
    assert (tmp_path / "campaign" / "certification.json").read_text().split() == ["{}"]


def test_the_shipped_models_are_those_of_every_subdetector(models: Mapping[str, Model]) -> None:
    assert [model.subdetector for model in load_models()] == ["HB", "HE", "HO", "HF"]
    assert [model.name for model in load_models(["he-graphstad"])] == ["he-graphstad"]
    assert {model.digest for model in load_models(SHIPPED_MODELS)} == {model.digest for model in models.values()}
    with pytest.raises(ModelError, match="he-graphstad and he-graphstad are both models for HE"):
        load_models(["he-graphstad", "he-graphstad"])


def test_what_cannot_be_asked_for_is_refused_at_once(models: Mapping[str, Model]) -> None:
    with pytest.raises(UsageError, match="choose a number above 0 and up to 50"):
        Judging(tuple(models.values()), 1e9)


def test_a_reference_is_remembered_only_where_one_fits(clean_run: LumiMaps) -> None:
    judging = Judging((), fitting=lambda _: None)
    assert judging._reference(clean_run) == {}
    assert judging.references == {}
    assert judging.provenance_of([clean_run], "run").materials[0].role != "reference"
