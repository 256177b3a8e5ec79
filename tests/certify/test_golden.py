"""The JSON of certification, written and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.certify.golden import golden_text, read_selection, selection_of
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_ranges import ranges_of

SELECTIONS = st.dictionaries(
    st.integers(1, 400_000), st.sets(st.integers(1, 50), min_size=1).map(ranges_of), min_size=1
)


def test_runs_are_texts_in_order_and_empty_ones_left_out() -> None:
    text = golden_text({355456: [(1, 501), (503, 510)], 355100: [(2, 2)], 355200: []})
    assert text == '{"355100": [[2, 2]],\n "355456": [[1, 501], [503, 510]]}\n'
    assert json.loads(golden_text({})) == {}


@given(SELECTIONS)
def test_what_is_written_is_read_back(selection: dict[int, list[tuple[int, int]]]) -> None:
    assert selection_of(json.loads(golden_text(selection)), Path("dcs.json")) == selection


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "is no selection of lumisections"),
        ("{}", "is no selection of lumisections"),
        ('{"a": [[1, 2]]}', "key 'a' where a run number"),
        ('{"1": [[2, 1]]}', "does not list run 1 as ranges"),
        ('{"1": [[1, 2, 3]]}', "does not list run 1 as ranges"),
        ('{"1": [[0, 2]]}', "does not list run 1 as ranges"),
        ('{"1": [[1, 2]}', "cannot be read as JSON"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "dcs.json"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_selection(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_selection(tmp_path / "dcs.json")
