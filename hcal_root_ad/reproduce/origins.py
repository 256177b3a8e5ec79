"""The provenance of any output: inside it where its kind has room for it, else beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from hcal_root_ad.errors import InputError
from hcal_root_ad.provenance import (
    SUFFIX,
    Beside,
    Provenance,
    beside,
    provenance_of_table,
    provenance_of_text,
    read_beside,
)

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
    if sidecar := beside(path):
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
            return _in_log(path)
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
    import numpy as np

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


def _in_log(path: Path) -> tuple[Provenance, ...]:
    from hcal_root_ad.watch.alarms import log_provenances

    return log_provenances(path)


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
