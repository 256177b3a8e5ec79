"""``Model``: all that judging one sub-detector needs, as a folder of readable and safe files.

``model.toml`` (what it is), ``reference.safetensors`` (rates of the channels, with errors), ``weights.safetensors``
(the network, where there is one), ``README.md`` (the card) and ``metrics.json``. Reading it needs no torch.

Thresholds: the significance from which on a stretch is a finding, for an asked rate of false findings.

In units of standard deviations under the empirical null. A scan of N series over T lumisections is worth ``TRIALS``·N·T
independent looks, so chosen that the healthy worlds of the stress suite together stay below the asked rate, which is
shared out among the levels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hcal_root_ad import content
from hcal_root_ad.detector import ChannelTable, Era, channel_table
from hcal_root_ad.errors import ModelError, OutputError, UsageError
from hcal_root_ad.files import replace_folder
from hcal_root_ad.model.reference import Overdispersion, Reference, Widths

FORMAT = 4
HEAD, REFERENCE, WEIGHTS = "model.toml", "reference.safetensors", "weights.safetensors"
_ARRAYS = ("raw_id", "level", "level_error", "power", "power_error", "live")
_SENSIBLE = {"level": (-20.0, 5.0), "level_error": (0.0, 20.0), "power": (-1.0, 5.0), "power_error": (0.0, 5.0)}
"""Range of each number of a reference; others are damage or deceit."""


@dataclass(frozen=True, eq=False)
class Model:
    """The reference of one sub-detector, and the network that was trained on it.

    Attributes:
        reference: rates of the sub-detector's channels.
        architecture, weights: of the network (see :func:`hcal_root_ad.model.graphstad.network_of`); empty without one.
        definition: harvester definition of what it counts.
        false_alarms: false findings per 100 LS that are asked for by default.
        story: what it was trained on, from what it was transferred; free text by key.
        metrics: measured numbers by name.
        digest: SHA-256 over all that a judgement depends on, given on loading and saving.
    """

    name: str
    subdetector: str
    reference: Reference
    architecture: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    definition: str = "Occupancy"
    false_alarms: float = 0.5
    version: str = "1"
    story: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""

    def __repr__(self) -> str:
        live, network = int(self.reference.live.sum()), "with a network" if self.weights else "no network"
        channels = f"{live:,} of {len(self.channels):,} channels live"
        return f"<Model {self.name}: {self.subdetector} of {self.channels.era.value}, {channels}, {network}>"

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in self.story.items())
        return f"<p><strong>{escape(repr(self)[1:-1])}</strong></p><table><tbody>{cells}</tbody></table>"

    @property
    def channels(self) -> ChannelTable:
        return self.reference.channels

    def serves(self, channels: ChannelTable) -> bool:
        """Whether it was made for the sub-detector's channels in a table of channels."""
        return np.array_equal(self.channels.raw_id, channels.select(self.subdetector).raw_id)

    def save(self, folder: Path) -> Model:
        """Write the model; an older one in the same place is replaced when all is written.

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
        return replace(self, name=folder.name, digest=_digest(head))

    def _write(self, name: str, partial: Path) -> dict[str, Any]:
        """Write all files into a new folder; returns the head."""
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        partial.mkdir(parents=True)
        numbers = {name: getattr(self.reference, name).astype(np.float32) for name in _SENSIBLE}
        arrays = {"raw_id": self.channels.raw_id, "live": self.reference.live.astype(np.uint8), **numbers}
        save_file(arrays, partial / REFERENCE)
        files = [REFERENCE]
        if self.weights:
            save_file(dict(self.weights), partial / WEIGHTS)
            files.append(WEIGHTS)
        head = self._head(name) | {"sha256": {file: _sha256(partial / file) for file in files}}
        (partial / HEAD).write_text(tomli_w.dumps(head))
        (partial / "README.md").write_text(self._card(name))
        (partial / "metrics.json").write_text(json.dumps(dict(self.metrics), indent=1, sort_keys=True) + "\n")
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors writes for the owner only
        return head

    def _head(self, name: str) -> dict[str, Any]:
        reference = self.reference
        return {
            "format": FORMAT,
            "name": name,
            "version": self.version,
            "subdetector": self.subdetector,
            "era": self.channels.era.value,
            "definition": self.definition,
            "false_alarms": self.false_alarms,
            "pileup_range": list(reference.pileup_range),
            "clean": reference.clean,
            "widths": asdict(reference.widths),
            "overdispersion": asdict(reference.overdispersion),
            "network": dict(self.architecture),
            "story": dict(self.story),
        }

    def _card(self, name: str) -> str:
        return "\n".join((
            f"# {name}", "", f"Model of {self.subdetector}, detector of {self.channels.era.value}.", "",
            *(f"- **{key}**: {text}" for key, text in self.story.items()), "", "| measured | |", "|---|---|",
            *(f"| {key} | {value:.4g} |" for key, value in self.metrics.items()), "",
            f"Channels live: {int(self.reference.live.sum())} of {len(self.channels)}.", "",
            "Adapt it to another detector or period with",
            "`hcal-root-ad transfer --from MODEL --runs CLEAN… -o NEW`.", "",
        ))  # fmt: skip


def load_model(name: str | Path) -> Model:
    """Load a model by folder, or by name from the search path.

    Raises:
        ModelError: if it is missing, incomplete, of another format, does not match its digests, or makes no sense.
    """
    folder = Path(name) if Path(name).is_dir() else content.find("models", str(name))
    if folder is None:
        available = ", ".join(model_names()) or "none"
        raise ModelError(f"no model {str(name)!r}: expected a folder or one of {available}")
    try:
        return _load(folder)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: expected a model with {HEAD} and {REFERENCE}, found it unreadable ({error}); "
            "make it again with train or transfer"
        ) from error


def model_names() -> tuple[str, ...]:
    """Names of the models on the search path."""
    return tuple(name for name in content.names("models") if content.find("models", f"{name}/{HEAD}"))


def _load(folder: Path) -> Model:
    for name in (HEAD, REFERENCE):
        if not (folder / name).is_file():  # a pipe would be waited for
            raise FileNotFoundError(f"{name} is no file")
    head = tomllib.loads((folder / HEAD).read_text())
    if head["format"] != FORMAT:
        raise ModelError(f"{folder}: expected a model of format {FORMAT}, found {head['format']}; make it again")
    digests = head["sha256"]
    files = [REFERENCE, WEIGHTS] if head["network"] else [REFERENCE]
    if sorted(digests) != files:
        raise ModelError(
            f"{folder / HEAD}: expected digests of {' and '.join(files)}, found {', '.join(sorted(digests)) or 'none'};"
            " fetch the model again"
        )
    for name, digest in digests.items():
        if digest != _sha256(folder / name):
            raise ModelError(f"{folder / name}: its content does not match the digest in {HEAD}; fetch the model again")
    metrics = folder / "metrics.json"
    return Model(
        name=head["name"],
        subdetector=head["subdetector"],
        reference=_reference(folder, head),
        architecture=head["network"],
        weights=_weights(folder) if head["network"] else {},
        definition=head["definition"],
        false_alarms=float(head["false_alarms"]),
        version=head["version"],
        story=head["story"],
        metrics=json.loads(metrics.read_text()) if metrics.exists() else {},
        digest=_digest(head),
    )


def _reference(folder: Path, head: Mapping[str, Any]) -> Reference:
    path = folder / REFERENCE
    channels = channel_table(Era(head["era"])).select(head["subdetector"])
    values = load_file(path)
    if set(values) != set(_ARRAYS):
        raise ModelError(
            f"{path}: expected the arrays {', '.join(_ARRAYS)}, found {', '.join(sorted(values))};"
            " fetch the model again"
        )
    if any(array.shape != (len(channels),) for array in values.values()):
        raise ModelError(f"{path}: expected {len(channels)} channels in every array, found others; make it again")
    if not np.array_equal(values["raw_id"], channels.raw_id):
        raise ModelError(
            f"{folder}: its channels are not those of {head['subdetector']} in {head['era']}; make it again"
        )
    if not np.isin(values["live"], (0, 1)).all():
        raise ModelError(f"{path}: expected 0 or 1 in 'live', found others; fetch the model again")
    for name, (low, high) in _SENSIBLE.items():
        if not ((values[name] >= low) & (values[name] <= high)).all():
            raise ModelError(
                f"{path}: expected {name} between {low:g} and {high:g}, found others; fetch the model again"
            )
    widths, spread = Widths(**head["widths"]), Overdispersion(**head["overdispersion"])
    low, high = (float(u) for u in head["pileup_range"])
    sensible = all(0 <= v <= 1 for v in asdict(widths).values()) and all(1 <= v <= 100 for v in asdict(spread).values())
    if not low <= high or not sensible:
        raise ModelError(
            f"{folder / HEAD}: its pileup range, widths or overdispersion make no sense; fetch the model again"
        )
    numbers: dict[str, Any] = {name: values[name].astype(np.float64) for name in _SENSIBLE}
    return Reference(channels, live=values["live"].astype(bool), pileup_range=(low, high), widths=widths,
                     overdispersion=spread, clean=head["clean"], **numbers)  # fmt: skip


def _weights(folder: Path) -> dict[str, NDArray[Any]]:
    weights: dict[str, NDArray[Any]] = load_file(folder / WEIGHTS)
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise ModelError(f"{folder / WEIGHTS}: expected finite weights, found NaN or infinite ones; retrain it")
    return weights


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(head: Mapping[str, Any]) -> str:
    """Of all that a judgement depends on: digests of the files and numbers; not of its name and story."""
    counted = {key: value for key, value in head.items() if key not in ("name", "version", "story")}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


TRIALS = 2.0
SHARES = {
    "channel": 0.45, "card": 0.1, "module": 0.13, "box": 0.1, "half": 0.05, "ring": 0.12, "subdetector": 0.05,
}  # fmt: skip
"""Which part of the false findings each level may cause."""
MOST = 50.0
"""False findings per 100 LS that may be asked for at most: beyond, the tail says nothing."""


@dataclass(frozen=True)
class Thresholds:
    """Significance from which on a stretch counts, level by level."""

    channel: float
    card: float
    module: float
    box: float
    half: float
    ring: float
    subdetector: float


def check_asked(false_findings: float) -> None:
    """Raises UsageError if so many false findings per 100 LS cannot be asked for."""
    if not 0 < false_findings <= MOST:
        raise UsageError(
            f"{false_findings:g} false findings per 100 lumisections were asked for; "
            f"choose a number above 0 and up to {MOST:g}."
        )


def thresholds(false_findings: float, series: dict[str, int]) -> Thresholds:
    """Thresholds for so many false findings per 100 LS of one sub-detector with so many series per level.

    Raises:
        UsageError: if more are asked for than can be.
    """
    check_asked(false_findings)
    return Thresholds(**{
        level: -NormalDist().inv_cdf(min(0.25, false_findings * share / (2 * 100 * TRIALS * max(series[level], 1))))
        for level, share in SHARES.items()
    })  # fmt: skip
