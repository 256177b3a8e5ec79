"""Watch a folder in which the DQM leaves its files; judge each lumisection and publish the run anew each time."""

from __future__ import annotations

import argparse
from pathlib import Path

from hcal_root_ad.cli.options import add_judging, add_output, add_states, count, judging_of, positive
from hcal_root_ad.cli.plain import plain_line
from hcal_root_ad.cli.terminal import show
from hcal_root_ad.files import check_places

SEVERITIES = ("channel", "module", "box", "sub-detector")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files come")
    add_output(parser, "DIR", "folder for ROOT files, log of alarms and state; outside of FOLDER")
    add_judging(parser)
    add_states(parser)
    parser.add_argument("--patience", type=positive, default=60.0, metavar="SECONDS",
                        help="how long a missing LS or a half-written file is waited for (default: 60)")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="handle what is there, wait for nothing, then stop")
    parser.add_argument("--digest", type=count, default=10, metavar="LS",
                        help="a status line every so many LS (default: 10); alarms are told at once")  # fmt: skip
    parser.add_argument("--minimum-severity", choices=SEVERITIES, default=SEVERITIES[0],
                        help="tell no alarm about less; the log has all (default: channel)")  # fmt: skip
    parser.add_argument("--on-alarm", default="", metavar="COMMAND",
                        help="run it for each alarm told: sentence as last argument, JSON on its input")  # fmt: skip
    parser.add_argument("--on-publish", default="", metavar="COMMAND",
                        help="run it for each published file, with its path as last argument")  # fmt: skip
    parser.add_argument("--register", default="", metavar="URL",
                        help="tell this GUI of each published file (POST to URL/api/v1/register)")  # fmt: skip
    parser.add_argument("--online", action="store_true", help="name the ROOT files as the online GUI wants it")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.watch.alarms import Severity
    from hcal_root_ad.watch.received import sole_watch
    from hcal_root_ad.watch.service import Watch, WatchSettings

    settings = WatchSettings(
        arguments.folder,
        arguments.output,
        0.0 if arguments.once else arguments.patience,
        arguments.online,
        arguments.digest,
        Severity(arguments.minimum_severity),
        arguments.on_alarm,
        arguments.on_publish,
        arguments.register,
    )
    settings.check()
    check_places([], [arguments.output])
    judging = judging_of(arguments)
    with sole_watch(arguments.output, _say):
        watch = Watch(settings, judging, _say)
        if arguments.once:
            watch.once()
        else:
            _say(f"watching {arguments.folder}, writing to {arguments.output}")
            watch.forever()
    return 0


def _say(sentence: str) -> None:
    """A line with its time (UTC)."""
    import time

    from hcal_root_ad.watch.alarms import utc

    show(plain_line(f"{utc(time.time())} {sentence}"))
