"""The files of a run under rising versions, the last few of them, and a GUI that is told of each.

The newer GUI keeps files open: one that is replaced under its name shows old lumisections, or crashes the server, while
a new name that is registered works. The classic GUI takes the highest version of a run by itself.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from hcal_root_ad.errors import UsageError
from hcal_root_ad.publish.file_name import dataset_of_name
from hcal_root_ad.watch.complaints import Complaints

KEPT = 3
"""Newest versions of a run's file that stay: a GUI may still be reading the one before."""
PATIENCE = 3.0
"""Seconds in which a GUI must answer."""
_VERSION = re.compile(r"DQM_V(\d{4})_")
_CLASSIC_FORMAT = 1
"""What the newer GUI calls a file of histograms in folders (``dqmgui`` ``python/data_types.py``)."""


def next_version(first: Path) -> int:
    """The version after the highest that is there; ``first``: the file under version 1."""
    return max((version for version, _ in _versions(first)), default=0) + 1


def forget_older(path: Path) -> None:
    """Remove all but the newest versions of a file."""
    for _, old in sorted(_versions(path))[:-KEPT]:
        old.unlink(missing_ok=True)


def _versions(path: Path) -> list[tuple[int, Path]]:
    """Versions of a file that lie in its folder."""
    rest = _VERSION.sub("", path.name, count=1)
    found = ((_VERSION.match(one.name), one) for one in path.parent.glob(f"DQM_V????_{rest}"))
    return [(int(match[1]), one) for match, one in found if match]


class Registration:
    """Tells the newer GUI of each file (POST to ``/api/v1/register``), if there is an address.

    Raises:
        UsageError: the address is none of HTTP.
    """

    def __init__(self, address: str, complaints: Complaints) -> None:
        if address and urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise UsageError(f"--register {address}: expected the address of a GUI, such as http://localhost:8889.")
        self._address, self._complaints = address.rstrip("/"), complaints

    def tell(self, path: Path, run: int) -> None:
        """Register a file; where that fails, it is said once, and the next file is registered all the same."""
        if not self._address:
            return
        sample = {
            "dataset": dataset_of_name(path.name), "run": str(run), "lumi": "0",
            "file": str(path.absolute()), "fileformat": _CLASSIC_FORMAT,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{self._address}/api/v1/register", json.dumps([sample]).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError as error:
            self._complain(f"answered {error.code} {error.reason}")
        except (OSError, ValueError) as error:
            self._complain(f"cannot be reached ({getattr(error, 'reason', error)})")
        else:
            self._complaints.settle("register", f"{self._address} takes files again.")

    def _complain(self, what: str) -> None:
        self._complaints.add("register", f"--register: {self._address} {what}; the file is written all the same.")
