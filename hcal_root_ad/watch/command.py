"""A command of the user's own, for each alarm or each file: it gets what it is about as its last argument.

The watch never waits for it: one that does not end is ended after ``PATIENCE`` seconds, a failure is told once.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress

from hcal_root_ad.errors import UsageError
from hcal_root_ad.watch.complaints import Complaints

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
