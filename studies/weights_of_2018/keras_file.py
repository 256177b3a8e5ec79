"""Networks that Keras 2 wrote as HDF5, as PyTorch has them: the layers of the networks of 2018, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hcal_root_ad.errors import InputError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "softmax": lambda: nn.Softmax(dim=1),
}  # fmt: skip
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
Weights = Mapping[str, Tensor]
"""Name of a weight (kernel, bias, gamma, …) to its values, as Keras orders them."""


class FlattenedLast(nn.Module):
    """(images, channels, rows, columns) → (images, numbers), channels running fastest as Keras has them."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def read_network(path: Path) -> nn.Sequential:
    """The network of a file, with its weights, ready to be asked: (images, 1, rows, columns) → its answer.

    Raises:
        InputError: the file cannot be read, or has a layer that is not known here.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            layers = _layers(json.loads(file.attrs["model_config"]))
            stored = file["model_weights"]
            modules = [module for layer in layers for module in _modules(layer, _weights(stored, layer), path)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: expected a network of Keras 2 in HDF5, found {error}; give another file.") from error
    return nn.Sequential(*modules).eval()


def untrained(path: Path) -> nn.Sequential:
    """The same layers with weights drawn again."""
    network = read_network(path)
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_parameters()
    return network


def _layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    held = config["config"]
    layers: list[dict[str, Any]] = held["layers"] if isinstance(held, dict) else held
    return layers


def _weights(stored: Any, layer: dict[str, Any]) -> Weights:
    name = layer["config"]["name"]
    names = [text.decode() if isinstance(text, bytes) else text for text in stored[name].attrs["weight_names"]]
    return {
        text.rpartition("/")[2].partition(":")[0]: torch.from_numpy(np.asarray(stored[name][text])) for text in names
    }


def _modules(layer: dict[str, Any], weights: Weights, path: Path) -> list[nn.Module]:
    kind, config = layer["class_name"], layer["config"]
    match kind:
        case "InputLayer" | "Dropout":
            return []
        case "Conv2D":
            return [_convolution(config, weights), ACTIVATIONS[config["activation"]]()]
        case "Dense":
            return [_dense(weights), ACTIVATIONS[config["activation"]]()]
        case "BatchNormalization":
            return [_normalisation(config, weights)]
        case "Activation":
            return [ACTIVATIONS[config["activation"]]()]
        case "MaxPooling2D":
            return [nn.MaxPool2d(tuple(config["pool_size"]), tuple(config["strides"]))]
        case "UpSampling2D":
            return [nn.Upsample(scale_factor=tuple(map(float, config["size"])))]
        case "Flatten":
            return [FlattenedLast()]
    raise InputError(f"{path}: a layer of the kind {kind}, which the networks of 2018 do not have; give their files.")


def _convolution(config: dict[str, Any], weights: Weights) -> nn.Conv2d:
    rows, columns, inputs, outputs = weights["kernel"].shape
    padding = "same" if config["padding"] == "same" else 0
    layer = nn.Conv2d(inputs, outputs, (rows, columns), padding=padding)
    return _filled(layer, weights["kernel"].permute(3, 2, 0, 1), weights["bias"])


def _dense(weights: Weights) -> nn.Linear:
    inputs, outputs = weights["kernel"].shape
    return _filled(nn.Linear(inputs, outputs), weights["kernel"].T, weights["bias"])


def _filled(layer: Layer, kernel: Tensor, bias: Tensor) -> Layer:
    with torch.no_grad():
        layer.weight.copy_(kernel)
        if layer.bias is not None:
            layer.bias.copy_(bias)
    return layer


def _normalisation(config: dict[str, Any], weights: Weights) -> nn.Module:
    """Of maps; of vectors, the dense layer before it gives (images, numbers), which both take."""
    return Normalisation(config["epsilon"], weights)


class Normalisation(nn.Module):
    """Batch normalisation of maps and of vectors, by moving averages when it is asked."""

    def __init__(self, epsilon: float, weights: Weights) -> None:
        super().__init__()
        self.maps = nn.BatchNorm2d(len(weights["gamma"]), eps=epsilon, momentum=0.01)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        parts = (self.maps.weight, self.maps.bias, self.maps.running_mean, self.maps.running_var)
        with torch.no_grad():
            for name, part in zip(names, parts, strict=True):
                if part is not None:
                    part.copy_(weights[name])

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            return self.maps(x)  # type: ignore[no-any-return]
        return self.maps(x[..., None, None]).flatten(1)  # type: ignore[no-any-return]
