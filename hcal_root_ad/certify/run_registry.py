"""Ranges as the Run Registry gives them: by run, a list of ``start``, ``end`` and a flag for each column.

Form of the ``runregistry`` client's ``get_lumisection_ranges``; a column is ``{workspace}-{column}`` with status, cause
and comment. ``hcal-hcal`` is what the golden JSON asks for, ``hcal-hb`` … ``hcal-ho`` are the workspace's own.
"""

from __future__ import annotations

from typing import Any

from hcal_root_ad.certify.certification import HCAL, RunCertification
from hcal_root_ad.certify.explain import comment
from hcal_root_ad.certify.policy import SUBDETECTORS

COLUMNS = {HCAL: "hcal-hcal", **{name: f"hcal-{name.lower()}" for name in SUBDETECTORS}}
"""What is certified, and its column."""


def registry_ranges(run: RunCertification) -> list[dict[str, Any]]:
    """The ranges of one run."""
    return [
        {"start": first, "end": last}
        | {
            column: {
                "status": str(rulings[of].status),
                "cause": rulings[of].cause,
                "comment": comment(run, of, first, last),
            }
            for of, column in COLUMNS.items()
        }
        for first, last, rulings in run.stretches()
    ]
