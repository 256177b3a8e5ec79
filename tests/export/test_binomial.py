"""The exported statistics are those of occupancy and evidence."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad import evidence, occupancy, pooling
from hcal_root_ad.export import binomial

LOG_RATE = st.floats(-14, 7)
EVENTS = st.integers(1, 100_000)
ERROR = st.floats(0, 0.5)


@given(LOG_RATE)
def test_probability_and_its_inverse(eta: float) -> None:
    p = occupancy.probability(np.array([eta]))
    assert np.allclose(binomial.probability(torch.tensor([eta], dtype=torch.float64)), p, rtol=1e-9)
    assert np.allclose(binomial.log_rate(torch.from_numpy(p)), occupancy.log_rate(p), rtol=1e-9, atol=1e-9)


@given(LOG_RATE, EVENTS, st.floats(0, 1))
def test_pull_and_information(eta: float, events: int, share: float) -> None:
    p, n, trials = occupancy.probability(np.array([eta])), np.array([share * events]), np.array([float(events)])
    tensors = torch.from_numpy(n), torch.from_numpy(trials), torch.from_numpy(p)
    assert np.allclose(binomial.pull(*tensors), occupancy.pull(n, trials, p), rtol=1e-9, atol=1e-9)
    assert np.allclose(binomial.information(*tensors[1:]), occupancy.information(trials, p), rtol=1e-8)


@given(LOG_RATE, EVENTS, st.floats(0, 1), ERROR)
def test_log_likelihood_ratios(eta: float, events: int, share: float, error: float) -> None:
    counts = np.array([np.round(share * events)])
    wanted = evidence.log_likelihood_ratios(counts, np.array([events]), np.array([eta]), np.array([error]))
    tensors = (torch.tensor([[value]], dtype=torch.float64) for value in (counts[0], events, eta, error))
    found = binomial.log_likelihood_ratios(*tensors).numpy()
    assert np.allclose(found[:, 0], wanted[:, 0], rtol=1e-5, atol=1e-4)


@given(st.floats(-1000, 1000))
def test_tempered(ratio: float) -> None:
    found = binomial.tempered(torch.tensor([ratio], dtype=torch.float64))
    assert np.allclose(found, pooling.tempered(np.array([ratio])), rtol=1e-9, atol=1e-12)
