"""What does not work at present, each said once, and once more when it works again."""

from __future__ import annotations

from collections.abc import Callable


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
