"""What people edit: definitions, models, policies and reference runs by name, and plain tables as dataclasses.

The user's own is found first, then the shipped. In a table every key is known and every value of its field's type, and
else there is one sentence.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from hcal_root_ad.errors import HcalRootAdError, InputError
from hcal_root_ad.tables import shown

if TYPE_CHECKING:
    from cattrs import Converter


Kind = Literal["harvesters", "models", "policies", "reference_runs"]

SEARCH_VARIABLE = "HCAL_ROOT_AD_PATH"
"""Environment variable: folders (separated as in PATH) that hold ``harvesters``, ``models``, …."""


def search_path(kind: Kind) -> tuple[Path, ...]:
    """Existing folders of a kind, in the order in which names are looked up."""
    return tuple(folder / kind for folder in (*_own(), *_shipped()) if (folder / kind).is_dir())


def own_folder(kind: Kind) -> Path | None:
    """The user's first folder of a kind, there or not yet; None where the user has named none, or the shipped one."""
    own = _own()
    if not own or own[0].resolve() in [folder.resolve() for folder in _shipped()]:
        return None
    return own[0] / kind


def _own() -> list[Path]:
    return [Path(entry) for entry in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if entry]


def _shipped() -> tuple[Path, Path]:
    """An installed wheel carries the content inside the package; a checkout has it beside the package."""
    package = Path(__file__).parent
    return package / "content", package.parent


def find(kind: Kind, name: str) -> Path | None:
    """The file or folder ``name`` of a kind, or None."""
    return next((folder / name for folder in search_path(kind) if (folder / name).exists()), None)


def names(kind: Kind, pattern: str = "*") -> tuple[str, ...]:
    """Sorted names of a kind that match a glob pattern; hidden files are left out."""
    names = {path.name for folder in search_path(kind) for path in folder.glob(pattern)}
    return tuple(sorted(name for name in names if not name.startswith(".")))


T = TypeVar("T")


def structure(
    table: object, kind: type[T], origin: str, error: type[HcalRootAdError] = InputError, place: str = ""
) -> T:
    """A plain table as a dataclass (or list, or mapping of them): every key known, every value of its field's type.

    ``origin`` begins the sentence, ``place`` is where the table stands in it (``rules.HB``).

    Raises:
        error: a key is unknown (the nearest known one is named) or missing, a value of another type.
    """
    from cattrs import BaseValidationError

    try:
        return _converter().structure(table, kind)
    except (BaseValidationError, _Mismatch, AttributeError, TypeError) as failure:  # the last two: no table at all
        raise error(f"{origin} {_complaint(failure, place)}") from failure


def check_keys(
    table: Mapping[str, object], keys: Collection[str], origin: str, error: type[HcalRootAdError], place: str = ""
) -> None:
    """Raises ``error`` for the first key that is not known, with the nearest that is."""
    for key in table:
        if key not in keys:
            raise error(f"{origin} {_unknown(key, keys, place)}")


def nearest(name: str, names: Iterable[str], n: int = 1) -> tuple[str, ...]:
    """The known names that are most like one, best first."""
    return tuple(difflib.get_close_matches(name, sorted(names), n=n, cutoff=0.0))


class _Mismatch(Exception):
    """A value of another type than its field: ``value`` and what was ``expected``, in words."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(value, expected)
        self.value, self.expected = value, expected


_NUMBERS: dict[type, tuple[type | UnionType, str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (int | float, "a number"),
}


@cache
def _converter() -> Converter:
    """Structures strictly: a text is no number, and nothing is rounded."""
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in _NUMBERS:
        converter.register_structure_hook(kind, _number)
    converter.register_structure_hook(str, _text)
    for origin, words, of in ((tuple, "a list", list), (Mapping, "a table", dict)):
        converter.register_structure_hook_func(
            partial(_is_of, origin), partial(_members, converter, words=words, container=of)
        )
    return converter


def _number(value: Any, kind: type) -> Any:
    fits, words = _NUMBERS[kind]
    return kind(_checked(value, words, isinstance(value, fits) and (kind is bool or not isinstance(value, bool))))


def _text(value: Any, kind: type) -> Any:
    """A text, or (``kind``) a member of a :class:`StrEnum`."""
    if issubclass(kind, StrEnum):
        return kind(_checked(value, f"one of {', '.join(kind)}", value in [*kind]))
    return _checked(value, "a text", isinstance(value, str))


def _is_of(origin: Any, kind: Any) -> bool:
    return get_origin(kind) is origin and (origin is Mapping or get_args(kind)[-1] is Ellipsis)


def _members(converter: Converter, value: object, kind: Any, words: str, container: type) -> Any:
    """A tuple of any length, or a mapping, with its members structured, too."""
    of = tuple(arg for arg in get_args(kind) if arg is not Ellipsis)
    members: Any = converter.structure(_checked(value, words, isinstance(value, container)), container[of])  # type: ignore[index]
    return tuple(members) if container is list else members


def _checked(value: Any, expected: str, fits: bool) -> Any:
    if not fits:
        raise _Mismatch(value, expected)
    return value


def _complaint(failure: BaseException, place: str) -> str:
    """What is wrong, and where, in the first of the complaints of a conversion; unknown keys come first."""
    from cattrs import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError, IterableValidationNote

    for note in getattr(failure, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            place = _joined(place, note.name)
        elif isinstance(note, IterableValidationNote):
            place = f"{place}[{note.index + 1}]" if isinstance(note.index, int) else _joined(place, note.index)
    if isinstance(failure, ForbiddenExtraKeysError):
        return _unknown(min(failure.extra_fields), [field.name for field in fields(failure.cl)], place)
    if isinstance(failure, BaseValidationError):
        order = sorted(failure.exceptions, key=lambda each: not isinstance(each, ForbiddenExtraKeysError))
        return _complaint(order[0], place)
    if isinstance(failure, _Mismatch):
        return f"says {place} = {shown(failure.value)}; {failure.expected} was expected."
    if isinstance(failure, KeyError):
        return f"lacks the key {place}."
    return f"has no table {place}".rstrip() + ", where one was expected."


def _unknown(key: object, keys: Collection[str], place: str) -> str:
    (like,) = nearest(str(key), keys)
    return f"has the unknown key {_joined(place, key)}; the nearest known one is {_joined(place, like)}."


def _joined(place: str, key: object) -> str:
    name = key if isinstance(key, str) and key.isprintable() and len(key) < 60 else shown(key)
    return f"{place}.{name}" if place else str(name)
