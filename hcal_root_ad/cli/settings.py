"""What verbs share: inputs by path or name, who judges, and settings that stand in for options; the verb ``config``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.content import SEARCH_VARIABLE
from hcal_root_ad.errors import UsageError

if TYPE_CHECKING:
    from hcal_root_ad.harvest.inputs import InputFile
    from hcal_root_ad.harvest.read import LeftOut
    from hcal_root_ad.lumi_maps import LumiMaps
    from hcal_root_ad.pipeline import Judging
    from hcal_root_ad.state.history import StateStore

CONFIG_VARIABLE, LABEL_VARIABLE = "HCAL_ROOT_AD_CONFIG", "HCAL_ROOT_AD_LABEL"
OF_OPTIONS = {"models": "model", "policy": "policy", "mask": "mask", "definition": "definition",
              "false_alarms": "false_alarms"}  # fmt: skip
"""Settings that stand in for an option that is not given, wherever a verb has it."""
OF_ENVIRONMENT = {"folders": SEARCH_VARIABLE, "label": LABEL_VARIABLE}


def stores_of(folders: Sequence[Path] | None) -> tuple[StateStore, ...]:
    """The states of ``--state``; raises StateError where one is missing or damaged."""
    if not folders:
        return ()
    from hcal_root_ad.state.history import StateStore

    stores = tuple(StateStore(folder.absolute()) for folder in folders)
    for store in stores:
        store.history()
    return stores


def judging_of(arguments: argparse.Namespace) -> Judging:
    """What the options ask for, with the models loaded."""
    from hcal_root_ad.pipeline import Judging, load_models

    without_reference, mask = getattr(arguments, "without_reference", False), None
    if arguments.mask:
        from hcal_root_ad.mask import read_mask

        mask = read_mask(arguments.mask)
    stores = stores_of(getattr(arguments, "state", None))
    if stores and without_reference:
        raise UsageError("--without-reference judges a run against itself, not by a state; leave one of them out.")
    return Judging(load_models(arguments.model), arguments.false_alarms, without_reference, mask, states=stores)


def all_files(names: Sequence[str]) -> tuple[InputFile, ...]:
    """The files and addresses that the named inputs stand for, folders and patterns resolved."""
    from hcal_root_ad.harvest.inputs import expand_paths
    from hcal_root_ad.references import input_paths

    return expand_paths([path for name in names for path in input_paths(name)])


def input_files(names: Sequence[str]) -> tuple[Path, ...]:
    """The files here that the named inputs stand for; addresses are left out."""
    return tuple(file for file in all_files(names) if isinstance(file, Path))


def read_runs(
    names: Sequence[str], definition: str | None = None, left_out: list[LeftOut] | None = None
) -> tuple[LumiMaps, ...]:
    """All runs in the named inputs, with a progress bar; files that cannot be read are added to ``left_out``."""
    from hcal_root_ad.harvest.read import read_lumi_maps
    from hcal_root_ad.references import input_paths

    paths = [path for name in names for path in input_paths(name)]
    with progress("Reading") as report:
        return read_lumi_maps(paths, definition, report, left_out)


@dataclass(frozen=True)
class Settings:
    """What a user wrote once; None where nothing is said."""

    folders: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    policy: str | None = None
    mask: str | None = None
    definition: str | None = None
    false_alarms: float | None = None
    label: str | None = None


def execute_config(arguments: argparse.Namespace) -> int:
    show(*_lines(arguments.config))
    return 0


def config_file(given: Path | None = None) -> Path | None:
    """The file of settings: what was given, else what the environment names, else the user's own where there is one.

    Raises:
        UsageError: a file that was named is not there.
    """
    named = given or os.environ.get(CONFIG_VARIABLE)
    if named is not None:
        path = Path(named).expanduser()
        if given and not path.is_file():
            raise UsageError(f"--config {given}: no such file.")
        if named and not path.is_file():
            raise UsageError(f"{CONFIG_VARIABLE} names {named}, which is no file; correct or unset it.")
        return path if str(named) else None
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    path = Path(home).expanduser() / "hcal_root_ad" / "config.toml"
    return path if path.is_file() else None


def read_settings(path: Path | None) -> Settings:
    """The settings in a file; nothing without one.

    Raises:
        UsageError: it is no TOML, a key is unknown, or a value of another kind.
    """
    if path is None:
        return Settings()
    from hcal_root_ad.content import structure
    from hcal_root_ad.tables import read_toml

    return structure(read_toml(path, "settings", UsageError), Settings, f"The file {path}", UsageError)


def apply(arguments: argparse.Namespace) -> None:
    """Let the settings stand in for what neither the options nor the environment say; ``from_settings`` names them.

    Raises:
        UsageError: as :func:`config_file` and :func:`read_settings` do.
    """
    settings = read_settings(config_file(arguments.config))
    for setting, variable in OF_ENVIRONMENT.items():
        value = getattr(settings, setting)
        if value is not None and variable not in os.environ:
            os.environ[variable] = value if isinstance(value, str) else os.pathsep.join(map(_expanded, value))
    arguments.from_settings = set()
    for setting, option in OF_OPTIONS.items():
        if getattr(arguments, option, ...) is None and (value := getattr(settings, setting)) is not None:
            setattr(arguments, option, _as_option(setting, value))
            arguments.from_settings.add(option)


def _as_option(setting: str, value: Any) -> Any:
    if setting == "models":
        return [_expanded(name) for name in value]
    return Path(value).expanduser() if setting == "mask" else value


def _expanded(name: str) -> str:
    return str(Path(name).expanduser()) if name.startswith("~") else name


def _lines(given: Path | None) -> Iterator[str]:
    path = config_file(given)
    settings = read_settings(path)
    yield f"settings: {path or 'no file; defaults hold'}"
    defaults = {"folders": "none of your own", "models": "the shipped ones", "policy": "standard", "mask": "none",
                "definition": "the one that fits", "false_alarms": "the models' own", "label": "HCAL DQM"}  # fmt: skip
    for name, default in defaults.items():
        value, origin = getattr(settings, name), f"from {path}"
        variable = OF_ENVIRONMENT.get(name, "")
        if variable in os.environ and os.environ[variable] != _joined(value):
            value, origin = os.environ[variable], f"from {variable}"
        yield f"{name:<13} {default if value is None else _joined(value)}  ({'default' if value is None else origin})"
    yield from _models(settings)


def _joined(value: Any) -> str:
    return os.pathsep.join(map(_expanded, value)) if isinstance(value, tuple) else str(value)


def _models(settings: Settings) -> Iterator[str]:
    """Who judges which sub-detector of which era."""
    from hcal_root_ad.pipeline import load_models

    for model in load_models([_expanded(name) for name in settings.models or ()] or None):
        yield f"  {model.subdetector} of {model.channels.era.value}: {model.name}"
