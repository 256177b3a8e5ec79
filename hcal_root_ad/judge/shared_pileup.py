"""Sub-detectors that share a pileup, judged together: units and channels are scanned, then each gets its verdict.

How far its channels scatter about the model says how far the verdict can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.judge.channels import ChannelScan, Residuals, card_of, scan_channels
from hcal_root_ad.judge.findings import JudgedDigis
from hcal_root_ad.judge.levels import UnitLevels, common_part, unit_levels
from hcal_root_ad.judge.lumisections import JudgedRows
from hcal_root_ad.judge.subdetector import not_judged, verdict_of
from hcal_root_ad.judge.unit_faults import faults_of
from hcal_root_ad.judge.units import SPEAKS, Expectation, UnitFault, expectation, scan_units
from hcal_root_ad.judge.verdict import CommonPart, Level, ModelInfo, Trust, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.machine import Cells
from hcal_root_ad.model.common_part import CommonLevels
from hcal_root_ad.model.model import Model, thresholds
from hcal_root_ad.model.reference import JointReference, Reference
from hcal_root_ad.model.unit_tree import UnitTree
from hcal_root_ad.stats.binomial import Floats

ASKED = 0.5
"""False findings per 100 LS that are asked for where no model says how many."""
LESS_SENSITIVE = 1.6
"""Scatter of the channels, in widths that health allows, above which the model is one of another period."""
STRANGER = 4.0
"""The same, above which nothing is judged: another detector gives 4.5 to 18, offsets of 3 % or drift × 4 some 2."""


@dataclass(frozen=True, eq=False)
class _ScanResults:
    """What the scans of one sub-detector gave, for ``asked`` false findings."""

    name: str
    units: tuple[UnitFault, ...]
    channels: ChannelScan
    asked: float

    def sound(self, size: int) -> NDArray[np.bool_]:
        """(rows,) where the sub-detector as a whole is not at fault."""
        sound = np.ones(size, dtype=bool)
        for fault in self.units:
            if fault.level is Level.SUBDETECTOR:
                sound &= ~fault.rows(size)
        return sound


@dataclass(frozen=True, eq=False)
class SharedPileup:
    """Judged rows of the sub-detectors that share a pileup."""

    maps: LumiMaps
    rows: JudgedRows
    joint: JointReference
    levels: CommonLevels

    def judge(
        self, models: Mapping[str, Model], false_alarms: float | None, base: Mapping[str, Trust]
    ) -> tuple[list[Verdict], CommonPart]:
        """A verdict on each sub-detector, and the common part of them."""
        scans = [self._scanned(name, asked_of(models.get(name), false_alarms)) for name in self.tree.subdetector.names]
        scans = _losses_before_gains(scans, len(self.rows))
        judged = [scan for scan in scans if scan.channels.width <= STRANGER or base[scan.name] is Trust.NONE]
        flagged = [fault for scan in judged for fault in scan.units]
        healthy = expectation(self.levels, self.units, self.tree, self.reference, flagged)
        verdicts = [
            self._verdict(scan, models.get(scan.name), base[scan.name], healthy if scan in judged else None)
            for scan in scans
        ]
        if self.reference.unit_errors:  # of a detector state, which learns from what is measured
            verdicts = [self._measured(verdict, scan) for verdict, scan in zip(verdicts, scans, strict=True)]
        sound = {scan.name: scan.sound(len(self.rows)) for scan in judged}
        return verdicts, common_part(self.maps, self.rows, self.levels, self.units, self.tree, sound)

    def _measured(self, verdict: Verdict, scan: _ScanResults) -> Verdict:
        """The verdict with what the run says of each unit."""
        from hcal_root_ad.judge.measured import measure

        came = self.maps.present_of(scan.name)
        present = np.array([came[position].all() for position in self.rows.position], dtype=bool)
        teaching = scan.sound(len(self.rows)) & present
        return replace(verdict, measured=measure(self.residuals, self.units, scan.name, teaching))

    @property
    def reference(self) -> Reference:
        return self.joint.reference

    @property
    def tree(self) -> UnitTree:
        return self.reference.tree

    @cached_property
    def live(self) -> NDArray[np.intp]:
        """Rows of the joint reference that are judged."""
        return np.flatnonzero(self.reference.live)

    @cached_property
    def counts(self) -> Cells[np.int32]:
        """(rows, channels of the joint reference) digis."""
        return self.rows.counts_by_channel(self.maps, self.joint.columns)

    @cached_property
    def events(self) -> NDArray[np.int64]:
        """(rows,) events."""
        return self.rows.events(self.maps)

    @cached_property
    def units(self) -> UnitLevels:
        """Series of all units."""
        return unit_levels(self.levels, self.tree, self.reference)

    @cached_property
    def residuals(self) -> Residuals:
        """What is left of the channels."""
        return Residuals(self.reference, self.live, self.counts, self.events, self.levels)

    @cached_property
    def _width(self) -> Floats:
        """(channels of the joint reference,) how far a healthy channel is off, of its rate; 0 where none is live."""
        width = np.zeros(len(self.reference.live))
        width[self.live] = np.sqrt(self.residuals.prior)
        return width

    def _scanned(self, name: str, asked: float) -> _ScanResults:
        limits = thresholds(asked, _series(self.reference, name))
        d = self.tree.subdetector.names.index(name)
        units = scan_units(
            self.units, self.tree, self.reference, d, limits,
            across=self.joint.shared and len(self.joint.names) > 1,
            log_pileup=self.levels.log_pileup.astype(np.float64),
        )  # fmt: skip
        columns = np.flatnonzero(self.tree.subdetector.of[self.live] == d)
        return _ScanResults(name, units, scan_channels(self.residuals, columns, limits), asked)

    def _verdict(self, scan: _ScanResults, model: Model | None, base: Trust, healthy: Expectation | None) -> Verdict:
        """The verdict on one sub-detector; without a healthy expectation nothing knows it, and it is not judged."""
        own, width = self.joint.rows_of(scan.name), scan.channels.width
        live = self.reference.live[own]
        info = info_of(model, scan.channels.threshold, scan.asked)
        trust = trust_of(width, base, model.name if model else "the run itself")
        if healthy is None:
            return not_judged(scan.name, self.maps, live, info, trust, width)
        judged = JudgedDigis(
            scan.name, self.reference.channels.select(scan.name), own, live,
            self.rows.counts(self.maps, self.joint.columns[own]), healthy.counts(self.events, own), self.events,
            self._width[own], self.tree.module.of[own], healthy.moved,
        )  # fmt: skip
        came = self.maps.present_of(scan.name)
        present = np.array([came[position].all() for position in self.rows.position], dtype=bool)
        faults = faults_of(judged, scan.units, scan.channels, self.live, self.tree)
        cut = (replace(fault, inside=fault.inside & present) for fault in faults)
        faults = [fault for fault in cut if fault.inside.any()]
        verdict = verdict_of(judged, faults, self.maps, self.rows, info, trust, width, came)
        return replace(verdict, notes=tuple(self._undecided(verdict)))

    def _undecided(self, verdict: Verdict) -> Iterator[str]:
        """Of findings of two modules of a box that may as well be the other two."""
        units, names = {finding.unit for finding in verdict.findings}, self.tree.module.names
        for weak in self.units.weak:
            named, others = ([names[m] for m in modules] for modules in (weak.modules, weak.sound))
            if not weak.decided and units.issuperset(named):
                yield f"{' and '.join(named)} are off {' and '.join(others)}; their box's level does not tell which"


def _losses_before_gains(scans: list[_ScanResults], size: int) -> list[_ScanResults]:
    """Scans without the small gain of a sub-detector while another one loses.

    The pileup that they share takes up half of what they differ by, so a loss of the one looks like a gain of the
    other.
    """
    losing = np.zeros(size, dtype=bool)
    for scan in scans:
        for fault in scan.units:
            if fault.level is Level.SUBDETECTOR and fault.sign < 0:
                losing |= fault.rows(size)
    return [
        replace(scan, units=tuple(fault for fault in scan.units if not _only_a_gain(fault, losing))) for scan in scans
    ]


def _only_a_gain(fault: UnitFault, losing: NDArray[np.bool_]) -> bool:
    if fault.level is not Level.SUBDETECTOR or fault.sign < 0 or max(s.shift for s in fault.stretches) > SPEAKS:
        return False
    inside = fault.rows(len(losing))
    return bool(2 * (inside & losing).sum() > inside.sum())


def asked_of(model: Model | None, false_alarms: float | None) -> float:
    """False findings per 100 LS that are asked for: those given, or the model's own."""
    if false_alarms is not None:
        return false_alarms
    return model.false_alarms if model else ASKED


@lru_cache(maxsize=16)
def _series(reference: Reference, name: str) -> dict[str, int]:
    """How many series of each level one sub-detector has."""
    part = reference.select(name)
    tree = part.tree
    sizes = {level: len(getattr(tree, level)) for level in ("subdetector", "half", "box", "module")}
    sizes["ring"] = len(tree.side_ring)
    card = card_of(part.channels)[part.live]
    return sizes | {"channel": int(part.live.sum()), "card": len(np.unique(card[card >= 0]))}


def info_of(model: Model | None, threshold: float, asked: float) -> ModelInfo:
    """What a verdict says of the model that it comes from."""
    if model is None:
        return ModelInfo("this run itself", "", "", threshold, asked)
    return ModelInfo(model.name, model.version, model.digest, threshold, asked)


def trust_of(width: float, base: Trust, model: str) -> tuple[Trust, str]:
    """Trust in the judgement of one sub-detector, and the reason in a sentence ("" where all is well).

    ``base``: what it was judged with, if that fits. ``model``: its name.
    """
    if base is Trust.NONE:
        return base, (
            "judged against this run itself; what was wrong for most of the run may not be seen, "
            "and the rest may be called wrong instead"
        )
    if width > STRANGER:
        return Trust.NONE, (
            f"{model} does not know this detector (channels scatter {width:.1f} times as much as it allows for); "
            "not judged; adapt the model with transfer on a clean run"
        )
    if width > LESS_SENSITIVE:
        return Trust.OTHER_PERIOD, (
            f"channels scatter {width:.1f} times as much about {model} as it allows for, so faults must be "
            f"{width:.1f} times as large to be seen; adapt it with transfer on a clean run of this period"
        )
    return base, ""


def hf_trust(others: Sequence[Verdict], model: str) -> tuple[Trust, str]:
    """Trust in the judgement of HF, whose counts are certain: only the list of its masked channels may be another's.

    ``others``: verdicts on the other sub-detectors. ``model``: the name of HF's.
    """
    if others and not any(verdict.trust.trusted for verdict in others):
        return Trust.OTHER_PERIOD, (
            f"which channels are masked is what {model} says, and no model knows the rest of this detector as it is; "
            "adapt it with transfer on a clean run of this period"
        )
    return Trust.ADAPTED, ""


def one_against_the_others(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, not trusted where a sub-detector seems to have gained as a whole: the others may have lost.

    Two that lose digis together look like a lower pileup to the third. The pileup from elsewhere would tell.
    """
    gained = [
        (verdict.subdetector, finding)
        for verdict in verdicts for finding in verdict.findings
        if finding.level is Level.SUBDETECTOR and finding.size > 1
    ]  # fmt: skip
    if not gained:
        return list(verdicts)
    name, finding = gained[0]
    reason = (
        f"{name} counts {100 * (finding.size - 1):.0f} % more than the other sub-detectors let expect in "
        f"LS {finding.first} to {finding.last}: it gained, or they lost; give the pileup, for example with --oms"
    )
    return [
        replace(verdict, trust=max(verdict.trust, Trust.OTHER_PERIOD, key=list(Trust).index),
                trust_reason="; ".join(filter(None, (verdict.trust_reason, reason))))
        for verdict in verdicts
    ]  # fmt: skip
