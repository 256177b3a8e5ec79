"""A run while its files come: lumisections in order, and the judge that goes on where it was.

One that is missing is waited for, but not for ever. What was judged must be how the run begins. Where it is not,
because a lumisection came late, came again or changed what is known of others, the run is judged again from its
beginning, but what is common in the others, which they do not change, is not fitted again; so the verdict is always the
one on all files at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hcal_root_ad.conditions import UNKNOWN, Conditions, RunFacts
from hcal_root_ad.errors import InputError, NoHcalError
from hcal_root_ad.harvest.read import lumi_maps_of
from hcal_root_ad.judge.run import RunJudge
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.lumi_maps import LumiMaps, ls_ranges
from hcal_root_ad.machine import ScratchStore, iter_chunks
from hcal_root_ad.oms import read_conditions
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.watch.received import Arrival, Received


class Reach(NamedTuple):
    """Up to which lumisection a run may be judged, and which ones before it are passed over."""

    last: int
    missing: tuple[range, ...] = ()


def reach(arrivals: Iterable[Arrival], last: int, now: float, patience: float) -> Reach:
    """How far a run can be judged that was judged up to lumisection ``last`` (0: not yet).

    What follows without a gap is ready at once. Beyond a gap it is ready once it has waited ``patience`` seconds.
    A step as small as the smallest so far is no gap: snapshots may be saved every tenth lumisection.
    """
    ordered = sorted(arrivals, key=lambda arrival: arrival.last)
    overdue = max((arrival.last for arrival in ordered if now - arrival.seen >= patience), default=0)
    at, step, missing = 0, 0, []
    for arrival in ordered:
        begins = at == 0 and arrival.growing
        gap = arrival.first > at + (step or 1) and not begins
        if gap and arrival.last > max(last, overdue):
            break
        if gap and arrival.last > last:
            missing.append(range(at + 1, arrival.first))
        if arrival.last > at and (at or arrival.growing):
            step = min(step or arrival.last, arrival.last - at)
        at = max(at, arrival.last)
    return Reach(max(at, last), tuple(missing))


@dataclass(frozen=True, eq=False)
class Step:
    """What came of new files: the verdict on the run so far, and what is new in it.

    ``late``: lumisections that had been passed over. ``again``: whether the run was judged from its beginning again.
    """

    verdict: RunVerdict
    files: tuple[Received, ...]
    lumisections: tuple[int, ...]
    late: tuple[int, ...]
    again: bool

    def following(self, earlier: Step) -> Step:
        """This step and an earlier one of which nothing came to light as one."""
        return replace(
            self,
            files=(*earlier.files, *self.files),
            lumisections=(*earlier.lumisections, *self.lumisections),
            late=(*earlier.late, *self.late),
            again=earlier.again or self.again,
        )


ConditionsNow = Callable[[], Conditions | None]
"""What is known by now."""


def nothing() -> None:
    """No conditions are known."""


class GrowingExport:
    """An OMS export that is written again while runs are taken; each call reads it again where it changed.

    What cannot be read is said once, and the conditions stay those that were read before.

    Raises:
        InputError: it cannot be read at the beginning; see :func:`read_conditions`.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._read = self._stamp()
        self._conditions = read_conditions(path, None)

    def __call__(self) -> Conditions | None:
        if (now := self._stamp()) != self._read:
            self._read = now
            try:
                self._conditions = read_conditions(self._path, None)
            except InputError as error:
                self._say(f"{error} What was read before holds.")
        return self._conditions

    def _stamp(self) -> tuple[int, int] | None:
        """Changes with the file; None where it is not there."""
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size


class RunInProgress:
    """One run: files are received as they come, and judged as far as they are in order.

    ``conditions``: what is known of runs beside their files, which may come to be known while a run lasts.
    """

    def __init__(
        self, run: int, judging: Judging, say: Callable[[str], None], conditions: ConditionsNow = nothing
    ) -> None:
        self.run = run
        self._judging, self._say, self._conditions = judging, say, conditions
        self._own = judging
        self._facts: tuple[RunFacts, frozenset[int]] = (UNKNOWN, frozenset())
        self._received: dict[Path, Received] = {}
        self._store = ScratchStore()
        self._used: dict[Path, Received] = {}
        self._aside: dict[Path, Received] = {}
        self._last = 0
        self._known: frozenset[int] = frozenset()
        self._judge: RunJudge | None = None
        self._judged: LumiMaps | None = None

    @property
    def newest(self) -> float:
        """When the last file came (s); 0 before any."""
        return max((received.seen for received in self._received.values()), default=0.0)

    @property
    def waits(self) -> bool:
        """Whether files wait for lumisections before them."""
        return bool(self._new())

    def take(self, received: Received) -> None:
        """A file, or the changed content of one."""
        self._received[received.path] = received.on(self._store)

    def advance(self, now: float, patience: float) -> Step | None:
        """Judge what has become ready; None where nothing has.

        Raises:
            HcalRootAdError: the run cannot be judged (yet); its files are kept.
        """
        passed, earlier = self._last, self._judged
        fitting = (one.arrival for path, one in self._received.items() if self._aside.get(path) is not one)
        reached = reach(fitting, passed, now, patience)
        for gap in reached.missing:
            self._say(f"run {self.run}: {ls_ranges(list(gap))} did not come in time, passed over for now.")
        self._last = reached.last
        ready = [received for received in self._new() if received.arrival.last <= reached.last]
        maps = self._use(ready) if ready else None
        if maps is None:
            return None
        conditions = self._conditions()
        if conditions is not None:
            maps = conditions.of(self.run).without_standby(maps)
        verdict = self._verdict(maps, conditions)
        before, self._known = self._known, frozenset(maps.lumisections.tolist())
        new = tuple(sorted(self._known - before))
        again = earlier is not None and not _begins_with(maps, earlier)
        return Step(verdict, tuple(ready), new, tuple(ls for ls in new if before and ls < passed), again)

    def _new(self) -> list[Received]:
        """Files that are neither used nor put aside, in the order in which they came."""
        used = (self._used, self._aside)
        new = [
            received
            for path, received in self._received.items()
            if not any(group.get(path) is received for group in used)
        ]
        return sorted(new, key=lambda received: (received.seen, received.arrival.last))

    def _use(self, ready: Sequence[Received]) -> LumiMaps | None:
        """The run with new files; those that contradict what came before are put aside, which may leave none."""
        try:
            return self._with(ready)
        except NoHcalError:
            raise
        except InputError:
            maps = None
        for received in ready:
            try:
                maps = self._with([received])
            except NoHcalError:
                continue
            except InputError as error:
                self._aside[received.path] = received
                self._say(f"run {self.run}: {received.path.name} is left out: {error}")
        return maps

    def _with(self, ready: Sequence[Received]) -> LumiMaps:
        """The run with more files, which are used from then on if they fit; without HCAL maps they fit, too."""
        used = self._used | {received.path: received for received in ready}
        try:
            maps = _lumi_maps(used)
        except NoHcalError:
            self._used = used
            raise
        self._used = used
        return maps

    def _verdict(self, maps: LumiMaps, conditions: Conditions | None) -> RunVerdict:
        facts, pileup = (UNKNOWN, frozenset[int]()), dict[int, float]()
        if conditions is not None:
            facts = conditions.of(self.run).for_state(0.0), conditions.runs | {self.run}
            pileup = dict(conditions.of(self.run).pileup)

        def since(start: int) -> RunFacts:
            return UNKNOWN if conditions is None else conditions.for_state(self.run, start)

        judge, done = self._judge, len(self._judged or ())
        begins = self._judged is None or not _begins_with(maps, self._judged)
        if maps.coarse is not None or judge is None or begins or facts != self._facts:
            self._own = replace(self._judging, taken=self._judging.taken | facts[1]).for_run(maps, since)
            judge, done = self._own.run_judge(pileup), 0
            judge = judge.after(self._judge) if self._judge else judge
        if maps.coarse is not None:
            self._judge = self._judged = None
            return self._own.finished(self._own.judge_run(maps, pileup=pileup))
        judge.know(pileup)
        self._judge = None  # what breaks while it is judged is judged again
        if done < len(maps):
            judge.add(maps.rows(slice(done, None)))
        self._judge, self._judged, self._facts = judge, maps, facts
        verdict = self._own.without_masked(replace(judge.verdict(), maps=maps))
        return self._own.finished(verdict)


def _lumi_maps(used: Mapping[Path, Received]) -> LumiMaps:
    """One run's maps as ``run`` would read them from these files."""
    files = [used[path] for path in sorted(used)]
    try:
        (maps,) = lumi_maps_of(
            [received.content for received in files], {received.path: received.source for received in files}
        )
    except InputError as error:
        if len({received.source.sha256 for received in files}) == 1:
            # A first snapshot is opened once more, and may be gone by then; the next one needs it all the same.
            raise NoHcalError(f"nothing can be judged yet ({error})") from error
        raise
    return maps


def _begins_with(maps: LumiMaps, earlier: LumiMaps) -> bool:
    """Whether the first lumisections of some maps are those of earlier ones, to the last digi."""
    pairs: tuple[tuple[np.ndarray, np.ndarray], ...] = (
        (maps.lumisections, earlier.lumisections),
        (maps.events, earlier.events),
        (maps.present, earlier.present),
        *((maps.present_of(name), earlier.present_of(name)) for name in ("HO", "HF")),
    )
    now, before = maps.counts[: len(earlier)], earlier.counts
    return (
        len(now) == len(before)
        and all(np.array_equal(array[: len(other)], other) for array, other in pairs)
        and all(np.array_equal(now[rows], before[rows]) for rows in iter_chunks(now, before))
    )
