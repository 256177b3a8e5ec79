"""Say whether both DQM GUIs will take a file; exit code 1 if one of them would not."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.terminal import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ROOT file made for the DQM GUI")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.publish.gui_rules import check_file, content_of

    problems = {path: check_file(path) for path in arguments.files}
    for path, sentences in problems.items():
        show(*(f"{path}: {sentence}" for sentence in sentences) if sentences else (f"{path}: both GUIs will take it.",))
        show(f"{path}: {content_of(path)}")
    return int(any(problems.values()))
