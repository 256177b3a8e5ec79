"""A published file read back: the same histograms, numbers and states as were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Trust
from hcal_root_ad.provenance import Provenance
from hcal_root_ad.publish.publish import monitor_elements, publish
from hcal_root_ad.publish.published_run import is_published, read_published


def test_what_was_written_comes_back(published: Path, verdict: RunVerdict) -> None:
    back, elements = read_published(published), monitor_elements(verdict)
    assert sorted(back.paths) == sorted(element.path for element in elements.elements)
    for element in elements.elements:
        again = back.elements[element.path]
        np.testing.assert_array_equal(again.histogram.values(), element.histogram.values().astype(np.float32))
        assert [axis.edges.tolist() for axis in again.histogram.axes] == [
            axis.edges.tolist() for axis in element.histogram.axes
        ]
        assert again.title == element.title
        named = [labels if any(labels) else () for labels in element.bin_labels]
        assert [labels for labels in again.bin_labels if labels] == [labels for labels in named if labels]
    numbers = {scalar.path: scalar.value for scalar in elements.scalars if not isinstance(scalar.value, str)}
    assert {path: back.scalars[path] for path in numbers} == numbers


def test_states_are_those_of_the_verdict(published: Path, verdict: RunVerdict) -> None:
    back = read_published(published)
    assert (back.run, back.trust, len(back.channels)) == (370101, Trust.ADAPTED, 9072 + 6768)
    assert back.lumisections.tolist() == list(range(1, 14))
    worst = np.concatenate([one.states.max(axis=0) for one in verdict.verdicts])
    masked = np.concatenate([(one.states == 1).any(axis=0) for one in verdict.verdicts])
    np.testing.assert_array_equal(back.states, np.where(masked, 1, worst))
    assert back.to_hist() == verdict.to_hist("states", "ieta", "iphi", "depth")
    assert "lumisections  LS 1–13" in str(back)
    assert "<pre>" in back._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        back.states[0] = 0


def test_under_the_names_of_production_it_is_ours_too(verdict: RunVerdict, tmp_path: Path) -> None:
    provenance = Provenance("run", (), {"as_hcalmltask": True})
    back = read_published(publish(verdict, tmp_path, as_production=True, provenance=provenance))
    assert "Hcal/HcalADClient/StateSummary/depth/depth1" in back.paths
    assert back.run == 370101


def test_strips_have_no_states_of_channels(strip_verdict: RunVerdict, tmp_path: Path) -> None:
    back = read_published(publish(strip_verdict, tmp_path))
    assert back.trust is Trust.NONE
    with pytest.raises(UsageError, match="no channel was judged by itself"):
        back.to_hist()


def test_other_files_are_refused(published: Path, tmp_path: Path) -> None:
    import uproot

    with uproot.recreate(tmp_path / "other.root") as file:
        file["DQMData/Run 1/Ecal/Run summary/x"] = np.histogram([1.0])
    for name, words in (
        ("other.root", "expected the folders of HcalADTask"),
        ("none.root", "no such file"),
    ):
        assert not is_published(tmp_path / name)
        with pytest.raises(InputError, match=words):
            read_published(tmp_path / name)
    content = bytearray(published.read_bytes())
    with uproot.open(published) as file:
        key = file["DQMData/Run 370101/Hcal/Run summary/HcalADClient/StateSummary"].key("RBXNow")
    content[key.fSeekKey + key.fKeylen : key.fSeekKey + key.fNbytes] = bytes(key.fNbytes - key.fKeylen)
    (tmp_path / "damaged.root").write_bytes(content)
    with pytest.raises(InputError, match="found it damaged"):
        read_published(tmp_path / "damaged.root")
