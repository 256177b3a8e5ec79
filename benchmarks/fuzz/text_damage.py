"""Damage to text inputs: to a value, to the table, or to the text, with what must come of it."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.fuzz.text_kinds import (
    FLAG,
    NAME,
    NUMBER,
    REAL,
    SHARE,
    TEXT,
    TextKind,
    as_brilcalc,
    as_csv,
    as_json,
    as_lines,
)

SAME, REFUSED, EITHER = "same", "refused", "either"
"""What must come of it: what the sound file says, one sentence, or one of the two or another sound table."""
Draw = np.random.Generator

_BAD_VALUES: dict[str, tuple[Any, ...]] = {
    NUMBER: (
        1.9,
        "²",
        "７",
        "x",
        "1_0",
        "0x1",
        "1e3",
        [1],
        {"a": 1},
        10**30,
        2**63,
        1e300,
        True,
        -7,
        "\x1b[31m",
        "9" * 400,
    ),
    SHARE: (1.5, -0.1, "x", True, [0.5], 10**30, {"a": 1}),
    REAL: ("x", "²", "1,5", "nan", "inf", "-Infinity", [1], "1_0", "0x1p3", "1e999", "\x1b[31m"),
    FLAG: (2, -1, "yes", "²", "nan", [1], 0.5),
    TEXT: (3, 1.5, True, ["a"], {"a": "b"}),
    NAME: (3, 1.5, True, None, "", " ", "a\0b"),
}


@dataclass(frozen=True)
class TextDamage:
    """Damaged content, what was done in words, and what must come of it."""

    content: bytes
    words: str
    expected: str


def damage(kind: TextKind, draw: Draw) -> TextDamage:
    """One damage, as drawn."""
    of = _OF_VALUES if draw.random() < 0.5 else _OF_TEXT
    return of[int(draw.integers(len(of)))](kind, draw)


def _places(table: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand, as keys and numbers of members."""
    if isinstance(table, dict | list):
        for key in table if isinstance(table, dict) else range(len(table)):
            yield from _places(table[key], (*place, key))
    else:
        yield place


def _parent(table: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        table = table[key]
    return table


def _drawn(kind: TextKind, draw: Draw) -> tuple[Any, tuple[Any, ...]]:
    table = copy.deepcopy(kind.table)
    places = list(_places(table))
    return table, places[int(draw.integers(len(places)))]


def _bad_value(kind: TextKind, draw: Draw) -> TextDamage:
    table, place = _drawn(kind, draw)
    name = place[-1] if isinstance(place[-1], str) else ""
    type_ = kind.types.get(name)
    if type_ is None:
        return _typo(kind, draw)
    values = _BAD_VALUES[type_]
    value = values[int(draw.integers(len(values)))]
    in_toml = kind.write not in (as_csv, as_brilcalc, as_json, as_lines)
    if in_toml and type_ == FLAG:
        value = 2  # in TOML, no number is a flag
    _parent(table, place)[place[-1]] = value
    sound = value == -7 and name in ("rank", "first_run")  # numbers that may be any
    return TextDamage(_written(kind, table), f"{type_} {value!r:.20}", EITHER if sound else REFUSED)


def _written(kind: TextKind, table: Any) -> bytes:
    try:
        return kind.write(table).encode()
    except (TypeError, ValueError, OverflowError, AttributeError):
        return b"\xff"


def _typo(kind: TextKind, draw: Draw) -> TextDamage:
    """A key with a letter more. Where keys are names that people choose, that is another sound table."""
    table, place = _drawn(kind, draw)
    parent, key = _parent(table, place), place[-1]
    if not isinstance(key, str) or kind.write in (as_csv, as_brilcalc, as_lines):
        return _bytes(kind, draw)
    parent[f"{key}s"] = parent.pop(key)
    return TextDamage(_written(kind, table), "typo", EITHER)


def _lost(kind: TextKind, draw: Draw) -> TextDamage:
    table, place = _drawn(kind, draw)
    parent = _parent(table, place)
    del parent[place[-1]]
    return TextDamage(_written(kind, table), "a value lost", EITHER)


def _nested(kind: TextKind, draw: Draw) -> TextDamage:
    table, place = _drawn(kind, draw)
    value: Any = _parent(table, place)[place[-1]]
    for _ in range(int(draw.choice([30, 300, 900]))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    _parent(table, place)[place[-1]] = value
    if kind.write in (as_csv, as_brilcalc, as_lines):
        return _bytes(kind, draw)
    try:
        return TextDamage(_written(kind, table), "deep", REFUSED)
    except RecursionError:
        return _bytes(kind, draw)


Damage = Callable[[TextKind, Draw], TextDamage]
_OF_VALUES: tuple[Damage, ...] = (
    _bad_value,
    _bad_value,
    _bad_value,
    _typo,
    _lost,
    _nested,
)


def _harmless(kind: TextKind, draw: Draw) -> TextDamage:
    """Marks, line ends and packing that are read."""
    text = kind.write(kind.table)
    way = int(draw.integers(4))
    content = (
        ("\ufeff" + text).encode(), text.replace("\n", "\r\n").encode(), gzip.compress(text.encode(), mtime=0),
        text.encode("utf-16"),
    )[way]  # fmt: skip
    return TextDamage(content, ("BOM", "CRLF", "gzip", "UTF-16")[way], SAME)


def _bytes(kind: TextKind, draw: Draw) -> TextDamage:
    """Some bytes become others, are lost, or are put in."""
    content = bytearray(kind.write(kind.table).encode())
    for _ in range(int(draw.integers(1, 4))):
        place = int(draw.integers(len(content)))
        way = int(draw.integers(4))
        if way == 0:
            content[place] = int(draw.integers(256))
        elif way == 1:
            del content[place : place + int(draw.integers(1, 20))]
        elif way == 2:
            content[place:place] = bytes(draw.integers(0, 256, int(draw.integers(1, 6)), dtype=np.uint8))
        else:
            content[place:place] = _SNIPPETS[int(draw.integers(len(_SNIPPETS)))]
        content = content or bytearray(b"\n")
    return TextDamage(bytes(content), "bytes", EITHER)


_SNIPPETS = (
    b"NaN", b"Infinity", b"1e999", b"9" * 5000, "²".encode(), b'"', b"'", b"\x00", b"\xff", b"\xed\xa0\x80",
    b"[" * 5000,
    b'{"a":' * 500, b"\r", b"\n#\n", b",", b";", b"\\ud800", b"=1+1", b"\x1b[2J", b"a.b.c.d = 1\n", b"." * 200,
    b"370101,1,", b'"370101": [[1, 2]],', b"[[x]]\n", b"1979-05-27", b"true", b"null",
)  # fmt: skip


def _cut(kind: TextKind, draw: Draw) -> TextDamage:
    content = kind.write(kind.table).encode()
    return TextDamage(content[: int(draw.integers(len(content)))], "cut", EITHER)


def _twice(kind: TextKind, draw: Draw) -> TextDamage:
    """A line, or some, twice."""
    lines = kind.write(kind.table).splitlines(keepends=True)
    first = int(draw.integers(len(lines)))
    last = first + int(draw.integers(1, 4))
    return TextDamage("".join([*lines[:last], *lines[first:]]).encode(), "lines twice", EITHER)


def _not_text(kind: TextKind, draw: Draw) -> TextDamage:
    """Bytes that are no UTF-8, a packed file that is damaged, or packed otherwise."""
    text = kind.write(kind.table).encode()
    packed = gzip.compress(text, mtime=0)
    place = int(draw.integers(1, len(text)))  # at the start, it would be the mark of UTF-16
    ways = (text[:place] + b"\xff\xfe" + text[place:], packed[: len(packed) // 2], b"PK\3\4" + text, b"BZh9" + text)
    way = int(draw.integers(len(ways)))
    return TextDamage(ways[way], ("no UTF-8", "gzip, cut", "zip", "bzip2")[way], REFUSED)


_OF_TEXT: tuple[Damage, ...] = (
    _harmless,
    _bytes,
    _bytes,
    _bytes,
    _cut,
    _twice,
    _not_text,
)
