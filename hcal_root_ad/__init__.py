"""hcal_root_ad: finds faulty HCAL channels in DQM files and publishes the verdict for the DQM GUI."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # As type checkers know it, without the import of typing: the command line starts faster.
if TYPE_CHECKING:
    from hcal_root_ad.harvest.inspect import inspect_file
    from hcal_root_ad.harvest.read import read_lumi_maps

__all__ = ["inspect_file", "read_lumi_maps"]

_HOMES = {"inspect_file": "hcal_root_ad.harvest.inspect", "read_lumi_maps": "hcal_root_ad.harvest.read"}


def __getattr__(name: str) -> object:
    """Import a public function when it is first asked for, so that ``import hcal_root_ad`` stays light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
