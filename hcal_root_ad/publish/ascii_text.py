"""Texts in ASCII, the only characters that both DQM GUIs read back unharmed."""

from __future__ import annotations

import re
import unicodedata

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
