"""Outputs read back: where one comes from, which stands in it or beside it, and the parts by which two are compared.

Where outputs come from does not count when they are compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import SUFFIX, Beside, Provenance, provenance_of_table, provenance_of_text, read_beside
from hcal_root_ad.provenance import beside as sidecar_of

RUN_FOLDERS = ("HcalADClient/Provenance", "HcalMLClient/Provenance", "HcalADClient/Comparison/Provenance")
"""Where in ``Hcal/Run summary`` of a ROOT file, of a verdict and of a comparison."""


@dataclass(frozen=True)
class Origin:
    """An output and its provenance; ``beside``: the file that holds it, where it is not inside."""

    output: Path
    provenance: Provenance
    beside: Beside | None = None

    @property
    def changed(self) -> bool:
        """Whether the output is known to be no longer what was written."""
        return self.beside is not None and self.output.is_file() and self.beside.changed(self.output)


def origins(path: Path) -> tuple[Origin, ...]:
    """The provenance of a file, or of each set of outputs in a folder that has one.

    Raises:
        InputError: the path is missing, or its provenance missing or damaged.
    """
    if path.is_dir():
        sidecars = [sidecar for file in sorted(path.glob(f"*{SUFFIX}")) if (sidecar := read_beside(file))]
        if not sidecars:
            raise InputError(f"{path}: no *{SUFFIX} lies in it, so nothing tells what was made there; name a file.")
        return tuple(Origin(path, sidecar.provenance, sidecar) for sidecar in sidecars)
    if not path.is_file():
        raise InputError(f"{path}: no such file; name an output of this program.")
    if inside := _inside(path):
        return tuple(Origin(path, provenance) for provenance in inside)
    if sidecar := sidecar_of(path):
        return (Origin(path, sidecar.provenance, sidecar),)
    raise InputError(
        f"{path} does not say what it was made of: there is no provenance in it, and none beside it (*{SUFFIX}) that "
        "names it; it is no output of this program, was written by an early version, or was moved without it."
    )


def _inside(path: Path) -> tuple[Provenance, ...]:
    """The provenance that a file holds itself, by its first bytes or the end of its name; a log may hold several."""
    with path.open("rb") as file:
        start = file.read(4)
    try:
        if path.suffix == ".jsonl":
            from hcal_root_ad.watch.alarms import log_provenances

            return log_provenances(path)
        reader = _BY_START.get(start) or _BY_SUFFIX.get(path.suffix)
        return tuple(filter(None, [reader(path)])) if reader else ()
    except InputError:
        raise
    except Exception as error:  # a damaged file can break numpy, pyarrow and onnx in any way
        raise InputError(f"{path}: its provenance cannot be read ({error}); the file is damaged.") from error


def _in_root(path: Path) -> Provenance | None:
    from hcal_root_ad.harvest.inputs import open_root
    from hcal_root_ad.publish.publish import provenance_of_scalars

    with open_root(path) as file:
        runs = file["DQMData"].keys(recursive=False, cycle=False) if "DQMData" in file else []
        for run in runs:
            for folder in RUN_FOLDERS:
                where = f"DQMData/{run}/Hcal/Run summary/{folder}"
                if where in file:
                    return provenance_of_scalars(file[where].keys(recursive=False, cycle=False))
    return None


def _in_npz(path: Path) -> Provenance | None:
    with np.load(path, allow_pickle=False) as archive:
        text = str(archive["provenance"]) if "provenance" in archive.files else ""
    return provenance_of_text(text) if text else None


def _in_parquet(path: Path) -> Provenance | None:
    import pyarrow.parquet as pq

    text = (pq.read_schema(path).metadata or {}).get(b"provenance")
    return provenance_of_text(text.decode()) if text else None


def _in_onnx(path: Path) -> Provenance | None:
    from hcal_root_ad.export.onnx_file import require_onnx

    require_onnx()
    import onnx

    texts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return provenance_of_text(texts["provenance"]) if "provenance" in texts else None


def _in_json(path: Path) -> Provenance | None:
    table = json.loads(path.read_text(encoding="utf-8"))
    holds = isinstance(table, dict) and "provenance" in table and "outputs" not in table
    return provenance_of_table(table["provenance"]) if holds else None


class _Meta(HTMLParser):
    """Finds ``<meta name="provenance" content="…">``."""

    content = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "meta" and attributes.get("name") == "provenance":
            self.content = attributes.get("content") or ""


def _in_html(path: Path) -> Provenance | None:
    page = _Meta()
    page.feed(path.read_text(encoding="utf-8"))
    return provenance_of_text(page.content) if page.content else None


Reader = Callable[[Path], Provenance | None]
_BY_START: dict[bytes, Reader] = {b"root": _in_root, b"PK\x03\x04": _in_npz, b"PAR1": _in_parquet}
_BY_SUFFIX: dict[str, Reader] = {".onnx": _in_onnx, ".json": _in_json, ".html": _in_html}

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
    read = _READERS.get(path.suffix)
    try:
        return dict(read(path)) if read else {"content": path.read_bytes()}
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
    sentence = f"{int((earlier != other).sum())} of {earlier.size} values differ"
    if earlier.dtype.kind in "iuf":
        sentence += f", by up to {np.abs(earlier.astype(np.float64) - other.astype(np.float64)).max():.3g}"
    return sentence


def _root(path: Path) -> Iterator[tuple[str, object]]:
    """Objects as ROOT wrote them, uncompressed; trees basket by basket, because they hold places in the file."""
    from hcal_root_ad.harvest.inputs import open_root
    from hcal_root_ad.root_io.layout import read_layout

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
    yield from ((each.key, each.value) for each in model.metadata_props if each.key not in (*_ORIGIN, "hcal_root_ad"))


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, object]]]] = {
    ".root": _root, ".npz": _npz, ".json": _json, ".csv": _lines, ".parquet": _parquet, ".onnx": _onnx,
}  # fmt: skip
