"""Source as modules: what their lines are, who imports whom, which names they bind; by Python's own parser."""

from __future__ import annotations

import ast
import io
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "hcal_root_ad"
FRONT = "front page"
"""The room of what lies at the top: the public names, and ``python -m``."""
PLACE_HOLDERS = frozenset({"one", "found", "part", "known", "told", "said", "seen", "wanted", "here"})
"""Words that name no thing. A name counts if one of its words, between underscores, is among them."""
MOST_LINES = 400
"""A module has no more."""
FEW_LINES = 10
"""A package whose own module has fewer has nothing in it: that is its front."""
KINDS = ("statements", "signatures", "fields of classes", "docstrings", "blank", "imports", "comments")


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def line_kinds(self) -> Counter[str]:
        """How many lines are of which of :data:`KINDS`; a blank line in a docstring belongs to it."""
        lines = enumerate(self.text.splitlines(), start=1)
        kinds = {
            number: "comments" if line.lstrip().startswith("#") else "statements" if line.strip() else "blank"
            for number, line in lines
        }
        for node in ast.walk(self.tree):
            match node:
                case ast.Import() | ast.ImportFrom():
                    kinds |= dict.fromkeys(_lines_of(node), "imports")
                case ast.Expr(value=ast.Constant(value=str())):
                    kinds |= dict.fromkeys(_lines_of(node), "docstrings")
                case ast.ClassDef(body=body) | ast.FunctionDef(body=body):
                    first = min(each.lineno for each in (node, *node.decorator_list))
                    head = range(first, max(body[0].lineno, node.lineno + 1))
                    kinds |= {number: "signatures" for number in head if kinds[number] == "statements"}
                    if isinstance(node, ast.ClassDef):
                        for field in (each for each in body if isinstance(each, ast.AnnAssign)):
                            kinds |= dict.fromkeys(_lines_of(field), "fields of classes")
        return Counter(kinds.values())

    @property
    def is_front(self) -> bool:
        """Whether it is no more than the front of a package."""
        return self.is_package and self.lines < FEW_LINES

    @property
    def import_lines(self) -> int:
        return self.line_kinds["imports"]

    @property
    def import_statements(self) -> int:
        return sum(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(self.tree))

    @property
    def statements(self) -> int:
        return sum(isinstance(node, ast.stmt) for node in ast.walk(self.tree))

    @property
    def classes(self) -> list[str]:
        return [node.name for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    def imported(self, names: frozenset[str]) -> set[str]:
        """Modules among ``names`` that this one imports, at its top or later, for types too."""
        targets = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= (inner & names) or {node.module}
        return (targets & names) - {self.name}

    def bound_names(self) -> Iterator[str]:
        """Names of functions, classes, arguments, variables and attributes, once for each time they are bound."""
        for node in ast.walk(self.tree):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                    yield name
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    yield name


@dataclass(frozen=True)
class Structure:
    """All modules of a package, by dotted name."""

    modules: dict[str, Module]

    @classmethod
    def read(cls, folder: Path) -> Structure:
        """All modules below a folder that is named like its package."""
        modules = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = Module(name, path.read_text(encoding="utf-8"), parts[-1] == "__init__")
        return cls(modules)

    @classmethod
    def of_commit(cls, commit: str) -> Structure:
        """The package as it was; raises CalledProcessError where git does not have the commit."""
        archive = git("archive", commit, PACKAGE)
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
            return cls.read(Path(folder) / PACKAGE)

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Who imports whom. The list of public names is left out: it names all and loads what is asked for."""
        names = frozenset(self.modules) - {PACKAGE}
        return {name: module.imported(names) for name, module in self.modules.items() if name != PACKAGE}

    @property
    def package_imports(self) -> dict[str, set[str]]:
        """Which package (or module at the top) imports which others."""
        arrows: dict[str, set[str]] = {}
        for name, targets in self.imports.items():
            if room(name):
                arrows.setdefault(room(name), set()).update(
                    {room(target) for target in targets if room(target)} - {room(name)}
                )
        return arrows

    @property
    def lines(self) -> int:
        return sum(module.lines for module in self.modules.values())

    @property
    def line_kinds(self) -> Counter[str]:
        return sum((module.line_kinds for module in self.modules.values()), Counter())

    @property
    def statements(self) -> int:
        return sum(module.statements for module in self.modules.values())

    @property
    def import_share(self) -> float:
        return self.line_kinds["imports"] / self.lines

    def rooms(self, names: Collection[str]) -> Structure:
        """Those modules alone that belong to these rooms; :data:`FRONT` is that of the front page."""
        return Structure({name: each for name, each in self.modules.items() if (room(name) or FRONT) in names})

    @property
    def would_fit(self) -> list[tuple[str, str]]:
        """Modules that one other of their package alone imports, if both together fit into one module."""
        return [
            (name, user)
            for name, module in self.modules.items()
            for user, targets in self.imports.items()
            if name in targets
            and sum(name in each for each in self.imports.values()) == 1
            and room(name) == room(user) != name.removeprefix(f"{PACKAGE}.")
            and module.lines + self.modules[user].lines <= MOST_LINES
        ]

    @property
    def fronts(self) -> int:
        """How many modules are no more than the front of a package."""
        return sum(module.is_front for module in self.modules.values())

    @property
    def place_holder_share(self) -> float:
        names = [name for module in self.modules.values() for name in module.bound_names()]
        return sum(bool(PLACE_HOLDERS & set(name.lower().split("_"))) for name in names) / len(names)

    @property
    def names_twice(self) -> list[str]:
        """Names of modules and of classes that occur twice. Files in ``cli`` are named by their verbs: left out."""
        stems = Counter(
            name.rpartition(".")[2]
            for name, module in self.modules.items()
            if ".cli." not in name and not module.is_package
        )
        classes = Counter(name for module in self.modules.values() for name in module.classes)
        return [name for counter in (stems, classes) for name, count in sorted(counter.items()) if count > 1]


def git(*words: str) -> bytes:
    """What git prints of this checkout; raises CalledProcessError where it cannot."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def room(name: str) -> str:
    """Package or module at the top that a module belongs to; empty for the front page and ``python -m``."""
    _, _, inner = name.partition(".")
    first = inner.partition(".")[0]
    return "" if first == "__main__" else first


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Circles of imports, each by the names on its way; taking one out may reveal the next."""
    remaining, circles_met = {name: set(targets) for name, targets in arrows.items()}, []
    while True:
        try:
            TopologicalSorter(remaining).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]
            circles_met.append(circle)
            remaining[circle[0]].discard(circle[1])
        else:
            return circles_met


def levels(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Rooms in rows, the highest first: each imports from rows below its own alone."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(arrows).static_order():
        height[name] = max((height[target] + 1 for target in arrows.get(name, ())), default=0)
    return [sorted(name for name in height if height[name] == row) for row in range(max(height.values()), -1, -1)]


def picture(arrows: dict[str, set[str]]) -> str:
    """The rooms in rows, and what each imports."""
    rows = ["  ".join(row) for row in levels(arrows)]
    width = max(map(len, arrows))
    lines = [f"{name:<{width}}  ← {', '.join(sorted(targets))}" for name, targets in sorted(arrows.items()) if targets]
    return "\n".join([*rows, "", *lines])
