"""The exported statistics are those of numpy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.export import traceable
from hcal_root_ad.stats import binomial as plain

LOG_RATE = st.floats(-14, 7)
EVENTS = st.integers(1, 100_000)


@given(LOG_RATE)
def test_probability_and_its_inverse(eta: float) -> None:
    p = plain.probability(np.array([eta]))
    assert np.allclose(traceable.probability(torch.tensor([eta], dtype=torch.float64)), p, rtol=1e-9)
    assert np.allclose(traceable.log_rate(torch.from_numpy(p)), plain.log_rate(p), rtol=1e-9, atol=1e-9)


@given(LOG_RATE, EVENTS, st.floats(0, 1))
def test_pull_and_information(eta: float, events: int, share: float) -> None:
    p, n, trials = plain.probability(np.array([eta])), np.array([share * events]), np.array([float(events)])
    tensors = torch.from_numpy(n), torch.from_numpy(trials), torch.from_numpy(p)
    assert np.allclose(traceable.pull(*tensors), plain.pull(n, trials, p), rtol=1e-9, atol=1e-9)
    assert np.allclose(traceable.information(*tensors[1:]), plain.information(trials, p), rtol=1e-8)
