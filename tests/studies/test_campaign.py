"""The whole table: the oracle on top, results kept, and only what is missing made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hcal_root_ad.errors import UsageError
from studies.__main__ import main
from studies.evaluate import campaign
from studies.evaluate.figures import partial_auc_figure
from studies.evaluate.material import simulated
from studies.evaluate.registry import chosen, systems
from studies.evaluate.suite import SUITES
from studies.evaluate.summary import summary
from studies.evaluate.table import markdown

TINY = replace(SUITES["quick"], test_runs=1, factors=(0.0, 0.4), scales=("channel",))
NAMES = ["binomial template, 1 LS", "fixed thresholds"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[campaign.Row]:
    return campaign.evaluate(simulated(TINY), chosen(NAMES), folder)


def test_the_limits_come_first_and_nobody_passes_them(rows: list[campaign.Row]) -> None:
    entries = summary(rows, "HE")
    assert {entry.name for entry in entries[:2]} == {"oracle", "oracle (whole unit)"}
    assert not any(entry.is_system for entry in entries[:2])
    for entry in entries:
        assert entry.of_unit.mean <= 1.001
        assert entry.of_unit == entry.of_channel  # TINY has single channels only


def test_dead_channels_are_found_by_a_plain_template(rows: list[campaign.Row]) -> None:
    (row,) = (row for row in rows if row["system"] == NAMES[0])
    assert row["runs"][0]["conditions"]["R=0 channel persistent"]["partial_auc"] > 0.95


def test_the_table_names_every_system_and_condition(rows: list[campaign.Row]) -> None:
    text = markdown(rows, simulated(TINY), "`command`, today.")
    names = ("oracle", "oracle (whole unit)", *NAMES, "R=0.4 channel isolated", "noisy channel persistent", "R=0.4")
    assert all(f"| {name} |" in text for name in names)
    assert f"Best is *{NAMES[0]}*" in text
    assert len(partial_auc_figure(rows, simulated(TINY), "HE").axes) >= 1


def test_what_is_there_is_not_measured_again(
    rows: list[campaign.Row], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> campaign.Row:
        raise AssertionError("measured again")

    monkeypatch.setattr(campaign, "_measured", refuse)
    monkeypatch.setattr(campaign, "_limit", refuse)
    assert campaign.evaluate(simulated(TINY), chosen(NAMES), folder) == rows
    with pytest.raises(AssertionError, match="measured again"):
        campaign.evaluate(simulated(replace(TINY, seed=7)), chosen(NAMES), folder)


def test_results_of_the_full_suite_keep_their_names() -> None:
    """So that what took hours is taken over."""
    full = simulated(SUITES["full"])
    assert campaign._digest(full, "HE", "oracle", "") == "HE-oracle-649f13010a"


def test_names_of_systems() -> None:
    assert {"ours", *NAMES} <= set(systems())
    assert [system.name for system in chosen(["ours"])] == ["ours"]
    with pytest.raises(UsageError, match="did you mean 'fixed thresholds'"):
        chosen(["fixed treshold"])


def test_the_verb_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--suite", "huge", "-o", str(tmp_path / "out")]) == 2
    assert "no suite 'huge'; there are full, fair, fair-quick, short, quick and real." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_part_is_measured_where_it_was_published_alone(rows: list[campaign.Row], folder: Path) -> None:
    part = replace(systems()[NAMES[0]], only=("HB",))
    measured = campaign.evaluate(simulated(TINY), [part, systems()[NAMES[1]]], folder)
    assert [row["system"] for row in measured] == [row["system"] for row in rows if row["system"] != NAMES[0]]
    assert {name for name, system in systems().items() if system.only} == {
        "graphstad-rin", "graphstad-ae", "cnn-rnn-ae", "cnn-rnn-vae", "cnn-rnn-vae-rin", "cnn-fc-ae", "cnn-fc-vae",
    }  # fmt: skip
