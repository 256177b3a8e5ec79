"""Flat exports as ROOT files: one histogram per element and lumisection, whose key says which (``run1_ls2_Hcal_…``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from hcal_root_ad.detector import Era, era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.definition import (
    ContainerKind,
    Definition,
    Element,
    FileContent,
    fitting_subsystem,
    load_definitions,
)
from hcal_root_ad.harvest.depth_maps import WantedMaps, in_batches, is_map, read_maps
from hcal_root_ad.harvest.harvested import KeyStock, Stored
from hcal_root_ad.harvest.inputs import InputFile
from hcal_root_ad.harvest.lumisection import LumisectionCounts, check_numbers, maps_of, where
from hcal_root_ad.root_io.layout import Key, top_folder, walk_folders

_FIELDS = {"run": r"(?P<run>\d{1,10})", "lumisection": r"(?P<lumisection>\d{1,10})", "element": r"(?P<element>.+)"}


def key_patterns() -> list[re.Pattern[str]]:
    """What keys look like, by the definitions of flat exports."""
    texts = dict.fromkeys(d.keys for d in load_definitions() if d.keys)
    return [re.compile(re.escape(text).replace(r"\{", "{").replace(r"\}", "}").format(**_FIELDS)) for text in texts]


def is_flat(names: Sequence[str]) -> bool:
    """Whether the names at the top of a file are those of a flat export."""
    return any(pattern.fullmatch(name) for name in names for pattern in key_patterns())


class FlatFile:
    """An open flat export; elements are known by their full names with ``_`` for ``/``."""

    kind = ContainerKind.FLAT
    format = "flat export (one histogram per element and lumisection)"

    def __init__(self, root: Any, path: InputFile) -> None:
        self._root, self.path = root, path
        patterns = key_patterns()
        self._stored: dict[str, dict[tuple[int, int], Stored]] = {}
        self._names: dict[tuple[str, int, int], str] = {}
        for key in _keys(root):
            match = next((fit for pattern in patterns if (fit := pattern.fullmatch(key.name))), None)
            if match:
                self._add(match, key)
        self.runs = tuple(sorted({run for places in self._stored.values() for run, _ in places}))
        self.elements: Mapping[str, Element] = {
            name: Element(name, next(iter(places.values())).classname, len(places))
            for name, places in sorted(self._stored.items())
        }

    def _add(self, match: re.Match[str], key: Key) -> None:
        run, lumisection, element = int(match["run"]), int(match["lumisection"]), match["element"].replace("/", "_")
        check_numbers(self.path, run, lumisection)
        other = self._names.setdefault((element, run, lumisection), key.name)
        if other != key.name:
            raise InputError(f"{self.path} has the keys {other} and {key.name} of the same element and lumisection.")
        stored = Stored(key.class_name, f"{key.name};{key.cycle}", key)
        self._stored.setdefault(element, {})[run, lumisection] = stored

    def element(self, name: str) -> Element | None:
        return self.elements.get(name.replace("/", "_"))

    def last_lumisection(self, definition: Definition) -> int:  # noqa: ARG002
        return max((ls for places in self._stored.values() for _, ls in places), default=0)

    def content(self, definition: Definition, within: range | None = None) -> FileContent:
        subsystem = fitting_subsystem(self, definition) or definition.subsystems[0]
        sections: dict[tuple[int, int], LumisectionCounts] = {}
        kinds: dict[tuple[str, Era], list[tuple[LumisectionCounts, int, Stored]]] = {}
        for number in dict.fromkeys(number for run in self.runs for number in maps_of(era_of_run(run))):
            places = self._stored.get(definition.map_element(subsystem, number).replace("/", "_"), {})
            for (run, ls), stored in places.items():
                if within is None or ls in within:
                    section = sections.setdefault((run, ls), LumisectionCounts(run, ls))
                    kinds.setdefault((stored.classname, era_of_run(run)), []).append((section, number, stored))
        for (classname, era), maps in kinds.items():
            self._fill(classname, era, maps, partial(self._words, definition, subsystem))
        return FileContent(self.path, definition, tuple(sections[place] for place in sorted(sections)))

    def _fill(
        self, classname: str, era: Era, places: Sequence[tuple[LumisectionCounts, int, Stored]], words: Any
    ) -> None:
        if not is_map(classname):
            section, number, _ = places[0]
            raise InputError(f"{words(section, number)} is a {classname}; a TH2 was expected.")
        stock = KeyStock(self._root, [stored for _, _, stored in places])
        sections = list({id(section): section for section, _, _ in places}.values())
        row_of = {id(section): n for n, section in enumerate(sections)}
        asked = (WantedMaps.one(n, row_of[id(section)], number) for n, (section, number, _) in enumerate(places))
        for maps in read_maps(stock, in_batches(asked, stock.size), era):
            maps.add_to(sections[maps.part], partial(words, sections[maps.part]))

    def _words(self, definition: Definition, subsystem: str, section: LumisectionCounts, number: int) -> str:
        return where(self.path, definition.map_element(subsystem, number), section.run, section.lumisection)


def _keys(root: Any) -> Iterator[Key]:
    """The newest keys at the top of a file."""
    source = root.file.source
    return (key for _, key in walk_folders(source, top_folder(source), levels=1))
