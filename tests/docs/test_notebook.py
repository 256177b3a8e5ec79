"""The notebook of the site, run by a kernel of its own: it goes from a file to a slide and to the good lumisections."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.md"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each cell gives: texts, HTML and pictures by kind."""
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    notebook = read_notebook()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    assert (folder / "timeline.pdf").read_bytes().startswith(b"%PDF")
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def read_notebook():
    """The page as a notebook, as the site reads it."""
    from myst_nb.core.read import read_myst_markdown_notebook
    from myst_parser.config.main import MdParserConfig

    return read_myst_markdown_notebook(NOTEBOOK.read_text(encoding="utf-8"), config=MdParserConfig())


def data(outputs: list[dict], kind: str) -> list[str]:
    return [one["data"][kind] for cell in outputs for one in cell if kind in one.get("data", {})]


def text(outputs: list[dict]) -> str:
    return "".join(one["text"] for cell in outputs for one in cell if one["output_type"] == "stream")


def test_maps_and_verdict_are_shown_as_html(outputs: list[dict]) -> None:
    maps, verdict = data(outputs, "text/html")
    assert "<td>60 (LS 1–60)</td>" in maps
    assert verdict.count("<rect") == 72
    assert "HEP07" in verdict


def test_pictures_are_drawn(outputs: list[dict]) -> None:
    assert len(data(outputs, "image/png")) == 3


def test_the_tables_say_what_is_lost_and_which_lumisections_are_good(outputs: list[dict]) -> None:
    lines = text(outputs).splitlines()
    assert "HEP07 dead 18 31 184" in lines
    assert [line.split() for line in lines[-3:]] == [
        ["403000", "1", "17", "17"], ["403000", "32", "35", "4"], ["403000", "38", "60", "23"],
    ]  # fmt: skip
