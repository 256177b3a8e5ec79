"""A verdict as tables, histograms, HTML and pictures."""

from __future__ import annotations

from collections.abc import Iterator

import hist
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from hcal_root_ad.errors import UsageError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import State

HOT = "HB +4/33/2"


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Pictures on request are figures of pyplot, as notebooks want them; others of the same process do not."""
    yield
    plt.close("all")


def test_findings_are_a_table_with_all_names(verdict: RunVerdict) -> None:
    rows = verdict.to_arrow().to_pylist()
    box, hot = rows if rows[0]["unit"] == "HEP07" else rows[::-1]
    assert (box["run"], box["level"], box["rbx"], box["kind"], box["channels"]) == (370101, "RBX", "HEP07", "dead", 188)
    assert (box["ls_first"], box["ls_last"], box["ranges"], box["lumisections"]) == (5, 12, [[5, 12]], 7)
    assert (hot["unit"], hot["rbx"], hot["state"], hot["trust"]) == (HOT, "", State.BAD, "adapted model")


def test_intervals_and_channels_are_tables_with_the_readout_in_columns(verdict: RunVerdict) -> None:
    intervals = verdict.to_arrow("intervals")
    assert intervals.num_rows == 189
    (hot,) = (row for row in intervals.to_pylist() if row["kind"] == "hot")
    assert [hot[name] for name in ("subdetector", "ieta", "iphi", "depth", "rm", "ls_first")] == ["HB", 4, 33, 2, 3, 10]
    channels = verdict.to_awkward("channels")
    assert len(channels) == 9072 + 6768
    dead = channels[channels.state == int(State.BAD)]
    assert set(dead.rbx.tolist()) == {"HEP07", "HBP09"}
    box = dead[dead.rbx == "HEP07"]
    assert box.flagged.tolist() == [7 / 11] * 188
    np.testing.assert_array_equal(box.judged, 11)
    masked = channels[channels.state == int(State.NOT_CONNECTED)]
    assert (masked.ieta.tolist(), masked.iphi.tolist(), masked.depth.tolist()) == ([-20], [11], [3])
    with pytest.raises(UsageError, match="no table 'flags' of a verdict; there are findings, intervals, channels"):
        verdict.to_arrow("flags")


def test_tables_are_data_frames_where_pandas_is(verdict: RunVerdict) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = verdict.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.set_index("unit").loc["HEP07", "channels"] == 188


def test_without_pandas_a_sentence_says_what_to_do(verdict: RunVerdict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed; pip install pandas, or take to_arrow"):
        verdict.to_pandas()


def test_strips_have_findings_and_intervals_but_no_channels(strip_verdict: RunVerdict) -> None:
    assert strip_verdict.to_arrow().to_pylist()[0]["trust"] == "no reference"
    assert strip_verdict.to_arrow("intervals")["ieta"].to_pylist() == [None] * 4
    for ask in (lambda: strip_verdict.to_arrow("channels"), lambda: strip_verdict.to_hist("score")):
        with pytest.raises(UsageError, match="judged in strips"):
            ask()
    with pytest.raises(UsageError, match="no channel of HB or HE was judged"):
        strip_verdict.plot.states()
    assert "strips of HB and HE" in repr(strip_verdict)


def test_quantities_are_histograms(verdict: RunVerdict) -> None:
    states = verdict.to_hist("states", "ieta", "iphi")
    assert states[hist.loc(20), hist.loc(23)] == State.BAD
    assert states[hist.loc(20), hist.loc(1)] == State.GOOD
    digis = verdict.to_hist("observed")
    assert digis.sum() == sum(int(one.observed.sum()) for one in verdict.verdicts)
    score = verdict.to_hist("score", "ls", subdetector="HE")
    assert score[hist.loc(5)] == -40
    assert score[hist.loc(4)] == 0
    assert verdict.to_hist("expected", "iphi", subdetector="HB", ls=5).sum() > 0
    with pytest.raises(
        UsageError, match="no quantity 'rate' of a verdict; there are observed, expected, score, states"
    ):
        verdict.to_hist("rate")


def test_a_verdict_and_a_finding_say_what_they_are(verdict: RunVerdict) -> None:
    assert repr(verdict) == "<RunVerdict run 370101: 2 findings in LS 1–7, 9–13 of HB and HE, adapted model>"
    finding = next(one for one in verdict.findings if one.unit == "HEP07")
    assert repr(finding) == "<Finding HEP07: RBX, 188 channels, dead, LS 5–12, ×0, certain>"
    html = verdict._repr_html_()
    assert html.count("<rect") == 72
    assert "<title>HEP07: bad</title>" in html
    assert "<td>HB +4/33/2</td>" in html.replace(' style="border-left:.4em solid #c1121f"', "")
    assert "HEP07" in finding._repr_html_()


def test_pictures_come_on_axes_in_the_cms_style(verdict: RunVerdict) -> None:
    states, timeline = verdict.plot.states(), verdict.plot.timeline()
    assert (states.get_xlabel(), states.get_ylabel(), timeline.get_xlabel()) == ("ieta", "iphi", "lumisection")
    assert [text.get_text() for text in timeline.get_yticklabels()][:2] == ["HBM01", "HBM07"]
    assert any(text.get_text() == "CMS" for text in states.texts)
    (mesh,) = (one for one in timeline.collections if one.get_array() is not None)
    drawn = np.ma.filled(mesh.get_array().reshape(72, 13), 0)
    assert drawn[54 + 6].tolist() == [3, 3, 2, 3, 5, 5, 5, 2, 5, 5, 5, 5, 3]  # HEP07; LS 8 is not in the file


def test_a_channel_is_drawn_against_what_was_expected_on_given_axes(verdict: RunVerdict) -> None:
    given = Figure().subplots()
    axis = verdict.plot.channel(HOT, ax=given)
    assert axis is given
    (points,) = (line for line in axis.lines if line.get_label() == "observed")
    judged = verdict.verdicts[0].assessed
    column = next(one.rows[0] for one in verdict.findings if one.unit == HOT)
    expected = verdict.verdicts[0].observed[judged, column] / 1500
    np.testing.assert_allclose(points.get_ydata(), expected)
    assert (
        verdict.plot.channel("HE -16/1/4", ax=Figure().subplots()).get_legend().get_title().get_text() == "HE -16/1/4"
    )
    assert verdict.plot.channel("HEP07", ax=Figure().subplots()).get_ylabel() == "digis per event"
    with pytest.raises(UsageError, match="the nearest findings are HEP07"):
        verdict.plot.channel("HEP08")
    with pytest.raises(UsageError, match="no channel or finding 'HE \\+99/1/1'"):
        verdict.plot.channel("HE +99/1/1")
    with pytest.raises(UsageError, match="no depth 8"):
        verdict.plot.states(depth=8)
