"""A first look at the files of a campaign: which runs each holds, and the digest of its content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hcal_root_ad.errors import HcalRootAdError, InputError
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.inputs import InputFile, RemoteFile, input_file, source_beside
from hcal_root_ad.harvest.read import open_reader
from hcal_root_ad.schema import structure
from hcal_root_ad.tables import read_json


@dataclass(frozen=True)
class Surveyed:
    """A file, and what was found: its runs, or the sentence why it cannot be used.

    ``digest`` is the SHA-256 of the content; of a file elsewhere, which is never fetched whole, its address and size.
    ``empty``: it is whole, but holds no lumisection.
    ``size`` in bytes and ``changed`` (time of the last change, ns) tell whether it is still the same.
    """

    path: str
    size: int
    changed: int
    digest: str = ""
    runs: tuple[int, ...] = ()
    problem: str = ""
    empty: bool = False

    @property
    def file(self) -> InputFile:
        return input_file(self.path)


def survey(path: InputFile) -> Surveyed:
    """Look at a file; damage and other mistakes come back as a sentence, so that one file never stops the others."""
    seen = _stat(path)
    try:
        with source_beside(path) as source, open_reader(path) as container:
            runs, found = container.runs, source.result()
    except HcalRootAdError as error:
        return Surveyed(*seen, problem=str(error))
    except OSError as error:
        return Surveyed(*seen, problem=f"The file {path} cannot be read: {error.strerror}.")
    if not runs:
        return Surveyed(*seen, empty=True)
    digest = found.sha256 or f"{path} {found.size}"
    return Surveyed(seen[0], found.size, seen[2], digest, tuple(sorted(runs)))


def _stat(path: InputFile) -> tuple[str, int, int]:
    if isinstance(path, RemoteFile):
        return str(path), 0, 0
    try:
        stat = path.stat()
    except OSError:
        return _name(path), 0, 0
    return _name(path), stat.st_size, stat.st_mtime_ns


def _name(path: InputFile) -> str:
    return str(path if isinstance(path, RemoteFile) else path.absolute())


class KnownFiles:
    """What was found in the files of a campaign, kept as JSON: a file that did not change is not read again."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known: dict[str, Surveyed] = {}
        if store.is_file():
            with suppress(InputError):  # damaged, it says nothing: the files are looked at again
                rows = structure(read_json(store, "list of files"), list[Surveyed], str(store))
                self._known = {row.path: row for row in rows}

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._known)

    def find(self, path: InputFile, again: bool = False) -> Surveyed | None:
        """What is known of a file, if it is still the same or not there any more; None if it must be looked at.

        ``again``: look anew at a file that could not be used.
        """
        known = self._known.get(_name(path))
        if known is None or (again and known.problem):
            return None
        if isinstance(path, RemoteFile) or not path.exists():
            return known
        return known if (known.size, known.changed) == _stat(path)[1:] else None

    def add(self, found: Sequence[Surveyed]) -> None:
        """Remember, also after a sudden end."""
        self._known |= {one.path: one for one in found}
        rows = [asdict(self._known[path]) for path in sorted(self._known)]
        write_text(self._store, json.dumps(rows, indent=0) + "\n")
