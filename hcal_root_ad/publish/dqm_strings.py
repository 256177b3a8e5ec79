"""Texts that stand for scalars, flags and quality results in a DQM file: how to write one, and what is wrong with one.

Each is a ``TObjString`` whose key name is the full text (CMSSW ``DQMServices/Core/src/LegacyIOHelper.cc``). The
newer GUI aborts the import of the whole file at a text that it cannot parse, so nothing else may be written; and both
GUIs read back unharmed what is in ASCII alone.
"""

from __future__ import annotations

import math
import re
import unicodedata

from hcal_root_ad.publish.elements import QualityResult, QualityStatus, Scalar

_SPELLED = str.maketrans({
    "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-", "·": ".", "×": "x", "±": "+-", "≈": "~", "√": "sqrt",
    "≤": "at most", "≥": "at least", "→": "to", "∞": "infinity", "°": " deg", "‘": "'", "’": "'", "“": '"', "”": '"',
})  # fmt: skip
"""What no rule of Unicode gives; comparisons and arrows in words, because angle brackets would end a text."""
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_GREEK = re.compile(r"GREEK (?P<case>SMALL|CAPITAL) LETTER (?:FINAL )?(?P<name>\w+)")


def in_ascii(text: str) -> str:
    """The text with Greek letters by name, accents dropped, signs spelled out, and ? for what is left."""
    raised = _RAISED.sub(lambda match: f"^{match[0]}", text)
    decomposed = unicodedata.normalize("NFKD", raised).translate(_SPELLED)
    letters = (_letter(character) for character in decomposed if not unicodedata.combining(character))
    return "".join(letters).encode("ascii", "replace").decode()


def _letter(character: str) -> str:
    match = _GREEK.match(unicodedata.name(character, ""))
    if match is None:
        return character
    return match["name"].lower() if match["case"] == "SMALL" else match["name"].capitalize()


_FORM = re.compile(r"<(?P<name>.*?)>(?P<kind>i|f|s|e|t|qr)=(?P<value>.*)</(?P<closing>.*?)>", re.DOTALL)
_QUALITY = re.compile(r"st:(?P<status>\d+):(?P<result>[^:]*):(?P<algorithm>[^:]*):(?P<message>.*)", re.DOTALL)


def plain(text: str) -> str:
    """The text in ASCII, angle brackets as round ones and on one line: what both GUIs read back unharmed."""
    return " ".join(in_ascii(text).translate(str.maketrans("<>", "()")).split())


def scalar_text(scalar: Scalar) -> str:
    """Text of a scalar, for example ``<reportSummary>f=0.98</reportSummary>``."""
    name = scalar.path.rpartition("/")[2]
    match scalar.value:
        case str(value):
            content = f"s={plain(value)}"
        case int(value):
            content = f"i={value}"
        case float(value):
            content = f"f={value:.17g}"
    return f"<{name}>{content}</{name}>"


def efficiency_text(path: str) -> str:
    """Text that keeps the GUIs from scaling a reference to the run's integral: ``<HE>e=1</HE>``."""
    name = path.rpartition("/")[2]
    return f"<{name}>e=1</{name}>"


def quality_text(result: QualityResult) -> str:
    """Text of a quality result: ``<name.qtest>qr=st:STATUS:RESULT:ALGORITHM:MESSAGE</name.qtest>``."""
    name = f"{result.path.rpartition('/')[2]}.{result.qtest}"
    message = plain(result.message).replace(";", ",")
    value = f"st:{int(result.status)}:{result.result:.17g}:{plain(result.algorithm)}:{message}"
    return f"<{name}>qr={value}</{name}>"


def complaint(text: str, names: set[str]) -> str | None:
    """What a GUI would stumble over in a text, or None; ``names`` are the histograms of the same folder."""
    form = _FORM.fullmatch(text)
    if form is None or form["name"] != form["closing"]:
        return "is not one of <name>i=, f=, s=, e=, t= or qr=…</name>"
    name, kind, value = form["name"], form["kind"], form["value"]
    if "<" in value or ">" in value:
        return "holds < or > in its value, where the newer GUI cuts it"
    if kind == "qr":
        return _quality_complaint(name, value, names)
    if "." in name:
        return "has a '.' in its name, which the GUIs take for the name of a quality test"
    if kind in ("e", "t") and name not in names:
        return f"marks the monitor element {name!r}, which is not in the same folder"
    return _value_complaint(kind, value)


def _value_complaint(kind: str, value: str) -> str | None:
    if kind == "i" and not re.fullmatch(r"[-+]?\d+", value):
        return f"should hold an integer, not {value!r}"
    if kind == "f" and not _finite(value):
        return f"should hold a finite number, not {value!r}"
    if kind == "e" and value != "1":
        return f"is an efficiency flag and should hold 1, not {value!r}"
    if kind == "t" and not value.isdecimal():
        return f"is a tag and should hold a number, not {value!r}"
    return None


def _quality_complaint(name: str, value: str, names: set[str]) -> str | None:
    element, dot, _ = name.partition(".")
    parts = _QUALITY.fullmatch(value)
    if parts is None or not dot:
        return "is not a quality result <name.test>qr=st:STATUS:RESULT:ALGORITHM:MESSAGE</name.test>"
    if int(parts["status"]) not in [*QualityStatus]:
        return f"has the unknown status {parts['status']}"
    if not _finite(parts["result"]):
        return f"has the result {parts['result']!r}, which is not a finite number"
    if element not in names:
        return f"judges the monitor element {element!r}, which is not in the same folder"
    if ";" in parts["message"]:
        return "holds a ';' in its message, which JSROOT takes for the number of a cycle"
    return None


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def scalar_of_text(text: str) -> tuple[str, int | float | str] | None:
    """Name and value of a scalar; None for a flag, a quality result, or another text."""
    form = _FORM.fullmatch(text)
    if form is None or form["kind"] not in ("i", "f", "s"):
        return None
    value = form["value"]
    return form["name"], {"i": int, "f": float, "s": str}[form["kind"]](value)
