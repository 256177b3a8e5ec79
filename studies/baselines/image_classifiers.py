"""Networks that say of a whole image what is wrong with it: those of the CMS–IBM studies.

Public code: HCALDQM/ML4DQM (``notebooks/Supervised``) for HCAL, Nabarun21/Anomaly-Detection-for-ECAL-DQM
(``CNN_v0.py``, ``model_v51.py``) for the ECAL barrel.
"""

from __future__ import annotations

from torch import nn

HCAL_IMAGE = (32, 72)
"""ieta × iphi of HB depth 1."""
ECAL_IMAGE = (170, 360)
"""Crystals of the ECAL barrel."""
CLASSES = 3
"""Good, hot, dead."""


def pooled() -> nn.Sequential:
    """The students' best: two poolings, and a narrow dense layer."""
    return nn.Sequential(
        nn.Conv2d(1, 10, 2), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(10),
        nn.Conv2d(10, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(8 * 6 * 16, 8), nn.ReLU(), nn.Linear(8, CLASSES),
    )  # fmt: skip


def strided() -> nn.Sequential:
    """Their second: normalise first, then two strided convolutions."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(8 * 7 * 17, CLASSES),
    )  # fmt: skip


def logistic() -> nn.Sequential:
    """Their first tries: logistic regression on the pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(HCAL_IMAGE[0] * HCAL_IMAGE[1], CLASSES))


def ecal_classifier() -> nn.Sequential:
    """The ECAL study's supervised CNN: good or bad."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.LeakyReLU(0.1), nn.MaxPool2d(5),
        nn.Conv2d(6, 4, 4, stride=2), nn.LeakyReLU(0.1), nn.Conv2d(4, 4, 4, stride=2), nn.LeakyReLU(0.1),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(4 * 7 * 16, 100), nn.LeakyReLU(0.1), nn.Dropout(0.25),
        nn.Linear(100, 2),
    )  # fmt: skip


def ecal_autoencoder() -> nn.Sequential:
    """The ECAL study's LeakyReLU autoencoder with linear output and a dense neck of 50 numbers."""
    return nn.Sequential(
        *_layer(1, 8, 5, 0.2), nn.MaxPool2d(5),
        *_layer(8, 8, 4, 0.2), nn.MaxPool2d(2),
        *_layer(8, 8, 2, 0.15), nn.MaxPool2d((2, 3), ceil_mode=True),
        nn.Flatten(), nn.Linear(8 * 9 * 12, 108), nn.LeakyReLU(0.2), nn.Dropout(0.2),
        nn.Linear(108, 50), nn.LeakyReLU(0.2), nn.Linear(50, 108), nn.LeakyReLU(0.2), nn.Unflatten(1, (1, 9, 12)),
        *_layer(1, 6, (2, 3), 0.1), nn.Upsample(scale_factor=(2, 3)),
        *_layer(6, 6, 2, 0.1), *_layer(6, 8, (2, 1), 0.15, padding="valid"), nn.Upsample(scale_factor=2),
        *_layer(8, 8, 4, 0.2), nn.Upsample(scale_factor=5),
        *_layer(8, 6, 5, 0.2), nn.Conv2d(6, 1, 5, padding=2, bias=False),
    )  # fmt: skip


def _layer(
    inputs: int, outputs: int, kernel: int | tuple[int, int], dropped: float, padding: str = "same"
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1), nn.Dropout(dropped)
