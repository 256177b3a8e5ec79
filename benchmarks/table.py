"""The table as a page, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hcal_root_ad.files import write_text

PAGE, NUMBERS = "table.md", "results.json"
_HEAD = """# How fast

Every figure was measured beside what it is compared with, in turns (A B A B …) in one session; the figure is the median
of the pairs, in brackets the least and the largest. The files were in the system's cache. Inputs are runs of the
simulator with {others} other TH2F in each LS. `make bench` makes this page again.

| row | what | asked | measured | met | behind it |
|---|---|---|---|---|---|
"""
_METHOD = """
## How

Each side runs in a process of its own, which has done the same once before (not for memory, the command and plain
uproot, where a fresh process is measured) and keeps to the processors named. Where both sides give counts, these
must be equal. Reading takes in whatever `read_lumi_maps` does: index, names, events per LS, checks of every map. The
ROOT loop and uproot give the counts alone. "Unpacking" fetches and decompresses the baskets that hold wanted entries,
with the same codecs, and nothing else; where they are is known beforehand. The production-shaped network has drawn
weights, gets its inputs ready-made, and nothing is made of its outputs; judging takes in everything from counts to
verdict. LZMA inputs are written at ROOT's lowest level of it. Memory is the largest resident memory of the process,
pages of files among it; what a long run keeps in temporary files and in the system's cache is not.
"""


def earlier_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of an earlier call, if there was one."""
    path = folder / NUMBERS
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def write(results: dict[str, Any], folder: Path) -> Path:
    """Write ``table.md`` and ``results.json``; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / NUMBERS, json.dumps(results, indent=1, ensure_ascii=False))
    write_text(folder / PAGE, page(results))
    return folder / PAGE


def page(results: dict[str, Any]) -> str:
    """The page as Markdown."""
    lines = [_line(row) for row in results["rows"]]
    notes = [f"- `{row['name']}`: {row['note']}." for row in results["rows"] if row["note"]]
    facts = [f"- {name}: {value}" for name, value in (results["machine"] | results["program"]).items() if value]
    remarks = ["## Notes", "", *notes, ""] if notes else []
    rows = _HEAD.format(others=results["others"]) + "\n".join(lines)
    return "\n".join([rows, _METHOD, *remarks, "## Where", "", *facts, f"- date: {results['date']}"])


def _line(row: dict[str, Any]) -> str:
    measured, least, most = (_number(row[name]) for name in ("measured", "least", "most"))
    value = f"**{measured}** {row['unit']} [{least}, {most}]"
    cells = (row["name"], row["what"], row["target"], value, "yes" if row["met"] else "no", row["behind"])
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
