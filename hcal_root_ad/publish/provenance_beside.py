"""Provenance beside outputs that cannot carry it inside: ``NAME.provenance.json``, with a digest of each output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcal_root_ad.errors import InputError
from hcal_root_ad.files import write_text
from hcal_root_ad.publish.provenance import Provenance, provenance_of_table, sha256_of

SUFFIX = ".provenance.json"


@dataclass(frozen=True)
class Beside:
    """Such a file: the provenance, and the digests of the outputs by their path from its folder."""

    path: Path
    provenance: Provenance
    outputs: Mapping[str, str]

    def changed(self, output: Path) -> bool:
        """Whether an output is no longer what was written."""
        return self.outputs.get(relative(output, self.path.parent)) != sha256_of(output)


def relative(output: Path, folder: Path) -> str:
    """Path of an output from a folder that it lies in; a link stands where it is, not where it leads."""
    return (output.parent.resolve() / output.name).relative_to(folder.resolve()).as_posix()


def beside_table(provenance: Provenance, folder: Path, outputs: Iterable[Path]) -> dict[str, Any]:
    """What such a file in ``folder`` says of outputs below it."""
    digests = {relative(path, folder): sha256_of(path) for path in outputs}
    return {"provenance": provenance.as_table(), "outputs": digests}


def write_beside(provenance: Provenance, folder: Path, name: str, outputs: Iterable[Path]) -> Path:
    """Write ``NAME.provenance.json`` into the folder of the outputs, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"{name}{SUFFIX}"
    write_text(path, json.dumps(beside_table(provenance, folder, outputs), indent=1))
    return path


def read_beside(path: Path) -> Beside | None:
    """Read such a file; None where it holds no provenance of this form.

    Raises:
        InputError: it cannot be read.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict) or "provenance" not in table:
            return None
        return Beside(path, provenance_of_table(table["provenance"]), dict(table.get("outputs", {})))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected what an output was made of, found it damaged ({error}).") from error


def beside(output: Path) -> Beside | None:
    """What lies beside an output, in its folder or the one above, and names it; None where nothing does."""
    here = output.absolute().parent
    for folder in (here, here.parent):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if (found := read_beside(path)) and relative(output, folder) in found.outputs:
                return found
    return None
