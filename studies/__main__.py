"""Run a study by name: ``python -m studies NAME -o DIR …``; ``--help`` behind a name lists its options.

Exit codes: 0 done, 2 wrong use or unreadable input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from hcal_root_ad.cli.terminal import progress, remark, show
from hcal_root_ad.errors import HcalRootAdError

COMMANDS = {
    "drop-in": "studies.drop_in",
    "era": "studies.era.command",
    "evaluate": "studies.evaluate.command",
    "few": "studies.transfer.few",
    "network": "studies.network.command",
    "stress": "studies.stress.command",
    "weights-of-2018": "studies.weights_of_2018.command",
    "widths": "studies.widths.command",
}
"""Studies with options of their own, and the modules whose ``main`` runs them."""
ON_GRIDS = {
    "alarms": "studies.alarms:run_alarms",
    "classifiers": "studies.classifiers.study:run_classifiers",
    "false-alarms": "studies.false_alarms:run_false_alarms",
    "forecasts": "studies.forecasts:run_forecasts",
    "transfer": "studies.transfer.study:run_study",
}
"""Studies that measure the points of a grid, and the functions that do."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    name, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        if name in COMMANDS:
            code: int = import_module(COMMANDS[name]).main(options)
            return code
        if name in ON_GRIDS:
            return _measure_a_grid(name, options)
    except HcalRootAdError as error:
        remark(f"{name}: {error}")
        return 2
    show(f"{__doc__ or ''}\nStudies: {', '.join(sorted({*COMMANDS, *ON_GRIDS}))}.")
    return 0 if name in ("-h", "--help") else 2


def _measure_a_grid(name: str, options: Sequence[str]) -> int:
    from hcal_root_ad.provenance import Provenance, write_beside

    parser = argparse.ArgumentParser(f"python -m studies {name}", allow_abbrev=False)
    parser.add_argument("--grid", default="presets", metavar="NAME",
                        help="quick (seconds), presets (half an hour); transfer also: blocks, full")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the study in DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for table and figures")
    arguments = parser.parse_args(options)
    module, _, function = ON_GRIDS[name].partition(":")
    run: Callable[..., tuple[Path, ...]] = getattr(import_module(module), function)
    with progress("Points") as report:
        written = run(arguments.grid, arguments.output, arguments.resume, report)
    provenance = Provenance("study", (), {"study": name, "grid": arguments.grid})
    show(*map(str, [*written, write_beside(provenance, arguments.output, "study", written)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
