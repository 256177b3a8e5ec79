"""Whether two outputs say the same, object by object and value by value; where they come from does not count."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.errors import InputError

_ORIGIN = ("program", "provenance", "outputs")
"""Keys that tell versions and options, in JSON and in records."""
_ORIGIN_TEXTS = ("<program>", "<record>")
"""The same in ROOT files."""
_TREE = "TTree"

Parts = Mapping[str, object]
"""What an output consists of, by name: bytes, arrays, or values; equal parts compare equal."""


def parts_of(path: Path) -> Parts:
    """An output in parts that can be compared one by one.

    Raises:
        InputError: it cannot be read.
    """
    read = _READERS.get(path.suffix, _bytes)
    try:
        return dict(read(path))
    except InputError:
        raise
    except Exception as error:  # whatever a reader of another's raises on a damaged file
        raise InputError(f"{path}: cannot be compared ({type(error).__name__}: {error}); it is damaged.") from error


def differences(earlier: Parts, other: Parts) -> Iterator[str]:
    """A sentence for each part that differs; ``earlier`` is the earlier output."""
    for name in sorted(earlier.keys() | other.keys()):
        if name not in other:
            yield f"{name}: is not made any more"
        elif name not in earlier:
            yield f"{name}: was not there before"
        elif sentence := _difference(earlier[name], other[name]):
            yield f"{name}: {sentence}"


def _difference(earlier: object, other: object) -> str:
    """How two values differ, "" where they do not."""
    if isinstance(earlier, np.ndarray) and isinstance(other, np.ndarray):
        return _of_arrays(earlier, other)
    if type(earlier) is type(other) and earlier == other:
        return ""
    if isinstance(earlier, bytes):
        return "other bytes"
    return f"was {earlier!r}, is {other!r}"


def _of_arrays(earlier: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> str:
    if (earlier.shape, earlier.dtype) != (other.shape, other.dtype):
        return f"was {earlier.dtype} {earlier.shape}, is {other.dtype} {other.shape}"
    if earlier.tobytes() == other.tobytes():
        return ""
    unequal = earlier != other
    if earlier.dtype.kind in "iuf":
        apart = np.abs(earlier.astype(np.float64) - other.astype(np.float64)).max()
        return f"{int(unequal.sum())} of {earlier.size} values differ, by up to {apart:.3g}"
    return f"{int(unequal.sum())} of {earlier.size} values differ"


def _root(path: Path) -> Iterator[tuple[str, object]]:
    """Objects as ROOT wrote them, uncompressed; trees basket by basket, because they hold places in the file."""
    from hcal_root_ad.harvest.inputs import open_root
    from hcal_root_ad.publish.root_layout import read_layout

    records = read_layout(path).objects
    with open_root(path) as file:
        for record in records:
            if record.name.startswith(_ORIGIN_TEXTS):
                continue
            if record.class_name == _TREE:
                yield from _tree(record.path, file[record.path])
            elif record.class_name == "TObjString":
                yield record.path, record.name
            else:
                yield from _histogram(record.path, file[record.path])


def _histogram(name: str, thing: Any) -> Iterator[tuple[str, object]]:
    """A histogram, or whatever else uproot knows, as its contents and all else that it has."""
    if not hasattr(thing, "all_members"):
        raise InputError(f"{name} is a {type(thing).__name__}, which cannot be compared.")
    if thing.classname.startswith(("TH", "TProfile")):
        yield name, np.asarray(thing.values(flow=True))
    yield f"{name} (axes, titles, errors)", repr(_plain(thing)).encode()


def _plain(value: Any) -> object:
    """Members of an object of ROOT, and of those in it, by name."""
    if hasattr(value, "all_members"):
        return [type(value).__name__, *((name, _plain(member)) for name, member in sorted(value.all_members.items()))]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else repr(value)


def _tree(name: str, tree: Any) -> Iterator[tuple[str, object]]:
    for branch in tree.itervalues(recursive=True):
        baskets = [np.asarray(branch.basket(number).data) for number in range(branch.num_baskets)]
        yield f"{name}/{branch.name}", np.concatenate(baskets) if baskets else np.zeros(0, np.uint8)


def _npz(path: Path) -> Iterator[tuple[str, object]]:
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if name == "words":
                yield from _flat(json.loads(str(archive[name])), "words")
            elif name not in _ORIGIN:
                yield name, archive[name]


def _json(path: Path) -> Iterator[tuple[str, object]]:
    yield from _flat(json.loads(path.read_text(encoding="utf-8")), "")


def _flat(value: Any, name: str) -> Iterator[tuple[str, object]]:
    """The single values of nested JSON, by path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _ORIGIN:
                yield from _flat(inner, f"{name}/{key}".lstrip("/"))
    elif isinstance(value, list):
        yield f"{name}/length".lstrip("/"), len(value)
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}/{number}".lstrip("/"))
    else:
        yield name, value


def _lines(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        yield f"line {number}", line


def _parquet(path: Path) -> Iterator[tuple[str, object]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name in table.column_names:
        yield name, table.column(name).to_pylist()


def _onnx(path: Path) -> Iterator[tuple[str, object]]:
    import onnx

    model = onnx.load(path)
    yield "graph", model.graph.SerializeToString(deterministic=True)
    yield from (
        (entry.key, entry.value) for entry in model.metadata_props if entry.key not in (*_ORIGIN, "hcal_root_ad")
    )


def _bytes(path: Path) -> Iterator[tuple[str, object]]:
    yield "content", path.read_bytes()


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, object]]]] = {
    ".root": _root, ".npz": _npz, ".json": _json, ".csv": _lines, ".parquet": _parquet, ".onnx": _onnx,
}  # fmt: skip
