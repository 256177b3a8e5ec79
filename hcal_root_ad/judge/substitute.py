"""A reference run in the place of a bundle's own reference, where the bundle does not know the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hcal_root_ad.judge.fitness import on_reference
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.references.catalogue import FindReference, NamedReference
from hcal_root_ad.lumi_maps import LumiMaps


@dataclass(frozen=True, eq=False)
class Substitute:
    """A bundle on a reference run, and which run that is."""

    original: Bundle
    bundle: Bundle
    reference: NamedReference

    @property
    def name(self) -> str:
        return self.reference.name

    def note(self, why: str) -> str:
        """Sentence that says what was used."""
        return (
            f"{self.bundle.subdetector}: bundle {self.original.name} does not know this detector ({why}); judged "
            f"against the reference run {self.reference.entry} instead; adapt the bundle with transfer on a clean run"
        )


class Substitutes:
    """Substitutes for the bundles of one run; the reference is looked for once, when the first one is asked for."""

    def __init__(self, find_reference: FindReference | None) -> None:
        self._find = find_reference
        self._reference: NamedReference | None = None
        self._found: dict[str, Substitute] = {}

    def of(self, maps: LumiMaps, bundle: Bundle) -> Substitute | None:
        """The substitute for a bundle, None where no reference run knows channels like those of the run."""
        name = bundle.subdetector
        if name in self._found:
            return self._found[name]
        if self._find is not None:
            self._reference, self._find = self._find(maps), None
        if self._reference is None or name not in self._reference.rates:
            return None
        rates = self._reference.rates[name]
        if not np.array_equal(rates.channels.raw_id, maps.channels.select(name).raw_id):
            return None
        self._found[name] = Substitute(bundle, on_reference(bundle, rates), self._reference)
        return self._found[name]
