"""What the watch tells whom: lines for people, a user's own command, and a GUI that is told of each file.

The newer GUI keeps files open: one that is replaced under its name shows old lumisections, or crashes the server, while
a new name that is registered works. The classic GUI takes the highest version of a run by itself. The watch never waits
for a command: one that does not end is ended after ``PATIENCE`` seconds, a failure is told once.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from hcal_root_ad.errors import UsageError
from hcal_root_ad.harvest.read import granularity
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import State, StripVerdict
from hcal_root_ad.lumi_maps import ls_ranges
from hcal_root_ad.publish.gui_rules import dataset_of_name
from hcal_root_ad.watch.alarms import CERTAINLY, CLEARED_AFTER, Alarm, Change, Event
from hcal_root_ad.watch.run_in_progress import Step


class Complaints:
    """Sentences by what they are about; ``say`` gets those that are new."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._standing: dict[str, str] = {}

    def add(self, about: str, sentence: str, more: Callable[[], str] = str) -> None:
        """Something does not work (still); ``more`` gives what is said behind the sentence, where that is new."""
        if self._standing.get(about) != sentence:
            self._say(f"{sentence} {more()}".rstrip())
        self._standing[about] = sentence

    def settle(self, about: str, sentence: str = "") -> None:
        """Something works (again); ``sentence`` says so where it did not before."""
        if self._standing.pop(about, None) and sentence:
            self._say(sentence)


def status_sentence(step: Step, alarms: Collection[Alarm], latency: float | None) -> str:
    """Run, lumisections, events, what is flagged in the newest, alarms, seconds from file seen to file published."""
    maps = step.verdict.maps
    events = int(maps.events[np.isin(maps.lumisections, step.lumisections)].sum())
    words = [
        f"run {maps.run}",
        ls_ranges(list(step.lumisections)) if step.lumisections else "no new LS",
        f"{events} events",
        _flagged_now(step.verdict),
        f"{len(alarms)} alarm{'s' * (len(alarms) != 1)}",
    ]
    if step.late:
        words.append(f"{ls_ranges(list(step.late))} late")
    if step.again:
        words.append("judged again")
    if maps.coarse:
        words.append(f"judged as {granularity(maps.coarse)}")
    if latency is not None:
        words.append(f"{latency:.2f} s")
    return " | ".join(words)


def alarm_sentence(run: int, change: Change) -> str:
    """Such as ``run 370101: ALARM raised: HEP07 dead, RBX, 184 channels, LS 6–8, ×0 [box]``."""
    alarm = change.alarm
    loud = change.event in (Event.RAISED, Event.GROWN)
    about = f"run {run}: {'ALARM' if loud else 'alarm'} {change.event}: {alarm.unit} {alarm.kind}"
    if alarm.reason:
        words = [f"{about}: {alarm.reason}"]
    else:
        words = [about, alarm.what, ls_ranges([*range(alarm.first, alarm.last + 1)]), alarm.rate,
                 alarm.sure if alarm.sure != CERTAINLY else "", *_aside(change)]  # fmt: skip
    return f"{', '.join(filter(None, words))} [{alarm.severity}]"


def _aside(change: Change) -> Iterator[str]:
    if change.event is Event.GROWN:
        more = f" and {len(change.parts) - 1} more" if len(change.parts) > 1 else ""
        yield f"was {change.parts[0]}{more}"
    elif change.event is Event.CLEARED:
        yield f"good for {CLEARED_AFTER} LS"
    elif change.event is Event.WITHDRAWN:
        yield "with more LS it is not found any more"


def _flagged_now(verdict: RunVerdict) -> str:
    """How many channels (or strips) are flagged in the newest lumisection, if it was assessed."""
    by_lumisection = [each for each in verdict.judged if isinstance(each, StripVerdict) or each.granularity != "run"]
    newest = [each.states[-1] for each in by_lumisection if each.assessed[-1]]
    if not newest:
        return "not assessed"
    return f"{sum(int((states >= State.PROBLEMATIC).sum()) for states in newest)} flagged"


PATIENCE = 60.0
"""Seconds that the command may take."""


class Command:
    """Runs the command of an option, if there is one. Raises UsageError where it cannot be found."""

    def __init__(self, option: str, command: str, complaints: Complaints, clock: Callable[[], float]) -> None:
        self._option, self._words = option, _words(option, command)
        self._complaints, self._clock = complaints, clock
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []

    def start(self, argument: str, content: str = "") -> None:
        """Start the command, with a last argument and a line on its input."""
        if not self._words:
            return
        try:
            process = subprocess.Popen(
                [*self._words, argument], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            self._complaints.add(self._option, f"{self._option}: {self._words[0]} cannot be run ({error.strerror}).")
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it need not read
            process.stdin.write(content.encode() + b"\n")
            process.stdin.close()
        self._running.append((process, self._clock()))

    def look(self) -> None:
        """Take notice of commands that ended; end those that do not."""
        still = []
        for process, started in self._running:
            code = process.poll()
            if code is None and self._clock() - started < PATIENCE:
                still.append((process, started))
            elif code is None:
                process.kill()
                process.wait()
                self._complaints.add(
                    self._option, f"{self._option}: {self._words[0]} did not end in {PATIENCE:.0f} s, ended."
                )
            elif code:
                self._complaints.add(self._option, f"{self._option}: {self._words[0]} failed with exit code {code}.")
            else:
                self._complaints.settle(self._option)
        self._running = still

    def finish(self) -> None:
        """Wait for what runs, with patience, where the watch itself ends."""
        for process, _ in self._running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        self.look()


def _words(option: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{option} {command}: {error}; quote it as a shell would want it.") from error
    if words and shutil.which(words[0]) is None:
        raise UsageError(f"{option}: there is no program {words[0]}; name one that can be run.")
    return words


VERSIONS_KEPT = 3
"""Newest versions of a run's file that stay: a GUI may still be reading the one before."""
GUI_PATIENCE = 3.0
"""Seconds in which a GUI must answer."""
_VERSION = re.compile(r"DQM_V(\d{4})_")
_CLASSIC_FORMAT = 1
"""What the newer GUI calls a file of histograms in folders (``dqmgui`` ``python/data_types.py``)."""


def next_version(first: Path) -> int:
    """The version after the highest that is there; ``first``: the file under version 1."""
    return max((version for version, _ in _versions(first)), default=0) + 1


def forget_older(path: Path) -> None:
    """Remove all but the newest versions of a file."""
    for _, old in sorted(_versions(path))[:-VERSIONS_KEPT]:
        old.unlink(missing_ok=True)


def _versions(path: Path) -> list[tuple[int, Path]]:
    """Versions of a file that lie in its folder."""
    rest = _VERSION.sub("", path.name, count=1)
    matches = ((_VERSION.match(file.name), file) for file in path.parent.glob(f"DQM_V????_{rest}"))
    return [(int(match[1]), file) for match, file in matches if match]


class Registration:
    """Tells the newer GUI of each file (POST to ``/api/v1/register``), if there is an address.

    Raises:
        UsageError: the address is none of HTTP.
    """

    def __init__(self, address: str, complaints: Complaints) -> None:
        if address and urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise UsageError(f"--register {address}: expected the address of a GUI, such as http://localhost:8889.")
        self._address, self._complaints = address.rstrip("/"), complaints

    def tell(self, path: Path, run: int) -> None:
        """Register a file; where that fails, it is said once, and the next file is registered all the same."""
        if not self._address:
            return
        sample = {
            "dataset": dataset_of_name(path.name), "run": str(run), "lumi": "0",
            "file": str(path.absolute()), "fileformat": _CLASSIC_FORMAT,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{self._address}/api/v1/register", json.dumps([sample]).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=GUI_PATIENCE).close()
        except urllib.error.HTTPError as error:
            self._complain(f"answered {error.code} {error.reason}")
        except (OSError, ValueError) as error:
            self._complain(f"cannot be reached ({getattr(error, 'reason', error)})")
        else:
            self._complaints.settle("register", f"{self._address} takes files again.")

    def _complain(self, what: str) -> None:
        self._complaints.add("register", f"--register: {self._address} {what}; the file is written all the same.")
