"""The judgement of a run: what is common, what is left, and whose fault it is.

Maps and models in, a verdict out. Lumisections may come piece by piece (:class:`RunJudge`): the common part of each is
fitted once, the scan for faults looks at all so far, so the verdict is that on the run as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.errors import ModelError, NoHcalError, UsageError
from hcal_root_ad.judge.findings import JudgedDigis, channel_name
from hcal_root_ad.judge.forecast import with_forecasts
from hcal_root_ad.judge.grouping import grouped
from hcal_root_ad.judge.lumisections import MINIMUM_EVENTS, GrowingRun, JudgedRows, judged_rows
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.shared_pileup import ASKED, SharedPileup, asked_of, hf_trust, info_of, one_against_the_others
from hcal_root_ad.judge.subdetector import hf_faults, trusted_rows, verdict_of
from hcal_root_ad.judge.verdict import Trust, Verdict
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.machine import ROWS, Cells
from hcal_root_ad.model.common_part import CommonLevels, CommonPartFit, common_part_fit, joined
from hcal_root_ad.model.model import Model
from hcal_root_ad.model.reference import JointReference, Reference, joint_reference
from hcal_root_ad.model.reference_fit import reference_of_run
from hcal_root_ad.stats.binomial import Floats

Progress = Callable[[int, int], None]
FindReference = Callable[[LumiMaps], Mapping[str, Reference]]
"""Finds references of a reference run that fits a run, by sub-detector."""
FindMasked = Callable[[LumiMaps], NDArray[np.intp]]
"""Rows of the channels of a run that are not to be judged."""

TOGETHER = ("HB", "HE", "HO")
"""Sub-detectors that see the same pileup; HF counts every event and needs none."""
CONTRADICTED = 0.1
"""Log pileup of the counts that is off that of OMS by more is not believed."""
DARK = -4.5
"""Below this log pileup (1 % of the clean runs') there were no collisions, or nothing was read out."""
TYPICAL_POWER, POWER_WIDTH = 0.8, 0.15
"""Log rate of HB against the log of the pileup, and how far it may differ."""
NOISE = 0.02
"""Scatter of the counts' log pileup about it."""
AWAKE, SHOWN = 0.01, 8
"""Digis per event from which on a masked channel is alive; names that a note lists at most."""
FEWEST = 5
"""Lumisections with a pileup that are needed to tell anything."""
PARTNERS = 100
"""Others that each lumisection is compared with, so that the work grows with their number only."""


def judge_run(
    maps: LumiMaps,
    models: Sequence[Model],
    *,
    false_alarms: float | None = None,
    find_reference: FindReference | None = None,
    without_reference: bool = False,
    pileup: Mapping[int, float] | None = None,
    find_masked: FindMasked | None = None,
    progress: Progress | None = None,
) -> RunVerdict:
    """Judge every sub-detector that the maps hold and a model serves.

    Args:
        false_alarms: false findings per 100 LS and sub-detector that are asked for; the model's own if not given.
        find_reference: finds references for a detector that a model does not know.
        without_reference: judge the run against itself; nothing of it is then trusted.
        pileup: mean interactions per crossing by LS, from OMS; it decides what the counts alone cannot, for example
            whether HB and HE both lost digis or the beams did.
        find_masked: channels that have no say in anything, and are not connected in the verdict.
        progress: called with (done, total) lumisections.

    Raises:
        ModelError: if two models are for the same sub-detector, or none serves what the run holds.
        NoHcalError: if no lumisection can be judged.
    """
    judge = RunJudge(
        models, false_alarms, find_reference, without_reference=without_reference, pileup=pileup,
        find_masked=find_masked,
    )  # fmt: skip
    judge.add(maps, progress)
    return judge.verdict()


class RunJudge:
    """Judges one run, piece by piece; arguments as those of :func:`judge_run`."""

    def __init__(
        self,
        models: Sequence[Model],
        false_alarms: float | None = None,
        find_reference: FindReference | None = None,
        *,
        without_reference: bool = False,
        pileup: Mapping[int, float] | None = None,
        find_masked: FindMasked | None = None,
    ) -> None:
        places = [(model.subdetector, model.channels.era) for model in models]
        if twice := {name for name, era in places if places.count((name, era)) > 1}:
            raise ModelError(f"two models for {', '.join(sorted(twice))} were given; give one per sub-detector")
        self._given, self._false_alarms = tuple(models), false_alarms
        self._models = {model.subdetector: model for model in models}
        self._find_reference, self._without_reference = find_reference, without_reference
        self._pileup, self._find_masked = dict(pileup or {}), find_masked
        self._run: GrowingRun | None = None
        self._fit: CommonPartFit | None = None
        self._joint: JointReference | None = None
        self._levels: list[CommonLevels] = []
        self._before: RunJudge | None = None

    def __len__(self) -> int:
        """Lumisections so far."""
        return 0 if self._run is None else len(self._run.maps)

    def add(self, maps: LumiMaps, progress: Progress | None = None) -> None:
        """Judge further lumisections of the run, one or many, all later than those before.

        Raises:
            InputError: if they are of another run, not later, or strips and run totals (which come as a whole).
        """
        if self._run is None:
            self._run = GrowingRun(maps)
            own = [model for model in self._given if model.channels.era == maps.channels.era]
            self._models = {model.subdetector: model for model in own or self._given}
        else:
            self._run.add(maps)
        run = self._run.maps
        if run.coarse is not None or self._without_reference:
            return
        if self._joint is None and (served := self._served(run)):
            self._joint = self._without_masked(
                joint_reference([self._models[name].reference for name in served], run.channels), run
            )
            self._fit = common_part_fit(self._joint.reference)
        if self._joint is not None and self._fit is not None:
            rows = judged_rows(run)
            new = rows.from_row(sum(map(len, self._levels)))
            if len(new):
                self._levels.append(self._fitted(run, new))
            if progress:
                progress(len(rows), len(rows))

    def after(self, before: RunJudge) -> RunJudge:
        """This judge, before it is given anything, taking over what another has fitted of the same run.

        A lumisection came late, or another way: the common part of those that are as before is not fitted again.
        """
        self._before = before
        return self

    def know(self, pileup: Mapping[int, float]) -> None:
        """The pileup by LS as far as it is known by now: the verdict is the one of a judge that was given it."""
        self._pileup = dict(pileup)

    def _fitted(self, run: LumiMaps, rows: JudgedRows) -> CommonLevels:
        """The common part of rows, which those beside them do not change."""
        assert self._joint is not None
        assert self._fit is not None
        counts, events = rows.counts(run, self._joint.columns), rows.events(run)
        before, self._before = self._before, None
        if before is None or before._run is None or before._joint is None or not _same(before._joint, self._joint):
            return self._fit.fit(counts, events)
        earlier = judged_rows(before._run.maps)
        own = earlier.counts(before._run.maps, before._joint.columns), earlier.events(before._run.maps)
        same = _equal_rows((counts, events, rows.lumisections(run)), (*own, earlier.lumisections(before._run.maps)))
        new = np.flatnonzero(same < 0)
        kept = joined([*before._levels, self._fit.fit(rows.chosen(new).counts(run, self._joint.columns), events[new])])
        same[new] = len(earlier) + np.arange(len(new))
        return kept.rows(same)

    def _served(self, run: LumiMaps) -> list[str]:
        """Sub-detectors that are judged together: in the maps, with a model of these channels, and not all masked."""
        masked = self._masked(run)
        return [
            name for name in TOGETHER
            if name in self._models and run.present_of(name).any() and self._models[name].serves(run.channels)
            and not masked[run.channels.rows_of(name)].all()
        ]  # fmt: skip

    def _masked(self, run: LumiMaps) -> NDArray[np.bool_]:
        """(channels,) those that are not to be judged."""
        masked = np.zeros(len(run.channels), dtype=bool)
        if self._find_masked:
            masked[self._find_masked(run)] = True
        return masked

    def _without_masked(self, joint: JointReference, run: LumiMaps) -> JointReference:
        masked = self._masked(run)[joint.columns]
        if not masked.any():
            return joint
        return replace(joint, reference=replace(joint.reference, live=joint.reference.live & ~masked))

    def verdict(self) -> RunVerdict:
        """The verdict on all lumisections so far, equal to that on the run as a whole.

        Raises:
            NoHcalError: if no lumisection can be judged (so far). ModelError: if no model serves what the run holds.
        """
        if self._run is None:
            raise NoHcalError("no lumisection was given; nothing can be judged")
        maps = self._run.maps
        if maps.coarse is not None:
            from hcal_root_ad.judge.coarse import judge_coarse

            asked = min((asked_of(model, self._false_alarms) for model in self._models.values()), default=ASKED)
            return judge_coarse(maps, self._by_itself, asked)
        if not maps.found:
            why = next((note for note in maps.notes if note.endswith("not assessed.")), "")
            reason = "no digi of HB or HE in any lumisection" if maps.present.any() or not why else why.rstrip(".")
            raise NoHcalError(f"run {maps.run}: {reason}; nothing can be judged")
        rows = judged_rows(maps)
        if not len(rows):
            raise NoHcalError(
                f"run {maps.run}: no lumisection has HCAL maps and at least {MINIMUM_EVENTS} events; "
                "nothing can be judged"
            )
        if self._without_reference:
            return self._against_itself(maps, rows)
        if self._joint is None:
            have = ", ".join(f"{m.name} ({m.subdetector}, {m.channels.era})" for m in self._models.values()) or "none"
            raise ModelError(
                f"run {maps.run} holds {', '.join(maps.found)} of {maps.channels.era}, the models given are {have}; "
                "give one that fits, or adapt one with transfer"
            )
        base = dict.fromkeys(self._joint.names, Trust.ADAPTED)
        levels = self._with_pileup(maps, rows, joined(self._levels))
        judgement = self._judge(maps, rows, self._joint, levels, base)
        strangers = [v.subdetector for v in judgement.verdicts if v.trust is Trust.NONE]
        if strangers and self._find_reference and (references := self._find_reference(maps)):
            judgement = self._with_references(maps, rows, judgement, strangers, references)
        return judgement

    def _with_pileup(self, maps: LumiMaps, rows: JudgedRows, levels: CommonLevels) -> CommonLevels:
        """The levels, fitted again where the pileup from elsewhere contradicts that of the counts."""
        assert self._joint is not None
        assert self._fit is not None
        numbers = rows.lumisections(maps)
        mean = np.array([np.mean([self._pileup.get(int(ls), np.nan) for ls in block]) for block in numbers])
        expected = expected_log_pileup(mean, levels.log_pileup)
        again = np.flatnonzero(np.abs(levels.log_pileup - expected) > CONTRADICTED)
        if not len(again):
            return levels
        some = rows.chosen(again)
        counts, events = some.counts(maps, self._joint.columns), some.events(maps)
        return levels.replaced(again, self._fit.fit(counts, events, expected[again]))

    def _by_itself(self, maps: LumiMaps) -> RunVerdict:
        """The verdict on a run that was made of this one."""
        return judge_run(
            maps, list(self._models.values()), false_alarms=self._false_alarms, find_reference=self._find_reference,
            without_reference=self._without_reference, find_masked=self._find_masked,
        )  # fmt: skip

    def _with_references(
        self,
        maps: LumiMaps,
        rows: JudgedRows,
        first: RunVerdict,
        strangers: list[str],
        references: Mapping[str, Reference],
    ) -> RunVerdict:
        """The judgement on a reference run, of the sub-detectors that no model knows and that it does."""
        assert self._joint is not None
        usable = [
            name for name in strangers
            if name in references
            and np.array_equal(references[name].channels.raw_id, maps.channels.select(name).raw_id)
        ]  # fmt: skip
        if not usable:
            return first
        chosen = [references[n] if n in usable else self._models[n].reference for n in self._joint.names]
        joint = self._without_masked(joint_reference(chosen, maps.channels), maps)
        levels = common_part_fit(joint.reference).fit(rows.counts(maps, joint.columns), rows.events(maps))
        base = {name: Trust.REFERENCE_RUN if name in usable else Trust.ADAPTED for name in joint.names}
        return self._judge(maps, rows, joint, levels, base)

    def _against_itself(self, maps: LumiMaps, rows: JudgedRows) -> RunVerdict:
        names = [name for name in TOGETHER if name in maps.found]
        columns = np.concatenate([maps.channels.rows_of(name) for name in names])
        reference = reference_of_run(
            maps.channels.take(columns), np.asarray(rows.counts(maps, columns)), rows.events(maps)
        )
        joint = joint_reference([reference.select(name) for name in names], maps.channels)
        joint = self._without_masked(joint, maps)
        levels = common_part_fit(joint.reference).fit(rows.counts(maps, joint.columns), rows.events(maps))
        return self._judge(maps, rows, joint, levels, dict.fromkeys(names, Trust.NONE))

    def _judge(
        self, maps: LumiMaps, rows: JudgedRows, joint: JointReference, levels: CommonLevels, base: Mapping[str, Trust]
    ) -> RunVerdict:
        lit = np.flatnonzero(levels.log_pileup > DARK)
        notes = _dark_note(rows, maps, levels.log_pileup <= DARK)
        rows, levels = rows.chosen(lit), levels.rows(lit)
        if not len(rows):
            raise NoHcalError(f"run {maps.run}: no lumisection with collisions; nothing can be judged")
        verdicts, common = SharedPileup(maps, rows, joint, levels).judge(self._models, self._false_alarms, base)
        if not self._pileup:
            verdicts = one_against_the_others(verdicts)
        masked = self._masked(maps)
        if (hf := self._models.get("HF")) and hf.serves(maps.channels) and len(maps.channels.rows_of("HF")):
            trust = hf_trust(verdicts, hf.name)
            verdicts.append(_judge_hf(maps, rows, hf, self._false_alarms, trust, masked))
        unjudged = tuple(
            name for name in maps.found
            if name not in {v.subdetector for v in verdicts} and not masked[maps.channels.rows_of(name)].all()
        )  # fmt: skip
        notes += [f"no model for {name}: its channels were not judged" for name in unjudged]
        notes += [note for name in joint.names if (note := _awake_note(maps, rows, joint, name, masked))]
        if not joint.shared:
            notes.append(
                f"{' and '.join(joint.names)} were adapted on different clean runs: a loss of one sub-detector as a "
                "whole is not seen; adapt them on the same runs"
            )
        return RunVerdict(
            maps, tuple(map(with_forecasts, verdicts)), notes=tuple(notes), common=common, unjudged=unjudged
        )

    def state(self, since: int = 0) -> dict[str, NDArray[Any]]:
        """What a process that restarts needs, as arrays that numpy saves without pickle: what was given, from the
        lumisection at position ``since`` on. What was judged follows from it exactly.

        Raises:
            UsageError: if the run came as strips and run totals.
        """
        if self._run is None:
            return {}
        if self._run.maps.coarse is not None:
            raise UsageError(f"run {self._run.maps.run}: strips and run totals come as a whole; judge the file again")
        from hcal_root_ad.judge.lumisections import packed

        return packed(self._run.maps, since)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up what :meth:`state` gave; the pieces in their order, if there are several."""
        if state:
            from hcal_root_ad.judge.lumisections import unpacked

            self.add(unpacked(state))


_Rows = tuple[Cells[np.int32], NDArray[np.int64], list[NDArray[np.int32]]]
"""Counts, events and lumisections of judged rows."""


def _same(one: JointReference, other: JointReference) -> bool:
    """Whether fits against two references are the same: only who is masked may be written again."""
    a, b = one.reference, other.reference
    return a is b or (a.level is b.level and np.array_equal(a.live, b.live))


def _equal_rows(now: _Rows, before: _Rows) -> NDArray[np.intp]:
    """(rows now,) which row before is of the same lumisections and equal to the last digi, −1 where none is."""
    place = {tuple(numbers.tolist()): row for row, numbers in enumerate(before[2])}
    same = np.array([place.get(tuple(numbers.tolist()), -1) for numbers in now[2]], dtype=np.intp)
    there = np.flatnonzero(same >= 0)
    for first in range(0, len(there), ROWS):
        some = there[first : first + ROWS]
        equal = (now[1][some] == before[1][same[some]]) & (now[0][some] == before[0][same[some]]).all(axis=1)
        same[some[~equal]] = -1
    return same


def _judge_hf(
    maps: LumiMaps, rows: JudgedRows, model: Model, false_alarms: float | None, trust: tuple[Trust, str],
    masked: NDArray[np.bool_],
) -> Verdict:  # fmt: skip
    own = maps.channels.rows_of("HF")
    counts, events, live = rows.counts(maps, own), rows.events(maps), model.reference.live & ~masked[own]
    agree = np.flatnonzero(trusted_rows(counts, events, live))
    if len(agree) < len(rows):
        doubt = (
            f"{len(rows) - len(agree)} of {len(rows)} event counts are contradicted by HF, which is not judged there"
        )
        trust = Trust.OTHER_PERIOD, "; ".join(filter(None, (trust[1], doubt)))
    rows, events = rows.chosen(agree), events[agree]
    counts = rows.counts(maps, own)
    channels = maps.channels.select("HF")
    trials = events.astype(np.float32)
    expected = Cells(counts.shape, np.dtype(np.float32), lambda r, c: np.multiply.outer(trials[r], live[c]))
    still = np.zeros((len(rows), 1), np.float32)
    judged = JudgedDigis(
        "HF", channels, own, live, counts, expected, events, np.zeros(len(own)), np.zeros_like(own), still
    )
    faults = grouped(hf_faults(counts, events, channels, live), channels, live)
    info = info_of(model, 0.0, asked_of(model, false_alarms))
    return verdict_of(judged, faults, maps, rows, info, trust, 1.0, maps.present_of("HF"))


def _awake_note(maps: LumiMaps, rows: JudgedRows, joint: JointReference, name: str, masked: NDArray[np.bool_]) -> str:
    """Of channels that the model holds for masked, and that count as their rings do; "" without any."""
    own = joint.rows_of(name)
    columns = joint.columns[own]
    asleep = ~joint.reference.live[own] & maps.channels.instrumented[columns] & ~masked[columns]
    if not asleep.any():
        return ""
    digis = rows.counts(maps, columns[asleep])[:].sum(axis=0, dtype=np.int64)
    awake = np.flatnonzero(asleep)[digis > AWAKE * int(rows.events(maps).sum())]
    if not len(awake):
        return ""
    names = [channel_name(maps.channels, int(columns[k])) for k in awake[:SHOWN]]
    more = f" and {len(awake) - SHOWN} more" if len(awake) > SHOWN else ""
    return (
        f"{len(awake)} channels of {name} that its model holds for masked have digis, and are not judged "
        f"({', '.join(names)}{more}); adapt it with transfer"
    )


def _dark_note(rows: JudgedRows, maps: LumiMaps, dark: NDArray[np.bool_]) -> list[str]:
    if not dark.any():
        return []
    numbers = [int(ls) for row in np.flatnonzero(dark) for ls in maps.lumisections[rows.position[row]]]
    shown = ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
    return [f"{len(numbers)} lumisections not assessed, hardly a digi in HB and HE (no collisions?): LS {shown}"]


def _slopes(x: Floats, y: Floats) -> Floats:
    """Slopes between points that are not too near to each other: of all pairs, or of ``PARTNERS`` for each point."""
    steps = np.unique(np.linspace(1, len(x) - 1, min(len(x) - 1, PARTNERS)).astype(int)).tolist()
    run, rise = (np.concatenate([values[step:] - values[:-step] for step in steps]) for values in (x, y))
    apart = np.abs(run) > 0.02
    return np.asarray(rise[apart] / run[apart])


def expected_log_pileup(pileup: Floats, observed: Floats) -> Floats:
    """(LS,) the log pileup that counts should show, NaN where none is given.

    ``pileup``: (LS,) mean interactions per crossing, NaN where unknown; ``observed``: (LS,) what the counts show.
    Offset and power of one against the other are taken from the run, by its majority (Theil and Sen).
    """
    usable = np.flatnonzero(np.isfinite(pileup) & (pileup > 0))
    out = np.full(len(pileup), np.nan)
    if len(usable) < FEWEST:
        return out
    x, y = np.log(pileup[usable]), observed[usable].astype(np.float64)
    middle = np.median(x)
    slopes = _slopes(x, y)
    reach = float(np.std(x))
    believed = reach**2 / (reach**2 + (NOISE / POWER_WIDTH) ** 2)
    power = TYPICAL_POWER + (believed * (np.median(slopes) - TYPICAL_POWER) if len(slopes) else 0.0)
    offset = np.median(y - power * (x - middle))
    out[usable] = offset + power * (x - middle)
    return out
