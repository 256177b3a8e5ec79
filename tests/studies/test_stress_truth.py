"""What is right in a world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.unit_names import rows_of_unit
from studies.stress.failures import Bursts, Unit
from studies.stress.judged import Certified, certified
from studies.stress.truth import truth_of
from studies.stress.worlds import Origin, Setting, World, WorldRuns, simulate_world

GOOD, BAD = Certified.GOOD, Certified.BAD


def test_a_dead_box_is_at_fault_in_its_lumisections_and_allowed_beside_them(runs: WorldRuns) -> None:
    truth = truth_of(runs, load_policy())
    rows = runs.faults[0].rows
    assert truth.at_fault.any(axis=1).tolist() == [False, False, True, True, False, False]
    assert truth.at_fault[2].sum() == len(rows)
    assert truth.allowed.any(axis=1).tolist() == [False, True, True, True, True, False]


def test_a_lost_box_makes_lumisections_bad_and_their_edges_do_not_count(runs: WorldRuns) -> None:
    truth = truth_of(runs, load_policy())
    assert truth.certification == (GOOD, GOOD, BAD, BAD, GOOD, GOOD)
    assert truth.counted.tolist() == [True, False, False, False, False, True]


def judged_by(world: World) -> tuple[Certified, ...]:
    return truth_of(simulate_world(world, 0), load_policy()).certification


def test_small_losses_of_large_units_are_bad_and_of_small_ones_are_not() -> None:
    def loss(unit: str, strength: float) -> World:
        failures = (Unit(unit, strength),)
        return World("tiny", "", Setting(lumisections=2, failures=failures), Setting(lumisections=2))

    assert judged_by(loss("HEP", 0.9)) == (BAD, BAD)
    # One box of 36 is 2.8 % of HE: fewer than the 5 % that may be problematic, more than the 2 % that may be bad.
    assert judged_by(loss("HEP07", 0.9)) == (GOOD, GOOD)
    assert judged_by(loss("HEP07", 0.0)) == (BAD, BAD)
    assert judged_by(loss("HEP07-RM2", 0.0)) == (GOOD, GOOD)


def test_noise_is_bad_while_it_lasts() -> None:
    setting = Setting(lumisections=6, failures=(Bursts(2, 0.15),))
    runs = simulate_world(World("tiny", "", setting, setting), 0)
    box = next(fault for fault in runs.faults if fault.scale == "RBX")
    right = truth_of(runs, load_policy()).certification
    assert [right[ls - 1] for ls in (box.first, box.last)] == [BAD, BAD]
    assert right.count(BAD) == box.last - box.first + 1


def test_nothing_is_known_of_another_detector() -> None:
    setting = Setting(lumisections=2)
    assert judged_by(World("tiny", "", setting, setting, origin=Origin.EXCHANGED)) == (Certified.NOTSET,) * 2


def test_the_policy_counts_live_channels_only(runs: WorldRuns) -> None:
    channels = runs.judged.maps.channels
    box = np.zeros((1, len(channels)), dtype=np.bool_)
    rows = rows_of_unit(channels, "HBM01")
    box[0, rows[: len(rows) // 2]] = True
    # Half of a box of HB is 1.4 % of its channels; with only that half live, the box is lost.
    everything = np.ones(len(channels), dtype=np.bool_)
    half = everything.copy()
    half[rows[len(rows) // 2 :]] = False
    policy = replace(load_policy(), needed=("HB",))
    assert certified(channels, box, box, everything, policy) == (GOOD,)
    assert certified(channels, box, box, half, policy) == (BAD,)
