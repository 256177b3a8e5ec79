"""Text inputs: what is read, and that everything else ends in one sentence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad import tables
from hcal_root_ad.errors import InputError, PolicyError
from hcal_root_ad.tables import (
    flag,
    open_rows,
    parse_json,
    read_json,
    read_lines,
    read_toml,
    real,
    shown,
    whole,
    write_rows,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc²", max_size=3), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_plain_json_is_read_as_it_is(table: object) -> None:
    assert parse_json(json.dumps(table).encode()) == table
    assert parse_json(json.dumps(table, ensure_ascii=False).encode("utf-8-sig")) == table


HOSTILE_JSON = {
    "deep lists": (b"[" * 100_000, "more than 24 deep"),
    "deep tables": (b'{"a":' * 500 + b"1" + b"}" * 500, "more than 24 deep"),
    "a little too deep": (b"[" * 25 + b"]" * 25, "more than 24 deep"),
    "huge integer": (b"[" + b"9" * 5000 + b"]", "cannot be read"),
    "large integer": (b"[" + b"9" * 30 + b"]", "larger than any number that is meant"),
    "NaN": (b'{"1": [[NaN, 2]]}', "says NaN where a number"),
    "Infinity": (b'{"1": -Infinity}', "says -Infinity where a number"),
    "infinite by size": (b"[1e999]", "says inf where a number"),
    "twice": (b'{"1": 1, "2": 1, "1": 2}', "says '1' twice in one table"),
    "twice below": (b'[{"a": 1, "a": 1}]', "says 'a' twice in one table"),
    "not UTF-8": (b'{"a": "\xff"}', "is no UTF-8 text"),
    "half a character": (b'["\\ud800"]', "is no text"),
    "unclosed quote": (b'{"a": "b', "cannot be read"),
    "cut": (b'{"a": [1, 2', "cannot be read"),
    "empty": (b"", "cannot be read"),
    "two values": (b"[1] [2]", "cannot be read"),
    "a character that looks like a digit": ("[²]".encode(), "cannot be read"),
    "gzip that is cut": (gzip.compress(b"[1]" * 99, mtime=0)[:20], "cannot be read"),
    "gzip that is damaged": (b"\x1f\x8b" + b"\x00" * 40, "cannot be read"),
    "zip": (b"PK\x03\x04" + b"\x00" * 40, "packed as zip; unpack it"),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_one_sentence(tmp_path: Path, name: str) -> None:
    content, words = HOSTILE_JSON[name]
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=words) as caught:
        read_json(path, "policy", PolicyError)
    sentence = str(caught.value)
    assert sentence.startswith(f"The policy {path} cannot be read: ")
    assert "\n" not in sentence
    assert len(sentence) < 400


HOSTILE_TOML = {
    "deep lists": ("a = " + "[" * 50_000, "more than 24 deep"),
    "deep tables": ("a = " + "{a=" * 400 + "1" + "}" * 400, "more than 24 deep"),
    "many dots": (".".join("a" * 40_000) + " = 1", "more than 100 dots"),
    "deep by dots": (".".join("a" * 60) + " = 1", "more than 24 deep"),
    "huge integer": ("a = " + "9" * 5000, "cannot be read"),
    "large integer": ("a = " + "9" * 30, "larger than any number"),
    "nan": ("a = nan", "says nan where a number"),
    "inf": ("a = [1.0, -inf]", "says -inf where a number"),
    "twice": ("a = 1\na = 2", "cannot be read"),
    "unclosed quote": ('a = "b', "cannot be read"),
    "superscript": ("a = ²", "cannot be read"),
    "too long": ("#" * (2 << 20), "longer than 1 MB"),
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_hostile_toml_is_one_sentence(tmp_path: Path, name: str) -> None:
    text, words = HOSTILE_TOML[name]
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_toml(tmp_path / "x.toml", "policy")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(InputError, match="byte 5 is no UTF-8 text"):
        read_toml(tmp_path / "x.toml", "policy")


def test_places_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, words in ((tmp_path / "nothing", "There is no file"), (tmp_path, "it is a folder"),
                         (tmp_path / "pipe", "pipe or a device"), (Path("/dev/zero"), "pipe or a device")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            read_json(place, "policy")


WRITTEN = 'run,ls,cause\n1,2,a\n3,4,"b, c"\n'
ROWS = [{"run": "1", "ls": "2", "cause": "a"}, {"run": "3", "ls": "4", "cause": "b, c"}]


def rows(path: Path, content: bytes | str) -> list[dict[str, object]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_rows(path, "export", ("run", "ls")) as table:
        return [dict(row) for row in table.rows]


@pytest.mark.parametrize(
    "content",
    [
        WRITTEN,
        WRITTEN.replace("\n", "\r\n"),
        "\ufeff" + WRITTEN,
        "\ufeff# made on Monday\r\n" + WRITTEN.replace("\n", "\r\n"),
        "# one\n# two, three, four, five\n\n" + WRITTEN.replace("1,2", "# between\n1,2"),
        "# words\n#run,ls,cause\n" + WRITTEN.partition("\n")[2] + "#Summary:\n#1,2\n",
        "\n\n" + WRITTEN + "\n\n",
        WRITTEN.replace("run,ls", " run , ls "),
        WRITTEN.encode("utf-16"),
        gzip.compress(WRITTEN.encode(), mtime=0),
        gzip.compress(WRITTEN[:9].encode(), mtime=0) + gzip.compress(WRITTEN[9:].encode(), mtime=0),
    ],
)  # fmt: skip
def test_forms_of_csv(tmp_path: Path, content: bytes | str) -> None:
    assert rows(tmp_path / "x.csv", content) == ROWS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (WRITTEN + "5,6\n", "row 3 has 2 cells below a head of 3"),
        (WRITTEN + "5,6,c,d\n", "row 3 has 4 cells below a head of 3"),
        (WRITTEN + '5,6,"c\n', "cannot be read"),
        (WRITTEN + '5,6,"c"d\n', "cannot be read"),
        ("run,ls,run\n1,2,3\n", "column 'run' twice"),
        (b"run,ls\n\xff,2\n", "is no UTF-8 text"),
        ("run,ls\n" + "1" * 200_000 + ",2\n", "cannot be read"),
        ("run,ls\n" + "1," * 800_000 + "2\n", "longer than"),
        (gzip.compress(b"run,ls\n" + b"1,2\n" * 999, mtime=0)[:-9], "cannot be read"),
        (b"PK\x03\x04rest", "packed as zip"),
        (b"\xfd7zXZ\x00rest", "packed as xz"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, content: bytes | str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rows(tmp_path / "x.csv", content)


def test_packed_files_are_unpacked_as_far_as_they_may_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGEST", 1 << 20)
    long = gzip.compress(b"run,ls\n" + b"1,2\n" * (1 << 19))
    assert len(long) < 1 << 14
    with pytest.raises(InputError, match="longer than 1 MB"):
        rows(tmp_path / "x.csv.gz", long)
    (tmp_path / "x.json").write_bytes(gzip.compress(b"[" + b" " * (2 << 20) + b"]"))
    with pytest.raises(InputError, match="longer than 1 MB"):
        read_json(tmp_path / "x.json", "export")


def test_too_many_lines_and_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_LINES", 10)
    monkeypatch.setattr(tables, "MOST_MEMORY", 1500)
    with pytest.raises(InputError, match="more than 10 lines"):
        rows(tmp_path / "x.csv", "run,ls\n" + "#\n" * 11)
    for text in ("[" * 20 + "]" * 20, "[" + "{}," * 20 + "{}]", "[" + "1," * 60 + "1]", '"' + "x" * 400 + '"'):
        with pytest.raises(ValueError, match="more values than fit into memory"):
            parse_json(text.encode())


@pytest.mark.parametrize(
    "table",
    [
        ROWS,
        {"data": ROWS},
        {"data": [{"type": "x", "attributes": row} for row in ROWS]},
        {name: [row[name] for row in ROWS] for name in ROWS[0]},
        {name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]},
    ],
)
def test_forms_of_json_rows(tmp_path: Path, table: object) -> None:
    assert rows(tmp_path / "x.json", json.dumps(table)) == ROWS


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([1, 2], "rows or columns"),
        ({"data": 3}, "rows or columns"),
        ({"a": 1}, "rows or columns"),
        ({"a": [1], "b": [1, 2]}, "differ in length"),
        ({"a": {"0": 1}, "b": {"1": 1}}, "number their rows differently"),
        ([{"run": 1}, {"run": 2, "ls": 1}], "row 2 and row 1 do not both have 'ls'"),
        ([{"run": 1, "ls": 1}, {"run": 2}], "row 2 and row 1 do not both have 'ls'"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, table: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rows(tmp_path / "x.json", json.dumps(table))


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"run": [1, 3], "ls": [2.0, 4.0], "other": ["a", "b"]}), path)
    with open_rows(path, "export", ("run", "ls")) as table:
        assert table.columns == ("run", "ls", "other")
        assert list(table.rows) == [{"run": 1, "ls": 2.0}, {"run": 3, "ls": 4.0}]
    monkeypatch.setattr(tables, "MOST_LINES", 1)
    with pytest.raises(InputError, match="more than 1 rows"), open_rows(path, "export", ("run",)) as table:
        list(table.rows)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"), open_rows(path, "export", ("run",)) as table:
        list(table.rows)


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeff# an era\r\n a.root \r\n\r\nb.root".encode())
    assert read_lines(tmp_path / "x.txt", "list") == ["a.root", "b.root"]
    (tmp_path / "x.txt").write_bytes(b"a\xff.root")
    with pytest.raises(InputError, match="is no UTF-8 text"):
        read_lines(tmp_path / "x.txt", "list")


@pytest.mark.parametrize(("value", "number"), [(7, 7), (7.0, 7), ("7", 7), (" 7.0 ", 7), ("7.", 7), ("-3", -3)])
def test_whole_numbers(value: object, number: int) -> None:
    assert whole(value) == number


@pytest.mark.parametrize(
    "value", [True, None, "", "²", "７", "1_000", "1e3", "1.9", 1.9, "0x1", "9" * 30, 1e300, float("nan"), "inf", [1]]
)
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="is no whole number"):
        whole(value)


def test_real_numbers_and_flags() -> None:
    assert [real(value) for value in ("1.5e1", 2, -0.5, " 3 ")] == [15.0, 2.0, -0.5, 3.0]
    assert all(real(value) != real(value) for value in ("", None, " null ", "None"))
    for value in ("nan", "inf", "1_0", "²", True, [1], "1,5", float("inf"), 10**400):
        with pytest.raises(ValueError, match="is no number"):
            real(value)
    assert [flag(value) for value in (1, True, "TRUE", "1.0", 0, 0.0, "", None, "false")] == [True] * 4 + [False] * 5
    for value in (2, "yes", "-1", "nan", [1]):
        with pytest.raises(ValueError, match="neither 1 nor 0"):
            flag(value)


@pytest.mark.parametrize("value", ["\x1b[31mred", "a\nb", "\x9b2J", "\ud800", "x" * 10**6, [[["y" * 999] * 99] * 99]])
def test_what_is_shown_is_short_and_harmless(value: object) -> None:
    assert shown(value).isprintable()
    assert len(shown(value)) < 500


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "=", "-", "−5=", "--1", "-HEP07", "＝1+1", "＠SUM(A1)"],
)
def test_a_text_is_no_formula(text: str) -> None:
    file = io.StringIO(newline="")
    write_rows(file, [("a", text)])
    ((_, cell),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert cell.lstrip()[0] not in "=+-@＝＋－＠"
    assert cell.lstrip("'") == text


@pytest.mark.parametrize("number", [-29, -0.5, "-29", "+3", "-1.5e-07", "-.5", 7, 0.25, True, "HE -25/33/4", "1-5", ""])
def test_numbers_and_names_stay_as_they_are(number: object) -> None:
    file = io.StringIO(newline="")
    write_rows(file, [(number, "x")])
    assert file.getvalue() == f"{number},x\n"


def test_a_row_is_one_line() -> None:
    file = io.StringIO(newline="")
    write_rows(file, [("a\nb", "c\r\nd"), ("e", "f, g")])
    assert file.getvalue() == 'a b,c d\ne,"f, g"\n'
