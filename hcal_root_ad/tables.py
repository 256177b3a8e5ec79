"""Text inputs: JSON, TOML, CSV and parquet files as plain tables and rows, with one sentence where they are wrong.

Every file that people hand in besides DQM files comes through here. Looked at before anything is believed: the size
(packed files are unpacked no further than that), the encoding (UTF-8, or UTF-16 with its mark), the depth of nesting,
keys that occur twice, and numbers that are none. What passes is plain: no NaN, no infinity, no integer beyond 64 bits.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import reprlib
import sys
import tomllib
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

from hcal_root_ad.errors import HcalRootAdError, InputError

LARGEST = 256 << 20
"""Bytes of a file, unpacked."""
LARGEST_TOML = 1 << 20
MOST_LINES = 2_000_000
"""Lines of a CSV file, or rows of a parquet file: as many as there are lumisections in some years of running."""
MOST_MEMORY = 640 << 20
"""Bytes that the values of a JSON file may take."""
DEEPEST = 24
"""Levels of tables and lists in each other."""
_LONGEST_LINE = 1 << 20
_MOST_DOTS = 100
"""Dots in a line of TOML; a key of many parts takes the square of their number."""
_BYTES_OF = {b"{": 240, b"[": 96, b",": 64, b":": 64}
"""What a value takes at most, by what its text cannot do without."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?", re.ASCII)
_PACKED = {b"PK\3\4": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7z"}
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

Row = Mapping[str, object]


class _Refusal(Exception):
    """Why a text cannot be used, in words that follow ``cannot be read: ``."""


def read_json(path: Path, what: str, error: type[HcalRootAdError] = InputError) -> Any:
    """What a JSON file holds, also packed with gzip; ``what`` names its kind in sentences.

    Raises:
        error: it is missing, too large, no JSON, nested too deeply, says a key twice, or holds what is no number.
    """
    with _opened(path, what, error) as stream:
        return parse_json(_content(stream, LARGEST))


def parse_json(content: bytes) -> Any:
    """What JSON text says; raises ValueError as :func:`read_json` says."""
    if sum(weight * content.count(mark) for mark, weight in _BYTES_OF.items()) + 4 * len(content) > MOST_MEMORY:
        raise ValueError("it holds more values than fit into memory; split it")
    try:
        table = json.loads(_decoded(content), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_plain(table)
    return table


def read_toml(path: Path, what: str, error: type[HcalRootAdError] = InputError) -> dict[str, Any]:
    """The table in a TOML file; raises ``error`` as :func:`read_json` does."""
    with _opened(path, what, error) as stream:
        text = _decoded(_content(stream, LARGEST_TOML))
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise _Refusal(f"a line has more than {_MOST_DOTS} dots")
        table = tomllib.loads(text.replace("\r\n", "\n"))
        _check_plain(table)
        return table


def read_lines(path: Path, what: str, error: type[HcalRootAdError] = InputError) -> list[str]:
    """The lines of a text file that are neither empty nor comments (``#``), without spaces around."""
    with _opened(path, what, error) as stream:
        lines = (line.strip() for line in _decoded(_content(stream, LARGEST)).splitlines())
        return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True)
class Rows:
    """Rows of a table, read as they are asked for: CSV has texts in its cells, JSON and parquet plain values."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


@contextmanager
def open_rows(
    path: Path, what: str, usable: Collection[str], error: type[HcalRootAdError] = InputError
) -> Iterator[Rows]:
    """Rows of a CSV file (also packed with gzip), of a parquet file, or of JSON.

    JSON comes as rows, as columns (lists, or by row number, which is pandas' way), or as an API gives it
    (``{"data": [{"attributes": {…}}]}``). In CSV, lines that begin with ``#`` are comments; where the column names
    stand in the last one before the data, they are taken from there. ``usable``: the names that the caller can use.

    Raises:
        error: as :func:`read_json`; also for rows of another length than the head, and quotes that are not closed.
    """
    with _opened(path, what, error) as stream:
        start = stream.peek(64)
        if start.startswith(_PARQUET):
            yield _parquet_rows(path, usable)
        elif start.decode(_encoding(start), "ignore").lstrip()[:1] in ("[", "{"):
            yield _json_rows(parse_json(_content(stream, LARGEST)))
        else:
            yield _csv_rows(stream, usable)


def whole(value: object) -> int:
    """A whole number out of a cell: ``7``, ``7.0`` or their texts; raises ValueError for anything else."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{shown(value)} is no whole number")


def real(value: object) -> float:
    """A finite number out of a cell, NaN where it is empty; raises ValueError for anything else, NaN included."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _EMPTY):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not str(value).isascii():
        raise ValueError(f"{shown(value)} is no number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or "_" in str(value):
        raise ValueError(f"{shown(value)} is no number")
    return number


_EMPTY = ("", "none", "null")
_TRUE, _FALSE = ("1", "1.0", "true"), ("0", "0.0", "false", *_EMPTY)


def flag(value: object) -> bool:
    """Whether a flag is set; an empty cell is not. Raises ValueError for what is neither."""
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError(f"{shown(value)} is neither 1 nor 0")
    return text in _TRUE


def shown(value: object) -> str:
    """A value for a sentence: short, and without a character that a terminal would act on."""
    return _SHORT.repr(value).encode("utf-8", "backslashreplace").decode()


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlist = _SHORT.maxdict = 4
_SHORT.maxlevel = 1


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows of CSV that spreadsheets take for what they are: no text is a formula, and every row is one line."""
    csv.writer(file, lineterminator="\n").writerows(map(_harmless, row) for row in rows)


def _harmless(cell: object) -> object:
    """The cell; a text that would be a formula gets an apostrophe before it, numbers stay numbers."""
    if not isinstance(cell, str):
        return cell
    line = " ".join(cell.splitlines()) if "\n" in cell or "\r" in cell else cell
    return f"'{line}" if line.lstrip()[:1] in _FORMULA and not _NUMBER.fullmatch(line) else line


_FORMULA = tuple("=+-@＝＋－＠")
"""The wide ones are taken for the others where people write with them."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@contextmanager
def _opened(path: Path, what: str, error: type[HcalRootAdError]) -> Iterator[io.BufferedReader[Any]]:
    """The bytes of a file, unpacked; what reading and parsing raise becomes one sentence."""
    try:
        if not path.is_file() and path.exists():
            raise _Refusal("it is a folder" if path.is_dir() else "it is a pipe or a device; save it as a file first")
        with path.open("rb") as file:
            start = file.peek(8)
            for mark, name in _PACKED.items():
                if start.startswith(mark):
                    raise _Refusal(f"it is packed as {name}; unpack it, or pack it with gzip")
            unpacked = gzip.GzipFile(fileobj=file) if start.startswith(_GZIP) else file
            with io.BufferedReader(_Limited(unpacked), 1 << 16) as stream:
                yield stream
    except FileNotFoundError:
        raise error(f"There is no file {path}; check the path.") from None
    except Exception as failure:
        if not isinstance(failure, _UNREADABLE) and not type(failure).__module__.startswith("pyarrow"):
            raise
        raise error(f"The {what} {path} cannot be read: {_reason(failure)}.") from failure


_UNREADABLE = (OSError, EOFError, ValueError, csv.Error, zlib.error, _Refusal, MemoryError, RecursionError)


def _reason(failure: BaseException) -> str:
    if isinstance(failure, RecursionError):
        return _TOO_DEEP
    if isinstance(failure, UnicodeDecodeError):
        return f"byte {failure.start} is no {failure.encoding.upper()} text"
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror.lower()
    words = " ".join(str(failure).split()).rstrip(".") or type(failure).__name__
    if "set_int_max_str_digits" in words:  # Python's own sentence is for programmers
        return "it says a number of thousands of digits"
    return words if len(words) < 160 else f"{words[:157]}…"


class _Limited(io.RawIOBase):
    """A stream that ends in a refusal once it has given too much."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._left = stream, LARGEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise _Refusal(f"it is longer than {LARGEST >> 20} MB; split it")
        buffer[: len(content)] = content
        return len(content)


def _content(stream: BinaryIO, most: int) -> bytes:
    content = stream.read(most + 1)
    if len(content) > most:
        raise _Refusal(f"it is longer than {most >> 20} MB; split it")
    return content


def _encoding(start: bytes) -> str:
    return "utf-16" if start.startswith(_UTF_16) else "utf-8-sig"


def _decoded(content: bytes) -> str:
    return content.decode(_encoding(content[:2]))


_TOO_DEEP = f"tables and lists stand in each other more than {DEEPEST} deep"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it says {shown(twice)} twice in one table")
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it says {name} where a number was expected")


def _check_plain(table: object) -> None:
    """Every value may be counted, compared and written as it is. Raises ValueError."""
    level: list[object] = [table]
    for _ in range(DEEPEST):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            else:
                _check_value(value)
        if not below:
            return
        level = below
    raise ValueError(_TOO_DEEP)


def _check_value(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it says {value} where a number was expected")
    if isinstance(value, int) and abs(value) > sys.maxsize:
        raise ValueError(f"it says {shown(value)}, which is larger than any number that is meant")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{shown(value)} is no text") from None


def _json_rows(table: Any) -> Rows:
    if isinstance(table, dict) and "data" in table:
        table = table["data"]
    if isinstance(table, dict):
        return _of_columns(table)
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise _Refusal("rows or columns of a table were expected")
    rows = [row["attributes"] if isinstance(row.get("attributes"), dict) else row for row in table]
    columns = tuple(rows[0]) if rows else ()
    for number, row in enumerate(rows, start=1):
        if row.keys() != rows[0].keys():
            (key, *_) = sorted(row.keys() ^ rows[0].keys())
            raise _Refusal(f"row {number} and row 1 do not both have {shown(key)}")
    return Rows(columns, iter(rows))


def _of_columns(table: dict[str, Any]) -> Rows:
    columns = {name: list(cells.values()) if isinstance(cells, dict) else cells for name, cells in table.items()}
    if not all(isinstance(cells, list) for cells in columns.values()):
        raise _Refusal("rows or columns of a table were expected")
    if len({len(cells) for cells in columns.values()}) > 1:
        raise _Refusal("its columns differ in length")
    if len({tuple(cells) for cells in table.values() if isinstance(cells, dict)}) > 1:
        raise _Refusal("its columns number their rows differently")
    names = tuple(columns)
    return Rows(names, (dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)))


def _csv_rows(stream: io.BufferedReader[Any], usable: Collection[str]) -> Rows:
    lines, comment = _lines(io.TextIOWrapper(stream, encoding=_encoding(stream.peek(2)), newline="")), ""
    first = next(lines, "")
    while first and (first.startswith("#") or not first.strip()):
        comment, first = first if first.startswith("#") else comment, next(lines, "")
    written = chain([first] if first else [], (line for line in lines if line.strip() and line[:1] != "#"))
    records = csv.reader(written, strict=True)
    head = [cell.strip() for cell in next(records, [])]
    named = [cell.strip() for cell in next(csv.reader([comment.lstrip("# ")]), [])]
    if not set(head) & set(usable) and set(named) & set(usable):
        head, records = named, chain([head], records)  # type: ignore[assignment]
    for name in head:
        if head.count(name) > 1:
            raise _Refusal(f"it has the column {shown(name)} twice")
    return Rows(tuple(head), _same_length(records, tuple(head)))


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: text.readline(_LONGEST_LINE), ""), start=1):
        if number > MOST_LINES:
            raise _Refusal(f"it has more than {MOST_LINES} lines; split it")
        if len(line) == _LONGEST_LINE:
            raise _Refusal(f"line {number} is longer than {_LONGEST_LINE} characters")
        yield line


def _same_length(records: Iterable[list[str]], head: tuple[str, ...]) -> Iterator[Row]:
    for number, cells in enumerate(records, start=1):
        if len(cells) != len(head):
            raise _Refusal(f"row {number} has {len(cells)} cells below a head of {len(head)}")
        yield dict(zip(head, cells, strict=True))


def _parquet_rows(path: Path, usable: Collection[str]) -> Rows:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    about = file.metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    if about.num_rows > MOST_LINES or sum(group.total_byte_size for group in groups) > LARGEST:
        raise _Refusal(f"it holds more than {MOST_LINES} rows or {LARGEST >> 20} MB; split it")
    columns = tuple(file.schema_arrow.names)
    chosen = [name for name in columns if name in usable]
    batches = file.iter_batches(batch_size=10_000, columns=chosen) if chosen else ()
    return Rows(columns, (row for batch in batches for row in batch.to_pylist()))
