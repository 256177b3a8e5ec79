"""This version's judge: models adapted to the clean runs as ``transfer`` does it, then ``judge_run`` and ``certify``.

Everything that the suite uses of the judge's interface is in this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.certify.certification import HCAL, certify_run
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import State
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from hcal_root_ad.model.transfer import transfer
from hcal_root_ad.pipeline import SHIPPED_MODELS
from hcal_root_ad.publish.saved_verdict import record_of
from studies.stress.judged import Certified, JudgedRun, Line


def current_judge(clean_runs: Sequence[LumiMaps], maps: LumiMaps, asked: float) -> JudgedRun:
    """Judge by models that were adapted to the clean runs."""
    verdict = judge_run(maps, adapted(tuple(clean_runs)), false_alarms=asked)
    certification = tuple(
        Certified(flag.status.value) if flag.status.value in Certified.__members__ else Certified.NOTSET
        for flag in certify_run(record_of(verdict), load_policy()).flags[HCAL]
    )
    lines, flagged = lines_of_verdict(verdict), flagged_pairs(verdict)
    notes = tuple(dict.fromkeys(verdict.every_note))
    trust = verdict.trust
    return JudgedRun(lines, flagged, str(trust), trust.trusted, certification, len(verdict.verdicts), notes)


@lru_cache(maxsize=1)
def adapted(clean_runs: tuple[LumiMaps, ...]) -> tuple[Model, ...]:
    """Models adapted to the clean runs; the last ones are kept, for worlds of one clean run follow each other."""
    with TemporaryDirectory() as folder:
        return tuple(transfer(_without_network(name), clean_runs, Path(folder) / name) for name in SHIPPED_MODELS)


def _without_network(name: str) -> Model:
    """A shipped model; the network has no say in a judgement, and takes a minute to adapt."""
    return replace(load_model(name), architecture={}, weights={})


def flagged_pairs(verdict: RunVerdict) -> NDArray[np.bool_]:
    """(LS, channels of the maps) pairs that are problematic or bad."""
    flagged = np.zeros(verdict.maps.counts.shape, dtype=np.bool_)
    for judged in verdict.verdicts:
        flagged[:, verdict.maps.channels.rows_of(judged.subdetector)] = judged.states >= State.PROBLEMATIC
    return flagged


def lines_of_verdict(verdict: RunVerdict) -> tuple[Line, ...]:
    """The findings as lines; rows are columns of the maps."""
    lines = []
    for finding in verdict.findings:
        columns = verdict.maps.channels.rows_of(finding.subdetector)[list(finding.rows)]
        size = finding.observed / finding.expected if finding.expected else None
        lines.append(Line(finding.unit, str(finding.kind), finding.ranges, tuple(columns.tolist()), size))
    return tuple(lines)
