"""HTML pages: the template engine, pictures inside the page, and files that are whole or not there."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from hcal_root_ad.files import write_text
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.judge.wording import rests_on
from hcal_root_ad.style import png

_COLOURS = 96
"""Colours of a picture: enough for our maps, and a third of the bytes."""
_SIGNS = {State.NOT_CONNECTED: "–", State.NOT_ASSESSED: "○", State.GOOD: "✔", State.PROBLEMATIC: "▲", State.BAD: "✖"}
"""A shape for each state, because colours are not for everybody."""


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: address with the data, size in pixels, and what it shows, in words."""

    source: str
    width: int
    height: int
    words: str


def picture(figure: Figure, words: str) -> Picture:
    """The figure as PNG data; ``words`` is read out where it cannot be seen."""
    image = Image.open(BytesIO(png(figure))).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    data = b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/png;base64,{data}", image.width, image.height, words)


def render(template: str, **values: Any) -> str:
    """A template of this package with the values, which are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hcal_root_ad.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["signs"] = _SIGNS
    environment.filters["rests_on"] = rests_on
    environment.filters["number"] = "{:,}".format
    environment.filters["unbroken"] = lambda text: text.replace("–", "\u2060–\u2060")  # no line break within a range
    return environment


def write_page(html: str, path: Path) -> None:
    """Write a page, whole or not at all; its folder is made if it is not there.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, html)
