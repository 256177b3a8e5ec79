"""Published files as the DQM GUIs draw them, by genuine ROOT: single canvases, contact sheets, a reference overlaid.

The rules are those of the newer GUI's renderer and of its HCAL plugin (``dqmgui`` ``src/render.cc``,
``plugins/HcalRenderPlugin.cc``), written again: the style is reset to ROOT's default, stored minima and maxima are
lost, maps are drawn ``colz`` from the smallest to the largest content, paths that hold ``Summary`` in seven fixed
colours, and object bits 19 to 22 mean logarithmic axes and an axis of lumisections.

    python -m checks.gui_look FILE… -o FOLDER [--reference FILE]
"""

from __future__ import annotations

import argparse
import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hcal_root_ad.simulate.root_files import root

WIDTH, HEIGHT = 480, 360
"""Size (pixels) of a picture in the GUIs' lists of elements."""
_FRAME = (4, 28)
"""What a canvas of ROOT is larger than its picture (pixels)."""
LOG_X, LOG_Y, LOG_Z, LS_AXIS = (1 << bit for bit in (19, 20, 21, 22))
"""Object bits of hcaldqm (``DQM/HcalCommon``)."""
_TEXT = re.compile(r"<(?P<name>.*?)>(?P<kind>i|f|s|e|t|qr)=(?P<value>.*)</.*?>", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Element:
    """One monitor element: its path in the GUI, the histogram or text, and whether it is marked as an efficiency."""

    path: str
    item: Any
    efficiency: bool = False


def elements_of(path: Path) -> list[Element]:
    """Histograms and texts of a DQM file in the order of their paths; quality results are no pictures."""
    file = root().TFile.Open(str(path))
    if not file or file.IsZombie():
        raise SystemExit(f"{path}: expected a ROOT file, found none; name a published file.")
    try:
        return sorted(_walk(file.GetDirectory("DQMData"), ()), key=lambda element: element.path)
    finally:
        file.Close()


def _walk(folder: Any, above: tuple[str, ...]) -> Iterator[Element]:
    """Elements below ``DQMData``, with the paths that the GUIs show: no run, no ``Run summary``."""
    shown = "/".join((*above[1:2], *above[3:]))
    keys = list(folder.GetListOfKeys()) if folder else []
    marks = {match["name"] for key in keys if (match := _TEXT.fullmatch(key.GetName())) and match["kind"] == "e"}
    for key in keys:
        name, item = str(key.GetName()), key.ReadObj()
        if item.InheritsFrom("TDirectory"):
            yield from _walk(item, (*above, name))
        elif item.InheritsFrom("TH1"):
            item.SetDirectory(root().nullptr)
            yield Element(f"{shown}/{name}", item, name in marks)
        elif (match := _TEXT.fullmatch(name)) and match["kind"] in "ifs":
            yield Element(f"{shown}/{match['name']}", match["value"])


def picture(
    element: Element, target: Path, reference: Element | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Draw one element as a PNG file, a reference's over it where it is one-dimensional."""
    ROOT = root()
    _standard_style()
    canvas = ROOT.TCanvas("gui", "", *(pixels + frame for pixels, frame in zip(size, _FRAME, strict=True)))
    canvas.SetFillColor(ROOT.TColor.GetColor(255, 255, 255))
    canvas.SetBorderMode(0)
    kept = _text(element.item) if isinstance(element.item, str) else _histogram(element, reference, canvas)
    canvas.Update()
    level, ROOT.gErrorIgnoreLevel = ROOT.gErrorIgnoreLevel, ROOT.kWarning
    canvas.SaveAs(str(target))
    ROOT.gErrorIgnoreLevel = level
    canvas.Close()
    del kept
    return target


def _standard_style() -> None:
    style = root().gStyle
    style.Reset()
    for set_colour in (style.SetFillColor, style.SetCanvasColor, style.SetPadColor, style.SetTitleFillColor,
                       style.SetStatColor, style.SetFrameFillColor):  # fmt: skip
        set_colour(10)
    style.SetTitleBorderSize(0)
    style.SetStatBorderSize(1)
    style.SetNumberContours(100)
    style.SetLabelSize(0.04)
    root().gROOT.ForceStyle()


def _plugin_style() -> None:
    """The HCAL plugin's own, which takes the place of the renderer's."""
    style = root().gStyle
    style.Reset("Default")
    for set_colour in (style.SetCanvasColor, style.SetPadColor, style.SetFillColor, style.SetStatColor,
                       style.SetTitleFillColor):  # fmt: skip
        set_colour(10)
    style.SetOptTitle(True)
    style.SetTitleBorderSize(0)
    style.SetOptStat(False)
    style.SetStatBorderSize(1)
    root().gROOT.ForceStyle()
    root().TGaxis.SetMaxDigits(4)


def _text(text: str) -> Any:
    """A string: one line per newline, centred, 16 pixels, cut where the picture ends."""
    box = root().TPaveText(0.0, 0.0, 1.0, 1.0, "NB")
    for line in text.split("\n"):
        box.AddText(line)
    box.SetTextFont(63)
    box.SetTextAlign(22)
    box.SetTextSize(16)
    box.Draw()
    return box


def _histogram(element: Element, reference: Element | None, canvas: Any) -> list[Any]:
    histogram = element.item.Clone()
    histogram.SetDirectory(root().nullptr)
    histogram.UseCurrentStyle()
    histogram.SetMinimum()
    histogram.SetMaximum()
    option = _plugin(element.path, histogram, canvas) if "Hcal/" in element.path else ""
    other = reference.item.Clone() if reference and histogram.GetDimension() == 1 else None
    if other:
        other.SetDirectory(root().nullptr)
        histogram.SetLineWidth(2)
        if not element.efficiency and not _profile(other) and other.GetSumOfWeights() > 0:
            scale = histogram.GetSumOfWeights() / other.GetSumOfWeights()
            histogram.SetMaximum(1.05 * max(histogram.GetMaximum(), other.GetMaximum() * scale))
    for log, set_log in ((LOG_X, canvas.SetLogx), (LOG_Y, canvas.SetLogy), (LOG_Z, canvas.SetLogz)):
        if histogram.TestBit(log):
            set_log(1)
    root().gStyle.SetOptStat(1)
    histogram.Draw(option)
    return [histogram, _overlay(histogram, other, element.efficiency) if other else None, other]


def _plugin(path: str, histogram: Any, canvas: Any) -> str:
    """What the HCAL plugin sets before an object is drawn; returns the option to draw with."""
    canvas.cd()
    _plugin_style()
    if histogram.GetDimension() == 1:
        if _profile(histogram) or histogram.TestBit(LS_AXIS):
            _zoom(histogram, [histogram.GetBinContent(bin) for bin in range(1, histogram.GetNbinsX() + 1)])
            histogram.SetMarkerStyle(20)
        return ""
    histogram.SetStats(False)
    histogram.GetZaxis().SetRangeUser(histogram.GetMinimum(), histogram.GetMaximum())
    root().gStyle.SetPalette(1)
    if histogram.TestBit(LS_AXIS):
        _zoom(histogram, [histogram.GetBinContent(bin, 1) for bin in range(1, histogram.GetNbinsX() + 1)])
    if "Summary" not in path:
        return "colz"
    if "runSummary" not in path:
        canvas.SetGrid()
    root().gStyle.SetPalette(7, array("i", _state_colours()))
    histogram.SetContour(8, array("d", range(8)))
    return "col"


def _state_colours() -> list[int]:
    """Of the states 0 to 6, and black."""
    ROOT = root()
    names = (ROOT.kWhite, ROOT.kGray, ROOT.kWhite, ROOT.kGreen, ROOT.kYellow, ROOT.kRed, ROOT.kBlack)
    return [int(colour) for colour in names]


def _profile(histogram: Any) -> bool:
    return bool(histogram.InheritsFrom("TProfile"))


def _zoom(histogram: Any, contents: Sequence[float]) -> None:
    """Show the columns from the first to the one after the last that is not empty."""
    filled = [number for number, content in enumerate(contents, start=1) if content != 0]
    if filled:
        histogram.GetXaxis().SetRange(filled[0], filled[-1] + 1)


def _overlay(histogram: Any, other: Any, efficiency: bool) -> Any:
    """Draw the reference: scaled to the run's integral, but for efficiencies and profiles."""
    ROOT = root()
    colour = ROOT.kAzure
    other.SetLineColor(colour)
    if _profile(other):
        other.SetLineWidth(2)
        other.Draw("same hist")
        return None
    other.SetMarkerColor(colour)
    other.SetMarkerStyle(ROOT.kStar)
    other.SetMarkerSize(0.85)
    if efficiency or not other.GetSumOfWeights():
        other.Draw("same p")
        return None
    return other.DrawNormalized("same p", histogram.GetSumOfWeights())


def sheets(
    elements: Sequence[Element], folder: Path, stem: str, *, references: Sequence[Element] = (),
    columns: int = 4, rows: int = 6, scale: float = 0.75,
) -> list[Path]:  # fmt: skip
    """Contact sheets ``<stem>_<n>.png`` of elements, in their order; references are those of the same path."""
    reference_of = {element.path: element for element in references}
    folder.mkdir(parents=True, exist_ok=True)
    width, height = round(WIDTH * scale), round(HEIGHT * scale)
    written = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, first in enumerate(range(0, len(elements), columns * rows)):
            batch = elements[first : first + columns * rows]
            used = -(-len(batch) // columns)
            sheet = Image.new("RGB", (columns * width, used * height), "white")
            for place, element in enumerate(batch):
                file = picture(element, Path(scratch) / "one.png", reference_of.get(element.path))
                with Image.open(file) as drawn:
                    small = drawn.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
                sheet.paste(small, ((place % columns) * width, (place // columns) * height))
            path = folder / f"{stem}_{number}.png"
            sheet.quantize(128).save(path, optimize=True)
            written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.gui_look", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ROOT file made for the DQM GUI")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/gui_look"), metavar="FOLDER")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="file of a reference run to be drawn over it")
    parser.add_argument("--only", default="", metavar="TEXT", help="elements whose path holds this text")
    parser.add_argument("--singles", action="store_true", help="write every element as a picture of its own, too")
    chosen = parser.parse_args(arguments)
    references = elements_of(chosen.reference) if chosen.reference else []
    for path in chosen.files:
        elements = [element for element in elements_of(path) if chosen.only in element.path]
        for sheet in sheets(elements, chosen.output, path.stem, references=references):
            print(sheet)
        if chosen.singles:
            single = chosen.output / path.stem
            single.mkdir(parents=True, exist_ok=True)
            for element in elements:
                picture(element, single / f"{element.path.replace('/', '.')}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
