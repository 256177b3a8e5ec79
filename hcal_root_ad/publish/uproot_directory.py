"""The calls into uproot that are not its public API: this is why uproot is pinned to one version.

The public ``directory[name] = object`` splits names at ``/``, so it cannot write a ``TObjString`` whose key
name is ``<name>i=1</name>``; and ``update`` reuses freed space, leaving remainders too short to be marked.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from uproot.writing import WritableDirectory, _cascade, identify

_ALWAYS = datetime(1995, 1, 1)
"""The first day that ROOT can write: whatever is published from the same inputs is the same to the byte."""


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


@contextmanager
def without_time() -> Iterator[None]:
    """Let uproot write a date of ours instead of the time."""

    class Always(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Always:
            return cls(*_ALWAYS.timetuple()[:6], tzinfo=tz)

    with patch.object(_cascade, "datetime", SimpleNamespace(datetime=Always)):
        yield


def identities(texts: Iterable[str]) -> Callable[[], uuid.UUID]:
    """Gives one UUID after the other (of the file, and of each folder), which follow from the texts."""
    first, number = uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(texts)), count()
    return lambda: uuid.uuid5(first, str(next(number)))


def _folder(root: WritableDirectory, path: str) -> WritableDirectory:
    directory = root
    for name in path.split("/"):
        _append_only(root)
        directory = directory.mkdir(name)
    return directory


def _append_only(root: WritableDirectory) -> None:
    """Forget freed space, so that new records go behind the old ones and every gap stays a whole former record."""
    root._cascading.freesegments.data.slices = ()
