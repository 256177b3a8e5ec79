"""The network's roles: shapes that are hidden, history that is known before, causes with probabilities, absorption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hcal_root_ad.detector import Era
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.model import load_model
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import FIRST_RUN, simulate_run
from hcal_root_ad.stats.binomial import log_rate
from hcal_root_ad.unit_names import rows_of_unit
from studies.__main__ import main
from studies.network import absorption, cause, conditions, history, judged_cause, real_lumisections, shapes
from studies.network.table import write_results
from studies.stress.worlds import Setting

RINGS = shapes.rings_of(shapes.detector(500).channels)


def some_shapes(number: int = 40) -> shapes.Shapes:
    """A slope over |ieta| of random size, and nothing else: what one ring does the others tell."""
    draw = np.random.default_rng(1)
    slope = 0.2 * draw.standard_normal((number, 1)) * (RINGS.place[2] - 14) / 14
    return shapes.Shapes(slope, np.ones_like(slope), 0.02 * draw.standard_normal(number))


# --- the default judge


def test_no_network_has_a_say_by_default() -> None:
    from dataclasses import replace

    maps = absorption.with_fault(absorption.healthy_run(), np.arange(100), 0.8)
    models = [load_model(name) for name in absorption.MODELS]
    bare = [replace(model, architecture={}, weights={}) for model in models]
    one, other = judge_run(maps, models), judge_run(maps, bare)
    assert all(model.weights for model in models)
    for with_weights, without in zip(one.verdicts, other.verdicts, strict=True):
        assert np.array_equal(with_weights.expected[:], without.expected[:])
        assert np.array_equal(with_weights.states, without.states)
    assert one.findings == other.findings


@pytest.mark.slow
def test_the_default_judge_takes_up_at_most_a_tenth_of_a_unit_fault_that_it_names() -> None:
    maps, models = absorption.healthy_run(), [load_model(name) for name in absorption.MODELS]
    healthy = absorption.expected_digis(maps, models)
    for unit in absorption.UNITS:
        rows = rows_of_unit(maps.channels, unit)
        rows = rows[maps.counts[:, rows].sum(axis=0) > 0]
        for factor in (0.5, 0.7, 0.85):
            expected = absorption.expected_digis(absorption.with_fault(maps, rows, factor), models)
            share = absorption.taken_up(expected[:, rows], healthy[:, rows], factor)
            assert abs(share) <= absorption.LARGEST, f"{unit} ×{factor}: {share:.3f}"


def test_what_is_taken_up_is_a_share_of_the_fault_in_log_digis() -> None:
    healthy = np.full((2, 3), 100.0)
    assert absorption.taken_up(healthy, healthy, 0.5) == 0
    assert absorption.taken_up(0.5 * healthy, healthy, 0.5) == pytest.approx(1)
    assert absorption.taken_up(np.sqrt(0.5) * healthy, healthy, 0.5) == pytest.approx(0.5)


# --- condition shapes


def test_the_linear_prediction_never_looks_at_the_ring_that_it_predicts() -> None:
    linear = shapes.Linear.of(RINGS, some_shapes())
    shift = np.zeros((1, len(RINGS)))
    shift[0] = 0.05 * (RINGS.place[2] - 14) / 14
    variance = np.full_like(shift, 1e-5)
    healthy, _ = linear.prediction(shift, variance)
    assert np.abs(healthy - shapes.robust_relative(RINGS, shift, 1 / variance))[0].max() < 0.01
    shift[0, RINGS.place[2] == 20] += np.log(0.5)  # all rings of |ieta| 21
    faulty, _ = linear.prediction(shift, variance)
    assert np.abs(faulty - healthy)[0, RINGS.place[2] == 20].max() < 0.1 * np.log(2)


def test_a_network_never_looks_at_the_ring_that_it_predicts() -> None:
    torch.manual_seed(1)
    network = shapes.ShapeNetwork(RINGS).eval()
    shift = 0.01 * np.random.default_rng(2).standard_normal((3, len(RINGS)))
    variance = np.full_like(shift, 1e-5)
    one, _ = shapes.network_prediction(network, RINGS, shift, variance)
    other = shift.copy()
    other[:, 17] -= 0.001  # too little to move the median of its sub-detector
    two, _ = shapes.network_prediction(network, RINGS, other, variance)
    moved = np.abs(two - one).max(axis=0)
    assert moved[17] < 1e-6
    assert moved.max() > 0


def test_a_trained_network_knows_a_slope() -> None:
    network = shapes.train_shapes(RINGS, some_shapes(), seed=3, steps=150)
    shift = np.tile(0.2 * (RINGS.place[2] - 14) / 14, (4, 1))
    predicted, _ = shapes.network_prediction(network, RINGS, shift, np.full_like(shift, 1e-5))
    own = shapes.robust_relative(RINGS, shift, np.ones_like(shift))
    assert np.abs(own - predicted)[-1].mean() < 0.8 * np.abs(own)[-1].mean()


def test_the_shift_of_a_ring_is_that_of_its_channels() -> None:
    own = shapes.detector(500)
    rates = shapes.rates_at(own, np.array([43.0]))
    bright = (rates[0] > 0.01) & (rates[0] < 0.9)
    shift, said, apart = shapes.mean_shift(own, rates, -np.expm1(np.log1p(-rates) * np.exp(0.1)))
    assert np.abs(log_rate(rates[0, bright].astype(float))).max() > 0
    assert shift[said > 1e-3] == pytest.approx(0.1, abs=1e-3)
    assert apart == pytest.approx(0, abs=1e-3)


# --- history


def some_history(pulls: np.ndarray) -> history.History:
    runs = len(pulls)
    return history.History(pulls, np.zeros_like(pulls), np.zeros(runs), np.ones(runs), 0.5)


def test_inputs_are_known_before_the_run() -> None:
    pulls = np.random.default_rng(3).standard_normal((10, 4))
    changed = pulls.copy()
    changed[6] += 5
    one, two = history.inputs_of(some_history(pulls)), history.inputs_of(some_history(changed))
    assert np.array_equal(one[:7], two[:7])
    assert not np.array_equal(one[7], two[7])


def test_r_squared_is_one_for_the_truth_and_nothing_for_nothing() -> None:
    pulls = np.array([[1.0, np.nan], [2.0, -1.0]])
    assert history.r_squared(np.nan_to_num(pulls), pulls) == 1
    assert history.r_squared(np.zeros_like(pulls), pulls) == 0


def test_what_comes_back_is_foreseen_by_line_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EPOCHS", 25)
    draw = np.random.default_rng(4)
    pulls = np.zeros((24, 200))
    for run in range(1, 24):
        pulls[run] = 0.8 * pulls[run - 1] + 0.6 * draw.standard_normal(200)
    learned = [some_history(pulls[:, :150])]
    test = some_history(pulls[:, 150:])
    x = history.inputs_of(test)
    weights = history.linear_weights(learned)
    assert history.r_squared(x @ weights[:-1] + weights[-1], test.pulls) > 0.5
    network = history.learned_network(learned, learned, seed=1)
    with torch.no_grad():
        predicted = network(torch.from_numpy(x.transpose(1, 0, 2).astype(np.float32))).numpy().T
    assert history.r_squared(predicted, test.pulls) > 0.4


# --- cause


def a_case(kind: str, factor: np.ndarray, added: float = 0.0) -> cause.Case:
    draw = np.random.default_rng(5)
    p = np.tile(np.linspace(0.1, 0.8, 40), (cause.LUMISECTIONS, 1))
    inside = np.ones(cause.LUMISECTIONS, dtype=bool)
    q = -np.expm1(np.log1p(-p) * factor) if kind == "gain" else p * factor + added
    return cause.Case(draw.binomial(cause.EVENTS, q), p, inside, 2, cause.KINDS.index(kind))


CASES = {
    "dead": a_case("dead", np.array(0.0), cause.DARK_RATE),
    "gain": a_case("gain", np.array(0.7)),
    "link": a_case("link", np.array(0.7)),
    "noise": a_case("noise", np.array(1.0) * np.ones(1), 0.0),
    "clock": a_case("clock", np.where(np.arange(24) % 2, 1.0, 0.5)[:, None]),
}
CASES["noise"] = cause.Case(
    np.random.default_rng(6).binomial(
        cause.EVENTS,
        np.minimum(CASES["gain"].p + 0.05 * np.random.default_rng(7).exponential(1, (24, 1)), 1),
    ),
    CASES["gain"].p, CASES["gain"].inside, 2, cause.KINDS.index("noise"),
)  # fmt: skip


@pytest.mark.parametrize("kind", cause.KINDS)
def test_plain_causes_are_named_by_rule_and_by_likelihood(kind: str) -> None:
    case = CASES[kind]
    assert cause.KINDS[cause.by_rule(case)] == kind
    for priors in (cause.WIDE, cause.DRAWN):
        probability = cause.by_likelihood(case, priors)
        assert probability.sum() == pytest.approx(1)
        assert cause.KINDS[int(probability.argmax())] == kind


def test_causes_of_findings_are_asked_of_what_the_judge_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_cause, "SOME_WORLDS", ("base", judged_cause.ERA))
    monkeypatch.setattr(judged_cause, "FOLLOWED", 1)
    monkeypatch.setattr(judged_cause, "ASKED", 1)
    monkeypatch.setattr(judged_cause, "PER_RUN", {"channel": 4, "RM": 4})
    monkeypatch.setattr(judged_cause, "NETWORKS", (1,))
    monkeypatch.setattr(judged_cause, "cases_to_learn_from", lambda: cause.cases(100, 0))
    rows = judged_cause.named([5], lambda: None)
    assert [(row["world"], row["method"]) for row in rows] == [
        (world, method)
        for world in ("base", judged_cause.ERA, judged_cause.ALL)
        for method in ("rule", "likelihood", "network", "oracle")
    ]
    rule, likely, network, oracle = rows[-4:]
    assert 4 <= likely["cases"] <= 8
    assert likely["right_by_kind"]["dead"] == 1
    assert likely["right"] > 0.6
    (page,) = write_results({"judged-cause": rows}, tmp_path)
    shares = " | ".join(f"{row['right']:.3f}" for row in (rule, likely, network, oracle))
    assert f"| {judged_cause.ALL} | {likely['cases']} | {shares} |" in page.read_text()


def test_a_finding_is_a_fault_where_most_of_its_pairs_are() -> None:
    maps = absorption.with_fault(absorption.healthy_run(), np.arange(40), 0.0)
    verdict = judge_run(maps, [load_model(name) for name in absorption.MODELS])
    judged = next(one for one in verdict.verdicts if one.findings)
    finding, columns = judged.findings[0], maps.channels.rows_of(judged.subdetector)
    rows = columns[list(finding.rows)]
    own = judged_cause.Placed(rows, 0, len(maps) - 1, 0, 0)
    other = judged_cause.Placed(rows[: len(rows) // 2], 0, len(maps) - 1, 0, 0)
    assert judged_cause._fault_of(finding, columns, [other, own], judged.lumisections) is own
    assert judged_cause._fault_of(finding, columns, [other], judged.lumisections) is None


def test_calibration_is_perfect_where_confidence_is_the_share_that_is_right() -> None:
    confidence, right = np.full(64, 0.75), np.arange(64) % 4 > 0  # bins of eight
    assert cause.calibration_error(confidence, right) == pytest.approx(0, abs=1e-12)
    assert cause.calibration_error(np.ones(64), right) == pytest.approx(0.25)


def test_a_network_learns_causes() -> None:
    some = cause.cases(150, 0)
    network = cause.train_cause(some, seed=1, steps=80)
    test = cause.cases(50, 0)
    with torch.no_grad():
        odds = network(torch.from_numpy(np.stack([cause.features_of(case) for case in test])))
    assert (odds.argmax(dim=1).numpy() == [case.kind for case in test]).mean() > 0.5


def test_a_case_of_few_lumisections_is_followed_by_some_that_are_as_expected() -> None:
    whole = CASES["link"]
    short = cause.Case(whole.counts[:3], whole.p[:3], whole.inside[:3], whole.scale, whole.kind, np.full((3, 1), 1400))
    one, other = cause.features_of(short), cause.features_of(whole)
    assert one.shape == other.shape
    assert np.array_equal(one[:, :3], other[:, :3])
    assert (one[[0, 2, 4], 3:] == 0).all()
    assert not one[2 * cause.BINS, 3:].any()


# --- ten lumisections of a run


@pytest.fixture(scope="module")
def both_halves() -> list[real_lumisections.Half]:
    """Of ten simulated LS of the era of the real ones."""
    conditions = Setting(lumisections=10, pileup=(46.0, 44.0)).conditions(np.random.default_rng(8))
    run = simulate_run(simulate_detector(70, Era.RUN2_2017), conditions, seed=8, run=FIRST_RUN[Era.RUN2_2017])
    return real_lumisections.halves(run.maps)


def test_a_half_is_asked_by_what_the_other_half_has_taught(both_halves: list[real_lumisections.Half]) -> None:
    first, second = both_halves
    assert [list(half.maps.lumisections) for half in both_halves] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    for half, other in ((first, second), (second, first)):
        events = int(other.maps.events.sum())
        assert all(f"5 LS with {events} events" in model.story["learned from"] for model in half.models)
        assert np.array_equal(half.reference.channels.raw_id, half.maps.channels.raw_id)


def test_a_condition_is_put_into_the_counts_of_a_half(both_halves: list[real_lumisections.Half]) -> None:
    half = both_halves[0]
    as_recorded, counts = real_lumisections.in_world(half, "nothing")
    assert np.array_equal(counts, half.maps.counts)
    assert not as_recorded.truth.any()
    aged, _ = real_lumisections.in_world(half, "aged by 20 %")
    use = aged.information > 5
    moved = (aged.ring - as_recorded.ring).mean(axis=0)[use]
    assert np.corrcoef(moved, aged.truth[use])[0, 1] > 0.9


def test_a_ring_that_runs_away_counts_as_unknown(
    both_halves: list[real_lumisections.Half], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = both_halves[0]
    counts = half.maps.counts.copy()
    counts[:, half.maps.channels.rows_of("HE")] //= 2
    levels = CommonPartFit(half.reference).fit(counts, half.maps.events)
    monkeypatch.setattr(conditions, "RUN_AWAY", 1.0)
    away = np.abs(levels.ring) > 1
    assert 0 < away.mean() < 0.5
    nothing = np.zeros(levels.ring.shape[1])
    run = conditions.fitted(half.reference, counts, half.maps.events, (nothing, nothing, 0.0))
    assert np.array_equal(run.ring, np.where(away, 0, levels.ring))
    assert np.array_equal(run.variance == conditions.UNKNOWN, away)
    assert not run.smooth[away].any()


def test_roles_are_asked_of_real_lumisections(
    both_halves: list[real_lumisections.Half], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("REPLICAS", 1), ("UNITS", ("HEM05",)), ("HE_UNITS", ("HEM05",)), ("FACTORS", (0.5,)),
                        ("FEW", (20,)), ("FEW_WORLDS", ("nothing",))):  # fmt: skip
        monkeypatch.setattr(real_lumisections, name, value)
    monkeypatch.setattr(real_lumisections, "halves", lambda _: both_halves)
    monkeypatch.setattr(real_lumisections, "WORLDS", {"nothing": (), "menu of an era": (conditions.Menu(),)})
    monkeypatch.setattr(real_lumisections, "cases_to_learn_from", lambda: cause.cases(60, 0))
    monkeypatch.setattr(conditions, "learn_shapes", lambda families, era: shapes.learn_shapes(families, 8, era=era))
    monkeypatch.setattr(conditions, "train_shapes", lambda rings, some, seed: shapes.train_shapes(rings, some, seed, 2))
    rows = real_lumisections.asked(both_halves[0].maps, (1,), tmp_path, lambda: None)
    assert {row["role"] for row in rows} == {"shapes", "few", "absorbed", "default", "cause"}
    half = [row for row in rows if row.get("method") == "default judge" and row["factor"] == 0.5]
    assert max(abs(row["share"]) for row in half) < 0.1
    table, page = write_results({"real": rows, "default": rows_of_a_default()}, tmp_path)
    assert "| HEM05 × 0.5 |" in page.read_text()
    for line in ("condition shapes | real LS | rings", "few events | real LS | error", "cause | real LS | log loss"):
        assert f"| {line}" in table.read_text()


# --- the command


def test_an_unknown_role_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "-o", str(tmp_path), "--roles", "magic"]) == 2
    assert "no role is called magic" in capsys.readouterr().err


def rows_of_a_default() -> list[dict[str, Any]]:
    return [{"method": "default judge", "unit": "HEM05", "factor": 0.85, "share": 0.05}]


def test_tables_are_made_of_what_is_there(tmp_path: Path) -> None:
    paths = write_results({"default": rows_of_a_default()}, tmp_path)
    assert "HEM05" in paths[0].read_text()
