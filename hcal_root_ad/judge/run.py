"""The main job on one run: maps and bundles in, a verdict out."""

from __future__ import annotations

from collections.abc import Sequence

from hcal_root_ad.judge.running import Progress, RunJudge
from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.learn.catalogue import FindReference
from hcal_root_ad.lumi_maps import LumiMaps


def judge_run(
    maps: LumiMaps,
    bundles: Sequence[Bundle],
    *,
    false_alarms: float | None = None,
    find_reference: FindReference | None = None,
    progress: Progress | None = None,
) -> RunVerdict:
    """Judge every sub-detector that the maps hold and a bundle serves.

    Args:
        false_alarms: wished false intervals per 100 LS and sub-detector; the bundle's own if not given.
        find_reference: finds a reference run for a detector that a bundle does not know (see :class:`RunJudge`).
        progress: called with (done, total) sub-detectors.

    Raises:
        BundleError: if two bundles are for the same sub-detector, or none serves what the run holds.
        NoHcalError: if no lumisection can be judged.
    """
    judge = RunJudge(bundles, false_alarms, find_reference)
    judge.add(maps, progress)
    return judge.verdict()
