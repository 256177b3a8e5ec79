import struct

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.publish.root_file import add_objects
from hcal_root_ad.root_io.layout import mark_gaps, read_layout, walk


def write(path, objects, **options):
    with uproot.recreate(path, **options) as file:
        add_objects(file, objects)
    return path


def texts(count, folders=1):
    for number in range(count):
        text = f"<name{number}>s={'x' * number}</name{number}>"
        yield f"DQMData/Run 1/Hcal/Run summary/F{number % folders}", text, text


def test_uproot_leaves_gaps_that_stop_a_sequential_reader_and_marking_heals_them(tmp_path, listing):
    path = write(tmp_path / "a.root", texts(60))
    with pytest.raises(AssertionError):
        listing(path.read_bytes())
    assert walk(read_layout(path))[1] is not None
    mark_gaps(path)
    assert len(listing(path.read_bytes())) == 60
    assert walk(read_layout(path))[1] is None


def test_marking_twice_changes_nothing(tmp_path):
    path = write(tmp_path / "a.root", texts(60))
    mark_gaps(path)
    once = path.read_bytes()
    mark_gaps(path)
    assert path.read_bytes() == once


@settings(max_examples=20)
@given(st.integers(0, 80), st.integers(1, 9))
def test_any_number_of_objects_in_any_number_of_folders_can_be_walked(tmp_path_factory, listing, count, folders):
    path = write(tmp_path_factory.mktemp("walk") / "a.root", texts(count, folders))
    mark_gaps(path)
    container = read_layout(path)
    found = listing(path.read_bytes())
    assert sorted(name for _, name, _ in found) == sorted(text for _, _, text in texts(count, folders))
    assert {record.seek for record in container.objects} <= walk(container)[0].keys()
    assert all(stop - start >= 4 for start, stop in container.gaps())


def test_container_knows_places_classes_and_texts(tmp_path):
    container = read_layout(write(tmp_path / "a.root", texts(3, folders=2)))
    record = container.objects[-1]
    assert sorted(container.folders) == sorted(
        ["", "DQMData", "DQMData/Run 1", "DQMData/Run 1/Hcal", "DQMData/Run 1/Hcal/Run summary"]
        + [f"DQMData/Run 1/Hcal/Run summary/F{n}" for n in range(2)]
    )
    assert record.class_name == "TObjString"
    assert container.text(record) == record.name
    assert record.parent == container.folders[record.directory]


def test_codecs_are_told_apart(tmp_path):
    data = "<a>s=" + "b" * 500 + "</a>"
    for codec, tag in ((uproot.ZLIB(1), "ZL"), (uproot.LZMA(1), "XZ"), (None, "")):
        container = read_layout(write(tmp_path / "a.root", [("F", data, data)], compression=codec))
        assert container.compression(container.objects[0]) == tag


def test_a_file_with_a_tree_is_never_marked(tmp_path):
    path = tmp_path / "tree.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": np.float64}).extend({"x": np.arange(1000.0)})
    before = path.read_bytes()
    with pytest.raises(OutputError, match="TTree 't'"):
        mark_gaps(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data[:0], "expected a ROOT file"),
        (lambda data: b"PK\x03\x04" + data[4:], "expected a ROOT file"),
        (lambda data: data[:60], "expected"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:12] + struct.pack(">I", 200) + data[16:200], "damaged"),
    ],
)
def test_a_file_that_is_not_a_whole_root_file_is_refused_with_a_sentence(tmp_path, change, sentence):
    path = write(tmp_path / "a.root", texts(20))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=sentence):
        read_layout(path)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_layout(tmp_path / "missing.root")
