"""What was asked of ten real lumisections, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from studies.network.absorption import LARGEST
from studies.network.conditions import RUN_AWAY

Row = dict[str, Any]
Cell = Callable[[str, str], str]

HEAD = """\
# The network's roles on ten real lumisections

`python -m studies network --real FILES -o DIR`. Run 306138, LS 1 to 10, in two halves: the reference is learned from
five LS, as `transfer` does it, and the other five are asked. Conditions and faults are put into the real counts exactly
(digis removed by binomial thinning, or added in events without one); *nothing* is the LS as they were recorded. The
true rates are taken to be each channel's share of events over all ten LS, so what is called oracle here is
approximate. A ring that the fit of the common part puts at more than a factor of {away:.0f} counts as unknown: its
channels have a digi in nearly every event. Shape networks learned on simulated detectors of 2017, cause networks on
simulated cases; three of each. Nothing can be said of the next run: there is only one.
"""
FEW = """\
LS of few events are drawn from the events of each real LS, channel by channel (what the channels of one event share is
lost by that). The truth is what all events of the five LS give.
"""
CAUSES = """\
Single channels and RBXs at fault for three LS of five, put into the counts; {cases} findings of the judge that are one
of these faults. The answers of the rule are probabilities by how often they are right in simulated cases.
"""


def real_page(rows: Sequence[Row]) -> str:
    """All sections, of the rows of role ``real``."""
    head = HEAD.format(away=np.exp(RUN_AWAY))
    return "\n".join([head, *_shapes(rows), *_few(rows), *_absorbed(rows), *_causes(rows), *_default(rows)])


def _shapes(rows: Sequence[Row]) -> Iterator[str]:
    mine = [row for row in rows if row["role"] == "shapes"]
    worlds, methods = _names(mine, "world"), ("nothing", "smooth", "linear", "network", "oracle")

    def ring(world: str, method: str) -> str:
        some = [row["ring"] for row in mine if (row["world"], row["method"]) == (world, method)]
        return " / ".join(f"{100 * np.mean([one[k] for one in some]):.1f}" for k in (0, 2))

    def apart(world: str, method: str) -> str:
        some = [row["apart"] for row in mine if (row["world"], row["method"]) == (world, method)]
        return f"{100 * np.mean(some):+.1f}"

    yield from _grid("Rings that are healthy: width / largest deviation left, in %", worlds, methods, ring)
    yield from _grid("HE against HB, both healthy: deviation left, in %", worlds, methods[1:], apart)


def _few(rows: Sequence[Row]) -> Iterator[str]:
    mine = [row for row in rows if row["role"] == "few"]

    def error(name: str, method: str) -> str:
        some = [row["error"] for row in mine if (f"{row['events']} events", row["method"]) == (name, method)]
        return f"{100 * np.mean(some):.2f}"

    names = [f"{events} events" for events in dict.fromkeys(row["events"] for row in mine)]
    methods = ("medians", "smooth", "linear", "network")
    yield from _grid("One LS of few events: error of the rings, in %", names, methods, error, FEW)


def _absorbed(rows: Sequence[Row]) -> Iterator[str]:
    mine = [row for row in rows if row["role"] == "absorbed"]

    def share(unit: str, method: str) -> str:
        some = [row["share"] for row in mine if (row["unit"], row["method"]) == (unit, method)]
        return f"{max(some, key=abs):+.3f}" if some else "–"

    title = "Share of a fault that is taken for a condition, the largest of × 0.5 to × 0.95"
    yield from _grid(title, _names(mine, "unit"), _names(mine, "method"), share)


def _causes(rows: Sequence[Row]) -> Iterator[str]:
    mine = [row for row in rows if row["role"] == "cause"]
    figures = {"log loss": "log_loss", "named rightly": "right", "calibration error": "calibration"}
    kinds = mine[0]["right_by_kind"] | mine[0]["right_by_scale"]

    def value(name: str, method: str) -> str:
        some = [row for row in mine if row["method"] == method]
        numbers = [(row | row["right_by_kind"] | row["right_by_scale"])[figures.get(name, name)] for row in some]
        error = f" ± {np.std(numbers, ddof=1) / np.sqrt(len(numbers)):.3f}" if len(numbers) > 1 else ""
        return f"{np.mean(numbers):.3f}{error}"

    title, methods = "The cause of a finding; below, named rightly by kind and by unit", _names(mine, "method")
    yield from _grid(title, [*figures, *kinds], methods, value, CAUSES.format(cases=mine[0]["cases"]))


def _default(rows: Sequence[Row]) -> Iterator[str]:
    mine = [row for row in rows if row["role"] == "default"]

    def share(name: str, method: str) -> str:
        some = [row["share"] for row in mine if (_fault(row), row["method"]) == (name, method)]
        if not some:
            return "–"
        largest = max(some, key=abs)
        return f"{largest:+.3f}" + (" **more than a tenth**" if abs(largest) > LARGEST else "")

    title = "Share of a fault that is taken for health, the larger of both halves: default judge, and shipped network"
    yield from _grid(title, list(dict.fromkeys(map(_fault, mine))), _names(mine, "method"), share)


def _fault(row: Row) -> str:
    return f"{row['unit']} × {row['factor']:g}"


def _names(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _grid(title: str, names: Sequence[str], columns: Sequence[str], cell: Cell, words: str = "") -> list[str]:
    """A section with one row per name and one column per method."""
    lines = [f"## {title}\n", *([words] if words else [])]
    lines += ["| " + " | ".join(["", *columns]) + " |", "| " + " | ".join(["---"] * (len(columns) + 1)) + " |"]
    for name in names:
        cells = [name.replace("|", "\\|"), *(cell(name, column) for column in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]
