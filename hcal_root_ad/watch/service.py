"""The watch itself: look into the folder, judge what is new, publish, say one line; again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hcal_root_ad.errors import HcalRootAdError, InputError, NoHcalError, OutputError, UsageError, fault_sentence
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.machine import release_all
from hcal_root_ad.pipeline import Judging
from hcal_root_ad.provenance import Option, Provenance
from hcal_root_ad.publish.publish import publish, target_path
from hcal_root_ad.watch import messages
from hcal_root_ad.watch.alarms import (
    NAME,
    Alarm,
    AlarmLog,
    Change,
    Event,
    Place,
    Severity,
    changes,
    entry_of,
    not_judged,
)
from hcal_root_ad.watch.intake import Intake, Read, Say, reader
from hcal_root_ad.watch.received import Received, ReceivedFiles
from hcal_root_ad.watch.run_in_progress import ConditionsNow, RunInProgress, Step, nothing

PAUSE = 0.2
"""Seconds between two looks, at least."""
RETRY = 10.0
"""Seconds after which what could not be written is tried again, where no lumisection comes before."""
KEPT = 3
"""Newest runs whose counts are kept in any case; those of an older one go once its files have left the folder."""


@dataclass(frozen=True)
class WatchSettings:
    """``patience``: seconds that a missing lumisection, or a file that is not whole, is waited for.

    ``digest``: a status line comes every so many lumisections. ``minimum_severity``: alarms about less are in the log
    only. ``on_alarm``, ``on_publish``: commands for each alarm and each published file, "" for none. ``register``:
    address of a GUI that is told of each file. ``definition``: harvester definition, None for the one that fits.
    """

    folder: Path
    output: Path
    patience: float = 60.0
    online: bool = False
    digest: int = 1
    minimum_severity: Severity = Severity.CHANNEL
    on_alarm: str = ""
    on_publish: str = ""
    register: str = ""
    definition: str | None = None

    @property
    def options(self) -> dict[str, Option | None]:
        """What changes the file of a run."""
        return {"online": self.online, "definition": self.definition}

    def check(self) -> None:
        """Raises InputError or UsageError where there is nothing to watch, or the output would be watched, too."""
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; name the one in which the DQM leaves its files.")
        if self.output.resolve().is_relative_to(self.folder.resolve()):
            raise UsageError(f"{self.output} is in the folder that is watched; choose another place with -o.")


@dataclass(eq=False)
class _Open:
    """A run that is being received, its alarms, the last step until it is published, and what no status line said yet.

    ``latency``: the longest of the steps in ``unsaid`` (s). ``failing_since``: when it could not be judged first (s).
    """

    run: int
    progress: RunInProgress
    alarms: dict[Place, Alarm]
    unpublished: Step | None = None
    tried: float = 0.0
    path: Path | None = None
    unsaid: Step | None = None
    latency: float | None = None
    failing_since: float | None = None
    said: int = 0


class Watch:
    """Watches one folder; each :meth:`look` handles all that is there.

    Args:
        say: gets every line for people.
        clock: the time (s since 1970).
        read: reads one file.
        conditions: what is known of runs beside their files.

    Raises:
        InputError, UsageError: the settings cannot be used.
    """

    def __init__(
        self, settings: WatchSettings, judging: Judging, say: Say,
        clock: Callable[[], float] = time.time, read: Read | None = None, conditions: ConditionsNow = nothing,
    ) -> None:  # fmt: skip
        settings.check()
        self._settings, self._judging, self._say, self._clock = settings, judging, say, clock
        self._conditions = conditions
        self._complaints = messages.Complaints(say)
        self._on_alarm = messages.Command("--on-alarm", settings.on_alarm, self._complaints, clock)
        self._on_publish = messages.Command("--on-publish", settings.on_publish, self._complaints, clock)
        self._registration = messages.Registration(settings.register, self._complaints)
        self._log = AlarmLog(settings.output / NAME, judging.provenance("watch", [], settings.options))
        self._files = ReceivedFiles(settings.output, settings.folder, say, settings.definition)
        self._intake = Intake(settings.folder, settings.patience, say, read or reader(settings.definition))
        self._unsaved: list[Received] = []
        self._runs: dict[int, _Open] = {}
        self._begun, self._newest = clock(), 0
        for run in self._files.runs():
            self._intake.settle(self._files.stamps(run))
            if not self._files.is_over(run):
                self._open(run)

    def forever(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Look again and again, and rest as long as the last look took: a verdict looks at the whole run so far."""
        while True:
            begun = self._clock()
            self.look()
            sleep(max(PAUSE, self._intake.effort, self._clock() - begun))

    def once(self) -> None:
        """Handle what is there; with no patience at all. Raises OutputError where something stays unwritten."""
        self.look()
        for run in self._runs.values():
            self._say_status(run)
        self._on_alarm.finish()
        self._on_publish.finish()
        if self._unsaved or self._log.waits or any(run.unpublished for run in self._runs.values()):
            raise OutputError(f"{self._settings.output}: not everything could be written; watch again to write it.")

    def look(self) -> None:
        """Take what is whole, judge what is in order, publish what is new."""
        try:
            for received in self._intake.look(self._clock()):
                try:
                    self._take(received)
                except Exception as error:  # one file that breaks us must not keep the next one from being judged
                    sentence = f"{received.path.name} cannot be received ({error!r})."
                    self._complaints.add(str(received.path), sentence, partial(fault_sentence, error))
            self._complaints.settle("folder", f"{self._settings.folder} can be listed again.")
        except OSError as error:
            self._complaints.add("folder", f"{self._settings.folder} cannot be listed ({error.strerror}); tried again.")
        self._save()
        for run in sorted(self._runs):
            self._advance(self._runs[run])
        for run in sorted(self._runs):
            self._end(self._runs[run])
        self._on_alarm.look()
        self._on_publish.look()
        release_all()

    def _open(self, run: int) -> _Open:
        """A run with what is kept of it."""
        progress = RunInProgress(run, self._judging, self._say, self._conditions)
        before = self._files.stamps(run)
        kept = self._files.load(run)
        self._intake.again(before.keys() - {received.path for received in kept})
        for received in kept:
            progress.take(received)
        if kept:
            self._say(f"run {run}: goes on with the {len(kept)} files that were received before.")
        self._files.reopen(run)
        self._newest = max(run, self._newest)
        alarms: dict[Place, Alarm] = {}
        try:
            alarms = self._log.active(run)
        except InputError as error:
            self._complaints.add("alarms", str(error))
        self._runs[run] = _Open(run, progress, alarms)
        return self._runs[run]

    def _take(self, received: Received) -> None:
        run = self._runs.get(received.run) or self._open(received.run)
        run.progress.take(received)
        self._unsaved.append(received)
        self._save()

    def _save(self) -> None:
        """Keep what was received. What the disk does not take is tried again; until then only this process has it.

        Counts that cannot be kept, whatever the disk does, are known to this process alone.
        """
        try:
            while self._unsaved:
                received = self._unsaved[0]
                try:
                    self._files.save(received)
                except OSError:
                    raise
                except Exception as error:
                    sentence = (
                        f"{received.path.name} is judged, but what was received of it cannot be kept ({error!r})."
                    )
                    self._complaints.add(f"state of {received.path}", sentence, partial(fault_sentence, error))
                del self._unsaved[0]
            self._complaints.settle("state", "What was received is saved again.")
        except OSError as error:
            self._complaints.add("state", f"What was received cannot be saved ({error.strerror}); tried again.")

    def _advance(self, run: _Open) -> None:
        """Judge what is ready; alarms first, then the file."""
        now, about = self._clock(), f"run {run.run}"
        try:
            step = run.progress.advance(now, self._settings.patience)
        except HcalRootAdError as error:
            self._complaints.add(about, f"{about}: {error}")
            self._not_judged(run, str(error), now, self._settings.patience if isinstance(error, NoHcalError) else 0.0)
            return
        except Exception as error:  # one run that breaks the judge must not keep the next one from being judged
            sentence = f"{about} cannot be judged ({error!r})."
            self._complaints.add(about, sentence, partial(fault_sentence, error))
            self._not_judged(run, sentence, now, 0.0)
            return
        if step:
            self._complaints.settle(about)
            run.failing_since = None
            self._alarm(run, step, now)
            run.unpublished = step if run.unpublished is None else step.following(run.unpublished)
        if run.unpublished and (step or now - run.tried >= RETRY):
            run.tried = now
            self._publish(run, run.unpublished)
        self._write_alarms()

    def _not_judged(self, run: _Open, sentence: str, now: float, patience: float) -> None:
        """An alarm where a run cannot be judged; what may only be too little data yet is waited for."""
        run.failing_since = now if run.failing_since is None else run.failing_since
        alarm = not_judged(sentence)
        if alarm.place not in run.alarms and now - run.failing_since >= patience:
            run.alarms[alarm.place] = alarm
            self._tell(run, [Change(Event.RAISED, alarm)], 0, now)

    def _alarm(self, run: _Open, step: Step, now: float) -> None:
        failed = run.alarms.pop(not_judged("").place, None)
        run.alarms, changed = changes(run.alarms, step.verdict)
        judged_again = [Change(Event.CLEARED, failed)] if failed else []
        self._tell(run, [*judged_again, *changed], int(step.verdict.maps.lumisections[-1]), now)

    def _tell(self, run: _Open, changed: Sequence[Change], lumisection: int, now: float) -> None:
        """Changes of alarms to the log, and those that are severe enough to people."""
        self._log.add(changed, run.run, lumisection, now)
        self._write_alarms()
        for change in changed:
            if change.louder and change.alarm.severity.rank >= self._settings.minimum_severity.rank:
                sentence = messages.alarm_sentence(run.run, change)
                self._say(sentence)
                self._on_alarm.start(sentence, json.dumps(entry_of(change, run.run, lumisection, now)))

    def _write_alarms(self) -> None:
        try:
            self._log.write()
            self._complaints.settle("alarms", "The log of alarms is written again.")
        except OSError as error:
            self._complaints.add("alarms", f"The log of alarms cannot be written ({error.strerror}); tried again.")

    def _publish(self, run: _Open, step: Step) -> None:
        about = f"file of run {run.run}"
        try:
            provenance = self._judging.provenance("watch", [step.verdict], self._settings.options)
            run.path = self._write(step.verdict, provenance)
        except HcalRootAdError as error:
            self._complaints.add(about, f"run {run.run} is not published, tried again: {error}")
            return
        except Exception as error:  # as in judging
            sentence = f"run {run.run} is not published ({error!r}), tried again."
            self._complaints.add(about, sentence, partial(fault_sentence, error))
            return
        run.unpublished = None
        self._complaints.settle(about, f"run {run.run} is published again.")
        received_at = [received.seen for received in step.files if received.seen >= self._begun]
        first = run.unsaid is None and run.said == 0
        if received_at:
            run.latency = max(self._clock() - min(received_at), run.latency or 0.0)
        run.unsaid = step if run.unsaid is None else step.following(run.unsaid)
        if first or step.late or step.again or len(run.unsaid.lumisections) >= self._settings.digest:
            self._say_status(run)

    def _write(self, verdict: RunVerdict, provenance: Provenance) -> Path:
        """A file of a version of its own: the newer GUI crashes where one is replaced."""
        output, online = self._settings.output, self._settings.online
        version = messages.next_version(target_path(verdict.maps, output, online=online))
        path = publish(verdict, output, online=online, provenance=provenance, version=version)
        messages.forget_older(path)
        self._on_publish.start(str(path))
        self._registration.tell(path, verdict.maps.run)
        return path

    def _say_status(self, run: _Open) -> None:
        """The status line on all steps since the one before."""
        if run.unsaid:
            self._say(messages.status_sentence(run.unsaid, run.alarms.values(), run.latency))
            run.unsaid, run.latency, run.said = None, None, run.said + 1

    def _end(self, one: _Open) -> None:
        """Let go of a run once a later one has begun and nothing of it is waited for."""
        quiet = self._clock() - one.progress.newest >= self._settings.patience
        if one.run == self._newest or not quiet or one.progress.waits or one.unpublished or self._unsaved:
            return
        try:
            self._files.end(one.run)
        except OSError as error:
            self._complaints.add("state", f"The end of run {one.run} cannot be saved ({error.strerror}); tried again.")
            return
        del self._runs[one.run]
        self._say_status(one)
        alarms = f"{len(one.alarms)} alarm{'s' * (len(one.alarms) != 1)}"
        self._say(f"run {one.run}: over, {alarms} still raised, {one.path or 'nothing published'}")
        for run in self._files.runs()[:-KEPT]:
            if self._files.is_over(run) and not self._files.stamps(run).keys() & self._intake.lying.keys():
                self._files.forget(run)
