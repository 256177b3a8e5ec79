"""The published file of the small run, and a reader of published files that is none of ours."""

from __future__ import annotations

import struct

import pytest


@pytest.fixture(scope="session")
def listing():
    """A reader of its own, to test against: lists a file as the newer DQM GUI does, by walking all records in sequence.

    Written from the description of ``DQMServices/DQMGUI/python/nanoroot.py`` and ``dqmclassic_importer.py``; shares no
    code with the package. A byte that is neither a record nor a marked gap raises AssertionError, as there.
    """
    return _listing


_SHOWN = {"TH1D", "TH1F", "TH1S", "TH2D", "TH2F", "TH2S", "TH3F", "TObjString", "TProfile", "TProfile2D"}


def _name(data: bytes, position: int) -> tuple[str, int]:
    size = data[position]
    if size == 255:
        (size,) = struct.unpack_from(">i", data, position + 1)
        position += 4
    return data[position + 1 : position + 1 + size].decode(), position + 1 + size


def _key(data: bytes, position: int) -> tuple[int, int, str, str]:
    """Size, parent, class and name of the key at a position."""
    size, version, _, _, _, _, seek, parent = struct.unpack_from(">iHIIHHII", data, position)
    head = 26
    if version > 1000:
        size, version, _, _, _, _, seek, parent = struct.unpack_from(">iHIIHHQQ", data, position)
        head = 34
    assert seek == position, f"key at {position} is corrupted"
    class_name, after = _name(data, position + head)
    return size, parent, class_name, _name(data, after)[0]


def _folder(data: bytes, parent: int) -> tuple[str, ...]:
    if parent == 0:
        return ()
    _, above, _, name = _key(data, parent)
    return (*_folder(data, above), name)


def _listing(data: bytes) -> list[tuple[str, str, str]]:
    """(GUI folder, name, class) of all that the newer GUI lists; folders without Run summary begin with <broken>."""
    (end,) = struct.unpack_from(">I", data, 12)
    position, found = 100, []
    while position < end:
        (size,) = struct.unpack_from(">i", data, position)
        assert size != 0
        if size < 0:
            position -= size
            continue
        size, parent, class_name, name = _key(data, position)
        if class_name in _SHOWN:
            parts = _folder(data, parent)[1:]
            shown = len(parts) >= 4 and parts[3] == "Run summary"
            found.append(
                ("/".join((parts[2], *parts[4:])) if shown else "<broken>" + "/".join(parts), name, class_name)
            )
        position += size
    assert position == end
    return found
