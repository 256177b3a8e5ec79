"""Where a state begins: with what models say, or with several clean runs at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import ModelError
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import Reference
from hcal_root_ad.state.era import OUTER, first_state
from hcal_root_ad.state.unexplained import models_of_run
from studies.era.world import Era, Recipe
from tests.state.conftest import model_of_he


def test_what_is_between_two_runs_is_one_walk_and_two_noises() -> None:
    layer = first_state([model_of_he()]).subdetectors["HE"].layers["channel"]
    assert np.allclose(layer.walk + 2 * layer.noise, model_of_he().reference.widths.channel ** 2)


def test_inner_and_outer_he_walk_by_widths_of_their_own() -> None:
    part = first_state([model_of_he()]).subdetectors["HE"]
    outer = np.abs(part.channels.ieta) >= OUTER
    assert np.array_equal(part.layers["channel"].group, outer.astype(int))


def test_hf_counts_every_event_and_has_no_state() -> None:
    channels = channel_table().select("HF")
    nothing = np.zeros(len(channels))
    hf = Model("hf", "HF", Reference(channels, nothing, nothing, nothing, nothing, nothing == 0, (0, 0)))
    assert set(first_state([model_of_he(), hf]).subdetectors) == {"HE"}
    with pytest.raises(ModelError, match="needs a model of HB, HE or HO"):
        first_state([hf])


def test_the_conditions_of_the_clean_run_are_the_first_known_ones() -> None:
    state = first_state([model_of_he()], conditions=RunFacts(menu="A", luminosity=3.0, field=3.8))
    assert (state.menus, state.menu_runs, state.dose) == (("A",), (1,), 3.0)
    assert state.misfit(RunFacts(field=0.0))


def test_several_clean_runs_of_different_pileup_tell_the_powers() -> None:
    quiet = Recipe(
        runs=3,
        lumisections=(12, 13),
        events=1500,
        settings=(),
        gap_at=-1,
        box_steps=0,
        faults=False,
        pileup=(10.0, 20.0),
    )
    runs = [run.maps for run in Era("quiet", quiet).runs()]
    models = models_of_run(runs[0])
    one, three = first_state(models), first_state(models, runs)
    assert [lesson.run for lesson in three.lessons] == [maps.run for maps in runs]
    error = [np.median(state.reference("HE").power_error) for state in (one, three)]
    assert error[1] < error[0]
    assert three.subdetectors["HE"].clean == three.subdetectors["HB"].clean != one.subdetectors["HE"].clean
    low, high = three.subdetectors["HE"].pileup_range
    assert high - low > 0.7
    noise = [state.subdetectors["HE"].layers["box"].covariance[0, 0, 0] for state in (one, three)]
    assert noise[1] == pytest.approx(noise[0] / 3)


def test_a_model_of_another_sub_detector_is_left_as_it_is() -> None:
    state = first_state([model_of_he()])
    other = replace(model_of_he(), subdetector="HB")
    (same,) = state.informed([other])
    assert same is other
