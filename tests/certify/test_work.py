"""What a worker says where something is wrong: always a sentence, never a fault of one file for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcal_root_ad.certify.items import BundleReference, Item, Judging
from hcal_root_ad.certify.survey import Surveyed
from hcal_root_ad.certify.work import _bundle, _sentence, do_item
from hcal_root_ad.errors import BundleError, InputError


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("a.root: expected this, found that."), "a.root: expected this, found that."),
        (OSError(28, "No space left on device", "out/a.root"), "out/a.root: No space left on device."),
        (ZeroDivisionError("division by zero"), "a fault of the program, ZeroDivisionError: division by zero; please"),
        (OSError("odd"), "a fault of the program, OSError: odd; please report it with the file."),
    ],
)
def test_every_error_is_a_sentence(error: Exception, sentence: str) -> None:
    assert _sentence(error).startswith(sentence)


def test_a_bundle_that_changed_since_is_not_used() -> None:
    with pytest.raises(BundleError, match="another one here than where the campaign began"):
        _bundle(BundleReference("he-graphstad", "00ff"))


def test_a_file_that_is_none_is_a_failure_of_its_item(tmp_path: Path) -> None:
    path = tmp_path / "no.root"
    path.write_text("no ROOT file")
    seen = Surveyed(str(path), 12, 0, "d", (370101,))
    result = do_item(Item("identity", (seen,), (370101,), {}), Judging(()), tmp_path)
    (failure,) = result.failures
    assert failure.file == str(path)
    assert "neither a ROOT nor a parquet file" in failure.sentence
    assert not result.runs
