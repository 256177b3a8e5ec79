"""Bytes of ROOT files: sources, records, keys and folders, histograms; nothing of HCAL.

uproot imports awkward, which takes as long as all the rest of it, and which no histogram needs. Whoever imports this
package before uproot has awkward loaded once somebody looks into it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any

_LOADING = RLock()


class _LoadedOnDemand(ModuleType):
    """A module that is executed when it is first asked for something; other threads wait until that is done."""

    def __getattr__(self, name: str) -> Any:
        with _LOADING:
            spec = self.__spec__
            if spec is not None and spec.loader is not None and "__path__" not in self.__dict__:
                self.__file__, self.__path__ = spec.origin, spec.submodule_search_locations or []
                spec.loader.exec_module(self)
                self.__class__ = ModuleType  # type: ignore[assignment]  # from now on like any other
        return ModuleType.__getattribute__(self, name)


def load_on_demand(name: str) -> None:
    """Let the import of a package cost nothing until something in it is asked for; nothing if it is loaded."""
    spec = find_spec(name) if name not in sys.modules else None
    if spec is not None:
        module = _LoadedOnDemand(name)
        module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, name
        sys.modules[name] = module


load_on_demand("awkward")
