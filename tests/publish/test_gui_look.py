"""What the GUIs' rules do to an element, seen in pixels of genuine ROOT's own drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ROOT")

from checks import gui_look
from checks.gui_look import HEIGHT, LOG_Z, LS_AXIS, WIDTH, Element, elements_of, picture, sheets
from hcal_root_ad.simulate.root_files import ours, root, root_file, write_at

WHITE, GRAY, GREEN, YELLOW, RED = (255, 255, 255), (204, 204, 204), (0, 255, 0), (255, 255, 0), (255, 0, 0)


def _map(contents: list[list[float]]):
    values = np.array(contents)
    columns, rows = values.shape
    histogram = ours(root().TH2F("map", "a map", columns, 0, columns, rows, 0, rows))
    for (x, y), value in np.ndenumerate(values):
        histogram.SetBinContent(x + 1, y + 1, value)
    return histogram


def _trend(contents: list[float], *, bits: int = 0, errors: list[float] | None = None):
    histogram = ours(root().TH1F("trend", "a trend", len(contents), 1, len(contents) + 1))
    if errors is not None:
        histogram.Sumw2()
    for number, value in enumerate(contents, start=1):
        histogram.SetBinContent(number, value)
        if errors is not None:
            histogram.SetBinError(number, errors[number - 1])
    histogram.SetBit(bits)
    return histogram


def _pixels(folder: Path, path: str, histogram, **options) -> np.ndarray:
    """(height, width, 3) of the picture."""
    file = picture(Element(path, histogram, options.pop("efficiency", False)), folder / "one.png", **options)
    return np.asarray(Image.open(file).convert("RGB"))


def _cell(pixels: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """Colour at a place in the frame, from (0, 0) below to (1, 1); the frame is a tenth inside of the picture."""
    height, width, _ = pixels.shape
    colour = pixels[round(height * (0.9 - 0.8 * y)), round(width * (0.1 + 0.8 * x))]
    return tuple(255 if value > 250 else 0 if value < 5 else int(value) for value in colour)


def test_a_picture_has_the_size_of_those_in_the_gui(tmp_path):
    assert _pixels(tmp_path, "Hcal/T/map", _map([[1.0]])).shape == (HEIGHT, WIDTH, 3)


def test_zero_of_a_signed_map_is_painted_red_where_losses_are_larger_than_gains(tmp_path):
    pixels = _pixels(tmp_path, "Hcal/T/map", _map([[0, 0], [-10, 1]]))
    assert _cell(pixels, 0.2, 0.2)[0] > 200
    assert _cell(pixels, 0.2, 0.2)[2] < 50


def test_zero_of_an_unsigned_map_is_white_and_its_largest_content_red(tmp_path):
    pixels = _pixels(tmp_path, "Hcal/T/map", _map([[0, 0], [3, 10]]))
    assert _cell(pixels, 0.2, 0.2) == WHITE
    assert _cell(pixels, 0.8, 0.8) == RED


def test_maps_of_states_have_the_colours_of_hcaldqm(tmp_path):
    pixels = _pixels(tmp_path, "Hcal/T/StateSummary/map", _map([[0], [1], [2], [3], [4], [5]]))
    colours = [_cell(pixels, (state + 0.4) / 6, 0.45) for state in range(6)]
    assert colours[0] == colours[2] == WHITE
    assert colours[3:] == [GREEN, YELLOW, RED]
    assert max(colours[1]) - min(colours[1]) == 0, "gray"
    assert 150 < colours[1][0] < 230, "gray"


def test_a_stored_range_is_lost(tmp_path):
    wide = _map([[0, 0], [3, 10]])
    wide.SetMaximum(1000)
    assert _cell(_pixels(tmp_path, "Hcal/T/map", wide), 0.8, 0.8) == RED


def test_a_run_summary_has_no_grid(tmp_path):
    one = _map([[3.0]])
    plain, gridded = (
        _pixels(tmp_path, f"Hcal/E/{name}", one)[60:300, 100:400].reshape(-1, 3) for name in ("runSummary", "Summary")
    )
    assert len(np.unique(plain, axis=0)) == 1
    assert len(np.unique(gridded, axis=0)) > 1


def test_the_bit_of_lumisections_zooms_to_what_is_filled(tmp_path):
    trend = _trend([0, 0, 0, 0, 0, 0, 0, 0, 5, 5], bits=LS_AXIS)
    drawn = picture(Element("Hcal/T/trend", trend), tmp_path / "one.png")
    assert drawn.exists()
    assert (trend.GetXaxis().GetFirst(), trend.GetXaxis().GetLast()) == (1, 10), "the element itself is untouched"
    ink = (_pixels(tmp_path, "Hcal/T/trend", trend) < 128).all(axis=2)[60:330]
    plain = (_pixels(tmp_path, "Hcal/T/trend", _trend([0] * 8 + [5, 5])) < 128).all(axis=2)[60:330]
    assert ink[:, 100:300].sum() != plain[:, 100:300].sum()


def test_the_bit_of_a_logarithmic_scale_lets_one_and_a_thousand_be_seen(tmp_path):
    linear, logarithmic = _map([[0, 1], [30, 1000]]), _map([[0, 1], [30, 1000]])
    logarithmic.SetBit(LOG_Z)
    colours = [_cell(_pixels(tmp_path, "Hcal/T/map", one), 0.8, 0.2) for one in (linear, logarithmic)]
    assert colours[0][2] > 200, "30 of 1000 is the lowest colour"
    assert colours[1][1] > 200
    assert _cell(_pixels(tmp_path, "Hcal/T/map", logarithmic), 0.2, 0.2) == WHITE


def test_the_bit_of_lumisections_on_a_map_goes_by_its_first_row(tmp_path):
    first_row_is_filled_late = _map([[0, 5], [0, 5], [0, 5], [2, 5]])
    first_row_is_filled_late.SetBit(LS_AXIS)
    pixels = _pixels(tmp_path, "Hcal/T/map", first_row_is_filled_late)
    assert _cell(pixels, 0.1, 0.2) != WHITE, "what came before is out of sight"


def test_a_lumisection_without_value_and_error_is_no_point_where_there_are_errors(tmp_path):
    errors = _trend([1, 1, 0, 1, 1], errors=[0.1, 0.1, 0, 0.1, 0.1], bits=LS_AXIS)
    line = _trend([1, 1, 0, 1, 1], bits=LS_AXIS)
    third = slice(int(WIDTH * 0.36), int(WIDTH * 0.51))
    rows = [
        (_pixels(tmp_path, "Hcal/T/trend", one) < 128).all(axis=2)[45:318, third].any(axis=1).sum()
        for one in (errors, line)
    ]
    assert rows[0] < 5, "the bars of its neighbours end here"
    assert rows[1] > 200, "the line falls to the axis"


def test_a_reference_is_scaled_to_the_run_unless_the_element_is_an_efficiency(tmp_path):
    run, clean = _trend([4.0, 4, 4, 0]), Element("Hcal/T/trend", _trend([1.0, 1, 1, 0]))

    def height(efficiency: bool) -> float:
        """Row of the reference's stars, from the picture's top."""
        pixels = _pixels(tmp_path, "Hcal/T/trend", run, efficiency=efficiency, reference=clean).astype(int)
        blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 120)
        return float(np.flatnonzero(blue[:, : WIDTH // 2].sum(axis=1) > 2).mean())

    assert height(efficiency=False) < HEIGHT * 0.25, "on the run's own line"
    assert height(efficiency=True) > HEIGHT * 0.5, "at its own value"


def test_a_long_string_is_cut(tmp_path):
    short, long = (_pixels(tmp_path, "Hcal/T/text", text) for text in ("0.98", "x" * 500))
    assert (short[:, :5] > 250).all()
    assert (long[:, :5] < 128).any()


def test_elements_of_a_file_have_the_paths_that_the_gui_shows(tmp_path):
    path = tmp_path / "DQM_V0001_R000403000__A__B-v1__DQMIO.root"
    with root_file(path) as file:
        folder = "DQMData/Run 403000/Hcal/Run summary/T"
        write_at(file, folder, _trend([1.0, 2.0]))
        directory = file.GetDirectory(folder)
        for text in ("<trend>e=1</trend>", "<share>f=0.5</share>", "<trend.test>qr=st:100:1:A:fine</trend.test>"):
            directory.WriteTObject(root().TObjString(text), text)
    found = elements_of(path)
    assert [(element.path, element.efficiency) for element in found] == [
        ("Hcal/T/share", False),
        ("Hcal/T/trend", True),
    ]
    assert found[0].item == "0.5"


def test_sheets_hold_every_element(tmp_path):
    elements = [Element(f"Hcal/T/{number}", _map([[1.0]])) for number in range(7)]
    written = sheets(elements, tmp_path, "run", columns=2, rows=3)
    assert [path.name for path in written] == ["run_0.png", "run_1.png"]
    assert Image.open(written[0]).size == (2 * 360, 3 * 270)
    assert Image.open(written[1]).size == (2 * 360, 270)


def test_from_the_command_line(published, tmp_path, capsys):
    assert gui_look.main([str(published), "-o", str(tmp_path), "--only", "depth1", "--singles"]) == 0
    assert (tmp_path / f"{published.stem}_0.png").exists()
    assert list((tmp_path / published.stem).glob("*depth1.png"))
    assert capsys.readouterr().out
