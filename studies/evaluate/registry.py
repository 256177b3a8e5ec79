"""All systems by name, in the order of the table."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from hcal_root_ad.errors import UsageError
from studies.evaluate.limit import NAME as ORACLE
from studies.evaluate.protocol import System
from studies.evaluate.systems import (
    deep_graphstad,
    deep_images,
    ewma,
    low_rank,
    oracle,
    ours,
    perfect,
    robust_z,
    rule_based,
    template,
)

FAMILIES = (ours, perfect, template, robust_z, ewma, low_rank, rule_based, deep_graphstad, deep_images, oracle)


def systems() -> dict[str, System]:
    """Name to system."""
    return {system.name: system for family in FAMILIES for system in family.SYSTEMS}


def chosen(names: Sequence[str]) -> list[System]:
    """Systems by name; all of them if no name is given. The oracle is always there and needs no naming.

    Raises:
        UsageError: for a name that does not exist.
    """
    known = systems()
    for name in names:
        if name not in known and name != ORACLE:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}" if near else f"; there are {', '.join(known)}"
            raise UsageError(f"no system {name!r}{hint}?")
    return [system for name, system in known.items() if not names or name in names]
