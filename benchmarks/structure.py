"""How the package is built, in figures: ``python -m benchmarks.structure [-o docs/results/structure.md]``.

Of today, and of the first house, which git knows; for the modules that a plain ``run`` enters, it judges the packaged
demonstration run in a process of its own. ``--picture`` prints the packages and who imports whom.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from textwrap import fill

from benchmarks.modules import (
    FRONT,
    KINDS,
    MOST_LINES,
    PACKAGE,
    PLACE_HOLDERS,
    ROOT,
    Structure,
    circles,
    git,
    picture,
    room,
)
from hcal_root_ad.files import write_text

CODE = KINDS[:3]
FIRST_HOUSE = "f7684ec"
"""The commit for which the targets were set."""
MODULES, LINES, ENTERED, IMPORTS = 115, 21_500, 45, 0.045
"""Those targets."""
PURPOSES = {
    "what is known of a detector, and judging a run": (
        ("judge", "learn", "networks", "evidence", "occupancy", "pooling"),
        ("judge", "model", "references", "stats", "compare", "pipeline", "mask", "unit_names"),
    ),
    "a state that learns from run to run": ((), ("state",)),
    "reading files": (
        ("harvest", "lumi_maps", "detector", "room"),
        ("harvest", "root_io", "lumi_maps", "detector", "histograms", "machine"),
    ),
    "publishing, plots and reports": (("publish", "report"), ("publish", "report", "style")),
    "certifying and watching": (("certify", "watch"), ("certify", "watch", "conditions", "oms")),
    "simulating, exporting, reproducing": (("simulate", "export", "reproduce"),) * 2,
    "command line and Python": (("cli", FRONT), ("cli", "api", FRONT)),
    "text inputs, outputs, provenance, errors": (
        ("content", "errors", "staging", "whole_file"),
        ("content", "tables", "errors", "files", "provenance"),
    ),
    "measuring the program itself (now `studies`, outside)": (("evaluate",), ()),
}
"""Rooms by what they are for: those of the first house, and those of today."""
_ENTERED = """
import json, sys
from hcal_root_ad.cli.main import main
code = main(["run", "demonstration", "-o", sys.argv[1]])
print(json.dumps([code, sorted(name for name in sys.modules if name.startswith("hcal_root_ad"))]))
"""


def modules_of_a_run() -> list[str]:
    """Modules of ours that are loaded once ``run demonstration`` is done."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", _ENTERED, folder]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(f"run demonstration ended with exit code {code}: {done.stderr}")
    return list(names)


def page(structure: Structure, entered: Sequence[str], readmes: tuple[int, int], first: str, before: Structure) -> str:
    """The figures as a page in Markdown.

    ``readmes``: lines of the README then and today. ``first`` says of what and when. ``before``: the first house.
    """
    twice = structure.names_twice
    circular = circles(structure.imports)
    rows = [
        ("modules in the wheel", len(before.modules), len(structure.modules), f"≤ {MODULES}"),
        ("lines in the wheel", before.lines, structure.lines, f"≤ {LINES:,}"),
        ("modules that a plain `run` enters", "–", len(entered), f"≤ {ENTERED}"),
        ("import lines", _share(before.import_share), _share(structure.import_share), f"≤ {_share(IMPORTS)}"),
        ("place-holder names", _share(before.place_holder_share), _share(structure.place_holder_share), "≤ 1.5 %"),
        ("circles of imports", len(circles(before.imports)), len(circular), 0),
        ("names of modules or classes that occur twice", len(before.names_twice), len(twice), 0),
        ("lines of the README", *readmes, "≤ 110"),
    ]
    arrows = structure.package_imports
    house = "rooms in a circle cannot be drawn" if circles(arrows) else picture(arrows)
    own = {name: structure.rooms([name]) for name in sorted([*arrows, FRONT])}
    rooms = [
        (name, len(each.modules), each.lines, sum(module in each.modules for module in entered) or "")
        for name, each in own.items()
    ]
    return f"""# How the package is built

For those who change the code. {first}

{_table(("", "first house", "today", "target"), rows)}

The first house is commit {FIRST_HOUSE}, for which the targets were set.
A place-holder name has one of these words in it: {", ".join(sorted(PLACE_HOLDERS))}. Every binding of a
function, class, argument, variable or attribute counts. Imports count wherever they stand, those for types too.
Occur twice: {", ".join(f"`{name}`" for name in twice) or "none"}.
Circles: {"; ".join(" → ".join(name.removeprefix(f"{PACKAGE}.") for name in circle) for circle in circular) or "none"}.

{reasons(structure, before, entered)}

## Rooms

{_table(("place", "modules", "lines", "a plain `run` enters"), rooms)}

Each room imports from the rows below it alone, and these from others:

```text
{house}
```
"""


def reasons(structure: Structure, before: Structure, entered: Sequence[str]) -> str:
    """Why lines, modules, entered modules and imports are where they are, by the figures."""
    then, today = before.line_kinds, structure.line_kinds
    kinds = [(kind, then[kind], today[kind], _share(today[kind] / structure.lines)) for kind in KINDS]
    purposes = [(what, before.rooms(rooms), structure.rooms(now)) for what, (rooms, now) in PURPOSES.items()]
    table = [(what, len(then.modules), then.lines, len(now.modules), now.lines) for what, then, now in purposes]
    return "\n\n".join([
        "## Why lines, modules and imports are above their targets",
        _table(("kind of line", "first house", "today", "of all lines today"), kinds),
        _table(("what for", "modules of the first house", "lines", "modules today", "lines"), table),
        _paragraph(of_lines(structure, before)), _paragraph(of_modules(structure, before)),
        _paragraph(of_entered(structure, entered)), _paragraph(of_imports(structure, before)),
    ])  # fmt: skip


def of_lines(structure: Structure, before: Structure) -> str:
    *some, last = CODE
    code = sum(structure.line_kinds[kind] for kind in CODE)
    new = sum(structure.rooms(now).lines for then, now in PURPOSES.values() if not then)
    gone = sum(before.rooms(then).lines for then, now in PURPOSES.values() if not now)
    return f"""
        **Lines.** {structure.statements:,} statements stand in {structure.lines:,} lines; in the first house
        {before.statements:,} in {before.lines:,}. Today's {", ".join(some)} and {last} alone are {code:,} lines, where
        the target allows {LINES:,} for all, docstrings and blank lines included. {gone:,} lines of the first house left
        the wheel with the studies. {new:,} of today are for a state, which the first house did not have. In the other
        rows, too, the program can do what it could not do then: levels from QIE cards to sub-detectors judged in a
        model of what is common, trust, masks, policies for HF and HO, brilcalc, settings, severities of alarms and
        commands for them, strict loaders with one sentence for every mistake, hist, Arrow and pandas. Statements
        written closer, or fewer docstrings, would lower the number and help nobody."""


def of_modules(structure: Structure, before: Structure) -> str:
    others, then = len(structure.modules) - structure.fronts, len(before.modules) - before.fronts
    fitting = [f"`{room(name)}/{name.rpartition('.')[2]}` into `{user.rpartition('.')[2]}`"
               for name, user in structure.would_fit]  # fmt: skip
    longer = [name for name, module in structure.modules.items() if module.lines > MOST_LINES]
    return f"""
        **Modules.** A module has one idea, and {MOST_LINES} lines at most; {len(longer)} have more
        ({", ".join(f"`{name.removeprefix(f'{PACKAGE}.')}`" for name in longer) or "none"}). {structure.fronts} of the
        {len(structure.modules)} are no more than the front of a package; the {others} others have
        {structure.lines / others:.0f} lines on average (first house: {before.lines / then:.0f}). With {MODULES} modules
        they would have {structure.lines / (MODULES - structure.fronts):.0f}: nearly every one filled to its last line,
        with whatever fits. Modules that one other of their package alone imports, and that would fit into it:
        {", ".join(fitting) or "none"} (first house: {len(before.would_fit)} modules)."""


def of_entered(structure: Structure, entered: Sequence[str]) -> str:
    modules = [structure.modules[name] for name in entered]
    lines = sum(module.lines for module in modules)
    fronts = sum(module.is_front for module in modules)
    return f"""
        **Modules that a plain `run` enters.** They have {lines:,} lines, and {fronts} of them are fronts of packages.
        {ENTERED} modules of {MOST_LINES} lines have {ENTERED * MOST_LINES:,}. What a plain run does not need is
        imported where it is asked for: states, masks, OMS exports, plots, saved verdicts, networks, other kinds of
        files."""


def of_imports(structure: Structure, before: Structure) -> str:
    modules, lines = len(structure.modules), structure.line_kinds["imports"]
    statements = sum(module.import_statements for module in structure.modules.values())
    future = sum("from __future__ import annotations" in module.text for module in structure.modules.values())
    return f"""
        **Imports.** A module has {statements / modules:.1f} imports in {lines / modules:.1f} lines (first house:
        {before.line_kinds["imports"] / len(before.modules):.1f} lines). {future} lines are the
        `from __future__ import annotations` of each module, {lines - statements} come from lists that the formatter
        writes one name a line. Modules have {structure.lines / modules:.0f} lines on average; with as many imports
        each, they would need {lines / modules / IMPORTS:.0f} for {_share(IMPORTS)}."""


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _paragraph(text: str) -> str:
    return fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.structure", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="page to write (default: print it)")
    parser.add_argument("--picture", action="store_true", help="print the packages and what each imports")
    arguments = parser.parse_args(argv)
    structure = Structure.read(ROOT / PACKAGE)
    if arguments.picture:
        print(picture(structure.package_imports))
        return 0
    then, today = git("show", f"{FIRST_HOUSE}:README.md"), (ROOT / "README.md").read_bytes()
    readmes = len(then.splitlines()), len(today.splitlines())
    made = f"Made by `python -m benchmarks.structure -o docs/results/structure.md` on {date.today():%F}."
    text = page(structure, modules_of_a_run(), readmes, made, Structure.of_commit(FIRST_HOUSE))
    if arguments.output:
        write_text(arguments.output, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
