"""How the package is built, in figures: ``python -m benchmarks.structure [-o docs/results/structure.md]``.

Reads the source with Python's own parser; for the modules that a plain ``run`` enters, it judges the packaged
demonstration run in a process of its own. ``--picture`` prints the packages and who imports whom.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from hcal_root_ad.files import write_text

ROOT = Path(__file__).parents[1]
PACKAGE = "hcal_root_ad"
PLACE_HOLDERS = frozenset({"one", "found", "part", "known", "told", "said", "seen", "wanted", "here"})
"""Words that name no thing. A name counts if one of its words, between underscores, is among them."""
_ENTERED = """
import json, sys
from hcal_root_ad.cli.main import main
code = main(["run", "demonstration", "-o", sys.argv[1]])
print(json.dumps([code, sorted(name for name in sys.modules if name.startswith("hcal_root_ad"))]))
"""


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

    @property
    def import_lines(self) -> int:
        statements = (node for node in ast.walk(self.tree) if isinstance(node, ast.Import | ast.ImportFrom))
        return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in statements)

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
    def import_share(self) -> float:
        return sum(module.import_lines for module in self.modules.values()) / self.lines

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


def modules_of_a_run() -> list[str]:
    """Modules of ours that are loaded once ``run demonstration`` is done."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", _ENTERED, folder]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(f"run demonstration ended with exit code {code}: {done.stderr}")
    return list(names)


def page(structure: Structure, entered: Sequence[str], readme_lines: int, first_line: str) -> str:
    """The figures as a page in Markdown; ``first_line`` says of what and when."""
    modules = len(structure.modules)
    twice = structure.names_twice
    circular = circles(structure.imports)
    rows = [
        ("modules in the wheel", f"{modules}", "≤ 115"),
        ("lines in the wheel", f"{structure.lines:,}", "≤ 21,500"),
        ("modules that a plain `run` enters", f"{len(entered)}", "≤ 45"),
        ("import lines", f"{structure.import_share:.1%}", "≤ 4.5 %"),
        ("place-holder names", f"{structure.place_holder_share:.1%}", "≤ 1.5 %"),
        ("circles of imports", f"{len(circular)}", "0"),
        ("names of modules or classes that occur twice", f"{len(twice)}", "0"),
        ("lines of the README", f"{readme_lines}", "≤ 110"),
    ]
    table = "\n".join(f"| {name} | {value.replace('%', ' %')} | {target} |" for name, value, target in rows)
    sizes = Counter(dict.fromkeys(structure.package_imports, 0))
    files: Counter[str] = Counter()
    for name, module in structure.modules.items():
        sizes[room(name) or "front page"] += module.lines
        files[room(name) or "front page"] += 1
    arrows = structure.package_imports
    house = "rooms in a circle cannot be drawn" if circles(arrows) else picture(arrows)
    rooms = "\n".join(f"| {name} | {files[name]} | {lines:,} |" for name, lines in sorted(sizes.items()))
    return f"""# How the package is built

For those who change the code. {first_line}

| | measured | target |
|---|---|---|
{table}

A place-holder name has one of these words in it: {", ".join(sorted(PLACE_HOLDERS))}. Every binding of a
function, class, argument, variable or attribute counts. Imports count wherever they stand, those for types too.
Occur twice: {", ".join(f"`{name}`" for name in twice) or "none"}.
Circles: {"; ".join(" → ".join(name.removeprefix(f"{PACKAGE}.") for name in circle) for circle in circular) or "none"}.

| place | modules | lines |
|---|---|---|
{rooms}

Each room imports from the rows below it alone, and these from others:

```text
{house}
```
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.structure", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="page to write (default: print it)")
    parser.add_argument("--picture", action="store_true", help="print the packages and what each imports")
    arguments = parser.parse_args(argv)
    structure = Structure.read(ROOT / PACKAGE)
    if arguments.picture:
        print(picture(structure.package_imports))
        return 0
    readme = len((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    made = f"Made by `python -m benchmarks.structure -o docs/results/structure.md` on {date.today():%F}."
    text = page(structure, modules_of_a_run(), readme, made)
    if arguments.output:
        write_text(arguments.output, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
