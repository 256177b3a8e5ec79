"""R² of innovations: nothing where there is nothing, most where a source explains most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hcal_root_ad.conditions import RunFacts
from hcal_root_ad.errors import InputError
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.state.unexplained import Unexplained, r_squared, table_of, unexplained
from studies.era.world import Era, Recipe


def test_noise_is_explained_by_nothing() -> None:
    rng = np.random.default_rng(1)
    assert abs(r_squared(rng.standard_normal((40, 500)), rng.standard_normal((2, 40, 500)))) < 0.005


def test_half_of_the_variance_is_half_of_the_variance() -> None:
    rng = np.random.default_rng(2)
    source, noise = rng.standard_normal((2, 40, 500))
    assert r_squared(source + noise, source[None]) == pytest.approx(0.5, abs=0.02)


def test_what_was_not_measured_does_not_count() -> None:
    rng = np.random.default_rng(3)
    source = rng.standard_normal((40, 50))
    values = source.copy()
    values[:, ::2] = np.nan
    assert r_squared(values, source[None]) == pytest.approx(1, abs=0.01)


def test_the_table_has_a_dash_for_what_is_not_known() -> None:
    row = Unexplained(
        "HE", "box", 8, 288, 1.0, {"past": 0.01, "neighbours": 0.2, "menu": None, "dose": None, "all": 0.2}
    )
    head, line = table_of([row]).splitlines()
    assert head.split() == ["runs", "values", "scatter", "past", "neighbours", "menu", "dose", "all"]
    assert line.split() == ["HE", "box", "8", "288", "1.00", "0.0100", "0.2000", "–", "–", "0.2000"]


def runs(number: int) -> Iterator[LumiMaps]:
    quiet = Recipe(runs=number, lumisections=(12, 13), events=1500, settings=(), gap_at=-1, box_steps=0, faults=False)
    for run in Era("quiet", quiet).runs():
        yield run.maps


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(InputError, match="1 runs behind the first one"):
        unexplained(runs(2))


def test_rings_follow_the_menu_and_channels_follow_nothing() -> None:
    known: dict[int, RunFacts] = {}

    def as_they_come() -> Iterator[LumiMaps]:
        for k, maps in enumerate(runs(13)):
            known[maps.run] = RunFacts(menu="B" if k > 1 and (k // 4) % 2 else "A", luminosity=float(k))
            yield maps

    rows = {(row.subdetector, row.level): row for row in unexplained(as_they_come(), known)}
    assert set(rows) == {(name, level) for name in ("HB", "HE") for level in ("channel", "module", "box", "ring")}
    channel, ring = rows["HE", "channel"], rows["HE", "ring"]
    assert channel.values > 50_000
    assert all(value is not None and value < 0.1 for value in channel.by.values())
    assert (ring.by["neighbours"] or 0) > 0.3
    assert ring.by["menu"] is not None
