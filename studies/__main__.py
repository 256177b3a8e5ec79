"""Run a study by name: ``python -m studies NAME -o DIR …``; ``--help`` behind a name lists its options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from hcal_root_ad.cli.terminal import show

STUDIES = ("stress", "widths")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name not in STUDIES:
        show(f"{__doc__ or ''}\nStudies: {', '.join(STUDIES)}.")
        return 0 if name in ("-h", "--help") else 2
    code: int = import_module(f"studies.{name}.command").main(arguments[1:])
    return code


if __name__ == "__main__":
    raise SystemExit(main())
