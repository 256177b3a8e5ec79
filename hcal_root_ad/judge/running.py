"""The judgement of a run as it grows: after each further lumisection, the verdict that the whole run would get.

What is remembered of a sub-detector goes on from lumisection to lumisection. What the run as a whole decides (see
:mod:`hcal_root_ad.judge.plan`) may change as it grows; then that sub-detector is judged from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import channel_table
from hcal_root_ad.errors import BundleError, NoHcalError, UsageError
from hcal_root_ad.judge.channels import ChannelJudge
from hcal_root_ad.judge.coarse import judge_coarse, not_judged
from hcal_root_ad.judge.fitness import fits_channels
from hcal_root_ad.judge.forecast import Blocks
from hcal_root_ad.judge.growth import GrowingRun
from hcal_root_ad.judge.plan import Plan, Planner
from hcal_root_ad.judge.side_by_side import side_by_side
from hcal_root_ad.judge.verdict import RunVerdict, Verdict
from hcal_root_ad.learn.bundle import Bundle
from hcal_root_ad.references.catalogue import FindReference
from hcal_root_ad.learn.reconstruct import Reconstruction, Reconstructor, model_error
from hcal_root_ad.learn.series import MINIMUM_EVENTS, Series, assessable, blocks, series_of
from hcal_root_ad.lumi_maps import LumiMaps, Source

Progress = Callable[[int, int], None]


class RunJudge:
    """Judges one run, piece by piece.

    Args:
        false_alarms: wished false intervals per 100 LS and sub-detector; the bundle's own if not given.
        find_reference: finds a reference run for a detector that a bundle does not know; without it, or where it
            finds none that does, such a run is held against itself.

    Raises:
        BundleError: if two bundles are for the same sub-detector.
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        false_alarms: float | None = None,
        find_reference: FindReference | None = None,
    ) -> None:
        _check_bundles(bundles)
        self._bundles, self._false_alarms = tuple(bundles), false_alarms
        self._run: GrowingRun | None = None
        self._find_reference = find_reference
        self._planner = Planner(find_reference)
        self._judges: list[_SubdetectorJudge] = []

    def add(self, maps: LumiMaps, progress: Progress | None = None) -> None:
        """Judge further lumisections of the run, one or many, all later than those before.

        ``progress`` is called with (done, total) sub-detectors.

        Raises:
            InputError: if they are of another run, not later, or strips and run totals (which come as a whole).
            UsageError: if more false alarms are wished than can be.
        """
        if self._run is None:
            self._run = GrowingRun(maps)
        else:
            self._run.add(maps)
        if maps.coarse is None:
            self._go_on(self._run, progress)

    def _go_on(self, run: GrowingRun, progress: Progress | None) -> None:
        served = self._served(run)
        plans = self._planner.plans(run.maps, served)
        judges = [self._judge_for(plan) for plan in plans]
        self._judges = []

        def go_on(judge: _SubdetectorJudge, plan: Plan) -> _SubdetectorJudge:
            judge.go_on(run.maps, plan)
            return judge

        new = max((len(plan) - len(judge.plan) for judge, plan in zip(judges, plans, strict=True)), default=0)
        for judge in side_by_side(go_on, judges, plans, lumisections=new):
            self._judges.append(judge)
            if progress:
                progress(len(self._judges), len(served))

    def _judge_for(self, plan: Plan) -> _SubdetectorJudge:
        """The judge of before if the plan goes on from there, else one that begins."""
        for judge in self._judges:
            if judge.plan.bundle.subdetector == plan.bundle.subdetector and plan.goes_on(judge.plan):
                return judge
        return _SubdetectorJudge(plan, self._false_alarms)

    def _served(self, run: GrowingRun) -> list[Bundle]:
        """Bundles of the sub-detectors with digis, and of silent ones: a bundle says that it should not be silent."""
        found = _found(run)
        served = [bundle for bundle in self._bundles if bundle.subdetector in found]
        return [b for b in self._bundles if b in served or fits_channels(b, run.maps.channels)] if served else []

    def verdict(self) -> RunVerdict:
        """The verdict on all lumisections so far, equal to that on the run as a whole.

        Raises:
            NoHcalError: if no lumisection can be judged (so far). BundleError: if no bundle serves what the run holds.
        """
        if self._run is None:
            raise NoHcalError("no lumisection was given; nothing can be judged")
        maps, found = self._run.maps, _found(self._run)
        if maps.coarse is not None:
            return judge_coarse(maps, self._bundles, self._false_alarms, self._find_reference)
        if not found:
            raise NoHcalError(f"run {maps.run}: no digi of HB or HE in any lumisection; nothing can be judged")
        if not self._judges:
            have = ", ".join(f"{bundle.name} ({bundle.subdetector})" for bundle in self._bundles) or "none"
            raise BundleError(
                f"run {maps.run} holds {', '.join(found)}, the bundles given are {have}; give one that fits"
            )
        if not len(assessable(maps)):
            raise NoHcalError(
                f"run {maps.run}: no lumisection has HCAL maps and at least {MINIMUM_EVENTS} events; "
                "nothing can be judged"
            )
        served = [judge.plan.bundle.subdetector for judge in self._judges]
        verdicts = tuple(judge.verdict(maps) for judge in self._judges)
        return RunVerdict(maps, verdicts, notes=not_judged([*found, *served], self._bundles))

    def state(self, since: int = 0) -> dict[str, NDArray[Any]]:
        """What a process that restarts needs, as arrays that numpy saves without pickle.

        It is what was given, from the lumisection at position ``since`` on: what was judged follows from it exactly,
        in some milliseconds per lumisection. Saved piece by piece, nothing is written twice.

        Raises:
            UsageError: if the run came as strips and run totals.
        """
        if self._run is None:
            return {}
        if self._run.maps.coarse is not None:
            raise UsageError(f"run {self._run.maps.run}: strips and run totals come as a whole; judge the file anew")
        return _packed(self._run.maps, since)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up what :meth:`state` gave; the pieces in their order, if there are several."""
        if state:
            self.add(_unpacked(state))

    def __len__(self) -> int:
        """Lumisections so far."""
        return 0 if self._run is None else len(self._run.maps)


class _SubdetectorJudge:
    """Network and channel judge of one sub-detector, under one plan."""

    def __init__(self, plan: Plan, false_alarms: float | None) -> None:
        bundle = plan.bundle
        self.plan = plan.part(slice(0, 0))
        self._channels = ChannelJudge(bundle, bundle.false_alarms if false_alarms is None else false_alarms)
        self._reconstructor = Reconstructor(bundle.folded, bundle.reference.live)

    def go_on(self, maps: LumiMaps, plan: Plan) -> None:
        """Judge what a plan adds to the one before."""
        self._channels.prepare(len(maps))
        for series, rate, part in _with_rates(maps, plan.part(slice(len(self.plan), None))):
            kept = np.flatnonzero(~part.skipped)
            found = Reconstruction(part.activity, self._reconstructor.add(series, rate), rate)
            self._channels.add(series.part(kept), found.part(kept))
        self.plan = plan

    def verdict(self, maps: LumiMaps) -> Verdict:
        """The verdict on all lumisections so far."""
        kept = self.plan.part(np.flatnonzero(~self.plan.skipped))
        bundle = self.plan.bundle
        blocks = Blocks(len(kept))
        for series, rate, part in _with_rates(maps, kept):
            blocks.add(series, rate, model_error(bundle.reference, bundle.model_error, part.activity))
        return self._channels.verdict(maps, blocks.forecasts(bundle.reference.live), self.plan.notes)


def _with_rates(maps: LumiMaps, plan: Plan) -> Iterator[tuple[Series, NDArray[np.float32], Plan]]:
    """The lumisections of a plan, a few at a time, with the log λ that the reference gives."""
    for rows in blocks(len(plan)):
        part = plan.part(rows)
        series = series_of(maps, plan.bundle.subdetector, part.position)
        yield series, plan.rings.log_rate(part.activity, part.ring_shift), part


def _found(run: GrowingRun) -> tuple[str, ...]:
    """Sub-detectors with at least one digi."""
    channels = run.maps.channels
    return tuple(name for name in ("HB", "HE") if run.seen[channels.rows_of(name)].any())


def _check_bundles(bundles: Sequence[Bundle]) -> None:
    for bundle in bundles:
        same = [other.name for other in bundles if other.subdetector == bundle.subdetector]
        if len(same) > 1:
            raise BundleError(
                f"{' and '.join(same)} are both for {bundle.subdetector}; give one bundle per sub-detector"
            )


def _packed(maps: LumiMaps, since: int) -> dict[str, NDArray[Any]]:
    """Lumisections of a run from a position on, as arrays."""
    small = np.uint16 if maps.counts[since:].max(initial=0) < 2**16 else np.int32
    packed: dict[str, NDArray[Any]] = {
        name: getattr(maps, name)[since:] for name in ("lumisections", "events", "event_source", "present")
    }
    packed["counts"] = maps.counts[since:].astype(small)
    packed["run"], packed["era"] = np.array(maps.run), np.array(maps.channels.era.value)
    packed["raw_id"], packed["definition"] = maps.channels.raw_id, np.array(maps.definition)
    packed["notes"] = np.array(maps.notes, dtype=np.str_)
    for name in ("name", "size", "sha256"):
        packed[f"source_{name}"] = np.array([getattr(source, name) for source in maps.sources])
    return packed


def _unpacked(packed: Mapping[str, NDArray[Any]]) -> LumiMaps:
    """The maps that :func:`_packed` was given."""
    table = channel_table(str(packed["era"]))
    sources = zip(*(packed[f"source_{name}"].tolist() for name in ("name", "size", "sha256")), strict=True)
    return LumiMaps(
        run=int(packed["run"]),
        channels=table.take(table.rows_of_raw_ids(packed["raw_id"])),
        lumisections=packed["lumisections"],
        events=packed["events"],
        event_source=packed["event_source"],
        counts=packed["counts"].astype(np.int32),
        present=packed["present"],
        definition=str(packed["definition"]),
        sources=tuple(Source(*source) for source in sources),
        notes=tuple(packed["notes"].tolist()),
    )
