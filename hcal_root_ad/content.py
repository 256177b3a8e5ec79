"""Where definitions, models, policies, reference runs are found by name: the user's own first, then the shipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Kind = Literal["harvesters", "models", "policies", "reference_runs"]

SEARCH_VARIABLE = "HCAL_ROOT_AD_PATH"
"""Environment variable: folders (separated as in PATH) that hold ``harvesters``, ``models``, …."""


def search_path(kind: Kind) -> tuple[Path, ...]:
    """Existing folders of a kind, in the order in which names are looked up."""
    return tuple(folder / kind for folder in (*_own(), *_shipped()) if (folder / kind).is_dir())


def own_folder(kind: Kind) -> Path | None:
    """The user's first folder of a kind, there or not yet; None where the user has named none, or the shipped one."""
    own = _own()
    if not own or own[0].resolve() in [folder.resolve() for folder in _shipped()]:
        return None
    return own[0] / kind


def _own() -> list[Path]:
    return [Path(entry) for entry in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if entry]


def _shipped() -> tuple[Path, Path]:
    """An installed wheel carries the content inside the package; a checkout has it beside the package."""
    package = Path(__file__).parent
    return package / "content", package.parent


def find(kind: Kind, name: str) -> Path | None:
    """The file or folder ``name`` of a kind, or None."""
    return next((folder / name for folder in search_path(kind) if (folder / name).exists()), None)


def names(kind: Kind, pattern: str = "*") -> tuple[str, ...]:
    """Sorted names of a kind that match a glob pattern; hidden files are left out."""
    names = {path.name for folder in search_path(kind) for path in folder.glob(pattern)}
    return tuple(sorted(name for name in names if not name.startswith(".")))
