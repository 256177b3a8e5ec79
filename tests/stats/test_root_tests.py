"""χ² and Kolmogorov–Smirnov: numbers by hand, laws, and genuine ROOT on random histograms and on the edges."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import c_double, c_int
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hcal_root_ad.stats.root_tests import Chi2Result, KolmogorovResult, beyond_chance, chi2_test, kolmogorov_test

contents = arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 300))


def test_chi2_by_hand() -> None:
    # N = 30, M = 60: (60·10 − 30·30)²/40 + (60·20 − 30·30)²/50 = 2250 + 1800, over N·M = 1800.
    assert chi2_test([10, 20], [30, 30]).chi2 == pytest.approx(2.25)
    assert chi2_test([10, 20], [30, 30]).ndf == 1
    assert chi2_test([10, 20], [30, 30]).p == pytest.approx(0.13361440)


def test_bins_empty_in_both_take_a_degree_of_freedom() -> None:
    assert chi2_test([10, 0, 20, 0], [30, 0, 30, 0]) == chi2_test([10, 20], [30, 30])


def test_kolmogorov_by_hand() -> None:
    # Cumulative shares 1/3 against 1/2, and N·M/(N + M) = 20.
    found = kolmogorov_test([10, 20], [30, 30])
    assert found.distance == pytest.approx(1 / 6)
    assert found.p == pytest.approx(0.6354, abs=1e-3)


def test_the_distance_of_a_map_is_the_average_over_both_orders() -> None:
    # Shares n: 1/4 each. m: all in the first row. Row order: 1/4, 1/2, 1/4, 0; column order: 1/4, 0, 1/4, 0.
    found = kolmogorov_test([[25, 25], [25, 25]], [[50, 50], [0, 0]])
    assert found.distance == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_an_empty_histogram_is_told_as_root_tells_it() -> None:
    assert chi2_test([0, 0], [1, 2]) == Chi2Result(0.0, 0, 0.0)
    assert kolmogorov_test([3, 4], [0, 0]) == KolmogorovResult(0.0, 0.0)


def test_what_is_beyond_chance_is_the_rms_relative_difference() -> None:
    # Shares 1/2 ± 10 %, so χ² = N·M/(N + M)·0.01 for many counts.
    n, m = np.array([500_000, 500_000]), np.array([5_500_000, 4_500_000])
    assert beyond_chance(chi2_test(n, m), n.sum(), m.sum()) == pytest.approx(0.1, rel=0.01)
    assert beyond_chance(Chi2Result(3.0, 4, 0.5), 10, 10) == 0.0
    assert beyond_chance(Chi2Result(0.0, 0, 0.0), 0, 10) == 0.0
    for few in ((1, 2), (2, 1)):  # one digi is no empty histogram: √((3 − 1)·(1 + 1/2))
        assert beyond_chance(Chi2Result(3.0, 1, 0.1), *few) == pytest.approx(np.sqrt(3))


def test_other_bins_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="the same bins"):
        chi2_test([1, 2], [1, 2, 3])


@given(contents)
def test_a_histogram_agrees_with_itself(n: np.ndarray) -> None:
    assert chi2_test(n, n).chi2 == 0
    assert kolmogorov_test(n, 3 * n).distance == pytest.approx(0, abs=1e-12)


@given(contents, st.data())
def test_the_order_of_the_two_does_not_matter(n: np.ndarray, data: st.DataObject) -> None:
    m = data.draw(arrays(np.int64, n.shape, elements=st.integers(0, 300)))
    assert chi2_test(n, m).chi2 == pytest.approx(chi2_test(m, n).chi2)
    assert kolmogorov_test(n, m).distance == pytest.approx(kolmogorov_test(m, n).distance)


@pytest.fixture(scope="module")
def root() -> Iterator[Any]:
    module = pytest.importorskip("ROOT")
    before, module.gErrorIgnoreLevel = module.gErrorIgnoreLevel, module.kFatal
    added, _ = module.TH1.AddDirectoryStatus(), module.TH1.AddDirectory(False)
    yield module
    module.TH1.AddDirectory(added)
    module.gErrorIgnoreLevel = before


def histogram(root: Any, values: np.ndarray) -> Any:
    """A TH1D or TH2D of these contents, with something in the flow bins, which no test may look at."""
    axes = [number for size in values.shape for number in (size, 0.0, float(size))]
    made = (root.TH1D if values.ndim == 1 else root.TH2D)("", "", *axes)
    for place, value in np.ndenumerate(values):
        made.SetBinContent(*(int(i) + 1 for i in place), float(value))
    made.SetBinContent(0, 17.0)
    return made


def same_as_root(root: Any, n: np.ndarray, m: np.ndarray) -> None:
    first, second = histogram(root, n), histogram(root, m)
    chi2, ndf, good = c_double(), c_int(), c_int()
    p = first.Chi2TestX(second, chi2, ndf, good, "UU")
    ours = chi2_test(n, m)
    if n.sum() and m.sum():  # ROOT leaves χ² and ndf as they are where a histogram is empty
        assert (ours.chi2, ours.ndf) == (pytest.approx(chi2.value, rel=1e-9, abs=1e-9), ndf.value)
    assert ours.p == pytest.approx(p, rel=1e-6, abs=1e-12)
    kolmogorov = kolmogorov_test(n, m)
    assert kolmogorov.p == pytest.approx(first.KolmogorovTest(second), rel=1e-6, abs=1e-9)
    if n.sum() and m.sum():
        assert kolmogorov.distance == pytest.approx(first.KolmogorovTest(second, "M"), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("shape", [(1,), (2,), (40,), (1000,), (3, 5), (84, 72), (1, 9)])
@pytest.mark.parametrize("totals", [(1.0, 1.0), (0.3, 7.0), (200.0, 150.0), (5e5, 9e5)])
def test_genuine_root_agrees_on_random_histograms(
    root: Any, shape: tuple[int, ...], totals: tuple[float, float]
) -> None:
    draw = np.random.default_rng([*shape, *(int(10 * total) for total in totals)])
    intensity = draw.gamma(0.8, 1.0, shape)
    n, m = (draw.poisson(total * intensity) for total in totals)
    same_as_root(root, n, m)
    same_as_root(root, n, draw.poisson(totals[1] * intensity * draw.normal(1.0, 0.05, shape).clip(0)))


@pytest.mark.parametrize(
    ("n", "m"),
    [
        ([0, 0, 0], [1, 2, 3]),
        ([1, 2, 3], [0, 0, 0]),
        ([0, 0], [0, 0]),
        ([5], [9]),
        ([4, 0, 0], [0, 0, 7]),
        ([4, 0, 7, 0, 0], [0, 0, 9, 0, 3]),
        ([10**7, 10**7 + 5000], [10**6, 10**6]),
        ([0.4, 2.5, 0.9], [0.3, 0.2, 4.0]),
        ([[0, 0], [0, 5]], [[5, 0], [0, 0]]),
        ([[3, 0, 0], [0, 0, 8]], [[0, 0, 1], [0, 0, 8]]),
    ],
)
def test_genuine_root_agrees_on_the_edges(root: Any, n: list[Any], m: list[Any]) -> None:
    same_as_root(root, np.array(n, dtype=np.float64), np.array(m, dtype=np.float64))


@given(z=st.floats(0.0, 8.0))
def test_genuine_root_agrees_on_kolmogorovs_distribution(root: Any, z: float) -> None:
    # Two bins and large totals turn any z into a distance.
    total = 10**6
    moved = round(z * np.sqrt(2 * total))
    n, m = np.array([total, total]), np.array([total + moved, total - moved])
    found = kolmogorov_test(n, m)
    assert found.p == pytest.approx(histogram(root, n).KolmogorovTest(histogram(root, m)), rel=1e-6, abs=1e-9)
