import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from hcal_root_ad import style
from hcal_root_ad.detector import N_RBX, SUBDET_PM
from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.publish import run_plots

ALL = ["flagged_boxes", "states", "residuals", "trends", "strongest_findings"]


@pytest.fixture
def drawn(monkeypatch):
    """Arguments with which each figure is drawn, without drawing it."""
    calls = {}

    def record(name):
        def draw(*arguments, **_):
            calls[name] = arguments
            return Figure()

        return draw

    for module, names in (
        (run_plots, ("box_figure", "strip_figure", "trend_figure", "history_figure")),
        (style, ("state_maps", "value_maps")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, record(name))
    return calls


def test_pictures_are_written_whole_and_leave_no_pyplot_state_behind(verdict, tmp_path):
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    paths = run_plots.draw_plots(verdict, tmp_path / "plots")
    assert [path.name for path in paths] == [f"{name}.png" for name in ALL]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        assert np.ptp(imread(path)[..., :3]) == 1  # black on white at least
    assert plt.get_fignums() == figures
    assert dict(mpl.rcParams) == before


def test_strips_have_their_own_pictures(strip_verdict, tmp_path):
    paths = run_plots.draw_plots(strip_verdict, tmp_path)
    assert [path.stem for path in paths] == ["flagged_boxes", "strip_states", "trends", "strongest_findings"]


def test_a_quiet_run_is_drawn_too(small_run, tmp_path, drawn):
    quiet = replace(small_run.verdict("HB"), findings=(), intervals=())
    quiet = replace(quiet, states=np.minimum(quiet.states, 3))
    paths = run_plots.draw_plots(RunVerdict(small_run.maps(), (quiet,)), tmp_path)
    assert [path.stem for path in paths] == ["flagged_boxes", "states", "residuals", "trends"]
    assert drawn["box_figure"][2:] == ([], [])
    assert drawn["trend_figure"][3]["HB"]["dead"].max() == 0


def test_boxes_have_their_states_and_every_finding_is_listed_with_a_number(verdict, drawn, tmp_path):
    run_plots.draw_plots(verdict, tmp_path)
    run, states, marks, findings = drawn["box_figure"]
    assert run == 370101
    assert states["HEP"][:, 6].tolist() == [5 if ls in (5, 6, 7, 9, 10, 11, 12) else 2 if ls in (3, 8) else 3
                                            for ls in range(1, 14)]  # fmt: skip
    assert states["HBP"][9, 8] == 4, "one hot channel is yellow, not the colour of good"
    assert findings == ["HEP07 dead, LS 5–12", "HB +4/33/2 hot, LS 10–13"]
    assert [(mark.number, mark.half, mark.rbx, mark.rows, mark.first, mark.last) for mark in marks] == [
        (1, "HEP", 7, 1, 5, 12),
        (2, "HBP", 9, 1, 10, 13),
    ]


def test_a_finding_of_many_boxes_is_outlined_on_each_half(verdict, drawn, tmp_path):
    he = verdict.verdicts[1]
    everything = replace(he.findings[0], unit="HE", rows=tuple(range(len(he.channels))))
    run_plots.draw_plots(replace(verdict, verdicts=(replace(he, findings=(everything,)),)), tmp_path)
    assert [(mark.half, mark.rbx, mark.rows) for mark in drawn["box_figure"][2]] == [("HEM", 1, 18), ("HEP", 1, 18)]


@pytest.mark.parametrize(
    ("name", "label"),
    [("DQM_V0001_R000403000__SimulatedZeroBias__Run3-v1__DQMIO.root", "Simulation HCAL DQM"), ("a.root", "HCAL DQM")],
)
def test_a_simulated_run_is_said_to_be_one(name, label):
    figure = style.page(style.run_number(403000, [Source(name, 1, "")]), 5, 5)
    assert label in [text.get_text() for text in figure.axes[0].texts]


def test_residuals_are_pulls_of_the_run(verdict, drawn, tmp_path):
    run_plots.draw_plots(verdict, tmp_path)
    pulls = drawn["value_maps"][1]
    assert np.isfinite(pulls).sum() == 9072 + 6768 - 1
    healthy = np.abs(pulls) < 6
    assert pulls[healthy].std() == pytest.approx(1, abs=0.03)
    assert pulls[2, 20 + 41, 25 - 1] < -50


def test_trends_and_histories_hold_the_numbers(verdict, drawn, tmp_path):
    run_plots.draw_plots(verdict, tmp_path)
    _, events, assessed, flagged, errors, _ = drawn["trend_figure"]
    assert events[:4].tolist() == [1500, 1500, 20, 1500]
    assert np.flatnonzero(~assessed).tolist() == [2, 7]
    assert flagged["HE"]["dead"].max() == 188
    assert flagged["HB"]["hot"].sum() == 4
    assert set(errors) == {"HB", "HE"}
    _, histories = drawn["history_figure"]
    box = histories[0]
    assert box.title == "1  HEP07 dead, LS 5–12 (RBX, 188 channels, ×0)"
    assert histories[1].title.startswith("2  HB +4/33/2 hot, LS 10–13 (channel, ×")
    assert box.lumisections.tolist() == [1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13]
    assert box.observed[3:10].tolist() == [0] * 7
    he = verdict.verdicts[1]
    rows = (he.channels.rbx == 7) & (he.channels.ieta > 0)
    assert box.expected[0] == pytest.approx(he.expected[0, rows].sum() / 1500)


def test_a_long_run_with_every_kind_has_legible_panels(tmp_path):
    length, rng = 900, np.random.default_rng(1)
    states = {half: rng.integers(2, 6, (length, N_RBX)) for half in SUBDET_PM}
    marks = [run_plots.Mark(n + 1, "HBM", n + 1, 1, 100 * n + 1, 100 * n + 90) for n in range(8)]
    figure = run_plots.box_figure(1, states, marks, [f"HBM{n + 1:02d} dead" for n in range(8)])
    assert len(figure.axes) == 1 + 4  # label, panels
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:5] == ["not connected or masked", "not assessed", "good", "problematic", "bad"]
    assert texts[5:] == [f"{n}  HBM{n:02d} dead" for n in range(1, 9)]
    kinds = {kind: rng.poisson(2, length) for kind in run_plots.KINDS}
    trend = run_plots.trend_figure(1, rng.poisson(900, length), np.ones(length, bool), {"HB": kinds}, {}, "channels")
    assert [text.get_text() for text in trend.axes[2].get_legend().get_texts()] == list(run_plots.KINDS)
    style.save(figure, tmp_path / "a.png")
    style.save(trend, tmp_path / "b.png")


def test_a_folder_that_cannot_be_made_is_an_output_error(verdict, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="pictures cannot be written"):
        run_plots.draw_plots(verdict, tmp_path / "file" / "plots")


def test_writing_a_root_file_does_not_load_the_drawing_library():
    code = "import sys, hcal_root_ad.publish.publish; print('matplotlib' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
