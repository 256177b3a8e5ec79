"""The calls into uproot that are not its public API: this is why uproot is pinned to one version.

The public ``directory[name] = object`` splits names at ``/``, so it cannot write a ``TObjString`` whose key
name is ``<name>i=1</name>``; and ``update`` reuses freed space, leaving remainders too short to be marked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uproot.writing import WritableDirectory, identify


def add_objects(root: WritableDirectory, objects: Iterable[tuple[str, str, Any]]) -> None:
    """Add (folder, key name, object) to an open file, each once, in the order given."""
    streamers: list[Any] = []
    folders: dict[str, WritableDirectory] = {}
    for folder, name, content in objects:
        if folder not in folders:
            folders[folder] = _folder(root, folder)
        _append_only(root)
        identify.add_to_directory(content, name, folders[folder], streamers)
    _append_only(root)
    root.file.update_streamers(streamers)


def _folder(root: WritableDirectory, path: str) -> WritableDirectory:
    directory = root
    for name in path.split("/"):
        _append_only(root)
        directory = directory.mkdir(name)
    return directory


def _append_only(root: WritableDirectory) -> None:
    """Forget freed space, so that new records go behind the old ones and every gap stays a whole former record."""
    root._cascading.freesegments.data.slices = ()
