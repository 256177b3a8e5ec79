"""``Bundle``: all that judging one sub-detector needs, as a folder of readable and safe files.

``bundle.toml`` (what it is, and how often health reaches which evidence), ``weights.safetensors`` (the network),
``calibration.safetensors`` (reference and errors per channel), ``README.md`` (the card) and
``metrics.json``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hcal_root_ad import content
from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.errors import BundleError, OutputError
from hcal_root_ad.files import replace_folder
from hcal_root_ad.learn.reference import Reference
from hcal_root_ad.learn.tail import Slant, Tail, Tails, Thresholds
from hcal_root_ad.networks.folded import FoldedGraphSTAD
from hcal_root_ad.networks.graphstad import GraphSTAD, GraphSTADConfig
from hcal_root_ad.pooling import Pools

FORMAT = 3
WEIGHTS, CALIBRATION, HEAD = "weights.safetensors", "calibration.safetensors", "bundle.toml"
_ARRAYS = ("raw_id", "level", "level_error", "power", "power_error", "live", "model_error")
"""Of the calibration."""
_TAILS: dict[str, Any] = {"channel": Tail, "unit": Tail, "slant": Slant}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A network, the reference it works on, and its calibration, for the channels of one sub-detector.

    Attributes:
        model_error: (channels,) standard error of the reconstructed log λ, from clean LS not learned from.
        tails: how often health reaches which evidence.
        false_alarms: the wished rate by default, per 100 LS.
        ring_normalisation: whether RIN is on (see :func:`hcal_root_ad.learn.normalise.ring_shift`).
        story: what it was trained on, from what it was transferred; free text by key.
        metrics: measured numbers by name.
        digest: SHA-256 over the files and what ``bundle.toml`` sets, given on loading and saving.
    """

    name: str
    subdetector: str
    channels: ChannelTable
    network: GraphSTAD
    reference: Reference
    model_error: NDArray[np.floating]
    tails: Tails
    definition: str = "Occupancy"
    false_alarms: float = 0.5
    ring_normalisation: bool = False
    version: str = "1"
    story: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""

    @cached_property
    def folded(self) -> FoldedGraphSTAD:
        """The network as it judges."""
        return FoldedGraphSTAD(self.network)

    @cached_property
    def pools(self) -> Pools:
        """Who shares evidence with whom."""
        return Pools(self.channels, self.reference.live)

    def thresholds(self, false_alarms: float | None = None) -> Thresholds:
        """Thresholds for a wished rate of false alarms per 100 LS (the bundle's own if not given).

        Raises:
            UsageError: if so many are wished that the tail says nothing about them.
        """
        return self.tails.thresholds(self.false_alarms if false_alarms is None else false_alarms)

    def save(self, folder: Path) -> Bundle:
        """Write the bundle; an older one of the same place is replaced when all is written.

        Raises:
            OutputError: it cannot be written.
        """
        partial = folder.with_name(f".{folder.name}.partial")
        try:
            head = self._write(folder.name, partial)
            replace_folder(folder, partial)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise OutputError(f"{folder}: cannot be written ({error}); choose another place.") from error
        return replace(self, name=folder.name, digest=_bundle_digest(head))

    def _write(self, name: str, partial: Path) -> dict[str, Any]:
        """Write all files into a new folder; returns the head."""
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        partial.mkdir(parents=True)
        save_file({k: v.detach().cpu().numpy() for k, v in self.network.state_dict().items()}, partial / WEIGHTS)
        save_file(self._calibration(), partial / CALIBRATION)
        digests = {file: _sha256(partial / file) for file in (WEIGHTS, CALIBRATION)}
        head = self._head(name) | {"sha256": digests}
        (partial / HEAD).write_text(tomli_w.dumps(head))
        (partial / "README.md").write_text(self._card(name))
        (partial / "metrics.json").write_text(json.dumps(dict(self.metrics), indent=1, sort_keys=True) + "\n")
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors writes for the owner only
        return head

    def _calibration(self) -> dict[str, NDArray[Any]]:
        reference = self.reference
        return {
            "raw_id": self.channels.raw_id,
            "level": reference.level.astype(np.float32),
            "level_error": reference.level_error.astype(np.float32),
            "power": reference.power.astype(np.float32),
            "power_error": reference.power_error.astype(np.float32),
            "live": reference.live.astype(np.uint8),
            "model_error": self.model_error.astype(np.float32),
        }

    def _head(self, name: str) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": name,
            "version": self.version,
            "subdetector": self.subdetector,
            "era": self.channels.era.value,
            "definition": self.definition,
            "false_alarms": self.false_alarms,
            "ring_normalisation": self.ring_normalisation,
            "activity": list(self.reference.activity),
            "tails": asdict(self.tails),
            "network": {"kind": "GraphSTAD"} | asdict(self.network.config),
            "story": dict(self.story),
        }

    def _card(self, name: str) -> str:
        lines = [f"# {name}", "", f"GraphSTAD for {self.subdetector}, detector of {self.channels.era.value}.", ""]
        lines += [f"- **{key}**: {text}" for key, text in self.story.items()]
        lines += ["", "| measured | |", "|---|---|"]
        lines += [f"| {key} | {value:.4g} |" for key, value in self.metrics.items()]
        lines += ["", f"Channels live: {int(self.reference.live.sum())} of {len(self.channels)}. "
                  f"Threshold for {self.false_alarms:g} false alarms per 100 LS: log10 likelihood ratio "
                  f"{self.thresholds().channel / np.log(10):.2f}."]  # fmt: skip
        lines += ["", "Retrain on real runs with `hcal-root-ad train RUNS… --subdetector HE -o BUNDLE`,",
                  "or adapt this one to another detector state with",
                  "`hcal-root-ad transfer --from BUNDLE --runs CLEAN… -o NEW`.", ""]  # fmt: skip
        return "\n".join(lines)


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundle by folder, or by name from the search path.

    Raises:
        BundleError: if it is missing, incomplete, of another format, or does not match its digests.
    """
    folder = Path(name) if Path(name).is_dir() else content.find("models", str(name))
    if folder is None:
        known = ", ".join(bundle_names()) or "none"
        raise BundleError(f"no bundle {str(name)!r}: expected a folder or one of {known}")
    try:
        return _load(folder)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{folder}: expected a bundle with {HEAD}, {WEIGHTS} and {CALIBRATION}, found it unreadable ({error}); "
            "make it anew with train or transfer"
        ) from error


def bundle_names() -> tuple[str, ...]:
    """Names of the bundles on the search path."""
    return tuple(name for name in content.names("models") if content.find("models", f"{name}/{HEAD}"))


def _load(folder: Path) -> Bundle:
    for name in (HEAD, WEIGHTS, CALIBRATION):
        if not (folder / name).is_file():  # a pipe would be waited for
            raise FileNotFoundError(f"{name} is no file")
    head = tomllib.loads((folder / HEAD).read_text())
    if head["format"] != FORMAT:
        raise BundleError(
            f"{folder}: expected a bundle of format {FORMAT}, found {head['format']}; update hcal_root_ad"
        )
    for name in (WEIGHTS, CALIBRATION):
        if head["sha256"][name] != _sha256(folder / name):
            raise BundleError(
                f"{folder / name}: its content does not match the digest in {HEAD}; fetch the bundle anew"
            )
    channels = channel_table(Era(head["era"])).select(head["subdetector"])
    values = load_file(folder / CALIBRATION)
    if set(values) != set(_ARRAYS):
        raise BundleError(
            f"{folder / CALIBRATION}: expected the arrays {', '.join(_ARRAYS)}, found {', '.join(sorted(values))}; "
            "fetch the bundle anew"
        )
    if not np.array_equal(values["raw_id"], channels.raw_id):
        raise BundleError(f"{folder}: its channels are not those of {head['subdetector']} in {head['era']}; retrain it")
    network = GraphSTAD(channels, _config(head["network"]))
    arrays = load_file(folder / WEIGHTS)
    network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    for name, found, what in ((WEIGHTS, arrays, "weights"), (CALIBRATION, values, "numbers")):
        if not all(np.isfinite(array).all() for array in found.values()):
            raise BundleError(f"{folder / name}: expected finite {what}, found NaN or infinite ones; retrain it")
    if any(len(array) != len(channels) for array in values.values()):
        raise BundleError(f"{folder / CALIBRATION}: expected {len(channels)} channels, found others; retrain it")
    metrics = folder / "metrics.json"
    return Bundle(
        name=head["name"],
        subdetector=head["subdetector"],
        channels=channels,
        network=network.eval(),
        reference=Reference(
            level=values["level"].astype(np.float64),
            level_error=values["level_error"].astype(np.float64),
            power=values["power"].astype(np.float64),
            power_error=values["power_error"].astype(np.float64),
            live=values["live"].astype(bool),
            activity=(float(head["activity"][0]), float(head["activity"][1])),
        ),
        model_error=values["model_error"].astype(np.float64),
        tails=Tails(**{name: kind(**head["tails"][name]) for name, kind in _TAILS.items()}),
        definition=head["definition"],
        false_alarms=float(head["false_alarms"]),
        ring_normalisation=bool(head["ring_normalisation"]),
        version=head["version"],
        story=head["story"],
        metrics=json.loads(metrics.read_text()) if metrics.exists() else {},
        digest=_bundle_digest(head),
    )


def _config(values: dict[str, Any]) -> GraphSTADConfig:
    options: dict[str, Any] = {key: value for key, value in values.items() if key != "kind"}
    options["maps"] = tuple(options["maps"])
    return GraphSTADConfig(**options)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bundle_digest(head: Mapping[str, Any]) -> str:
    """Of all that a judgement depends on: digests of the files, thresholds, network; not of its name and story."""
    counted = {key: value for key, value in head.items() if key not in ("name", "version", "story")}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
