"""Open findings of a detector state: list them, accept one as the detector's new state, or close it.

What an open finding touches is not learned. `accept`: the change is meant (a new high voltage, say), and from now on it
is how the detector is. `close`: it is over, and what it touched is as it was before. `adapt STATE --undo ID` takes a
word back.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hcal_root_ad.cli.terminal import remark, show

if TYPE_CHECKING:
    from rich.table import Table

    from hcal_root_ad.state.detector_state import OpenFinding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|accept|close")
    listed = actions.add_parser("list", help="all that are open")
    listed.add_argument("state", type=Path, metavar="STATE", help="folder of the state")
    for action, what in (("accept", "it is a change that is meant, and stays"), ("close", "it is over")):
        one = actions.add_parser(action, help=what)
        one.add_argument("state", type=Path, metavar="STATE", help="folder of the state")
        one.add_argument("finding", metavar="ID", help="which, as `findings list` names it")
        one.add_argument("--reason", required=True, metavar="TEXT", help="who says so, and why; kept with the state")


def execute(arguments: argparse.Namespace) -> int:
    from hcal_root_ad.state.era import decide, open_findings
    from hcal_root_ad.state.history import Action, StateStore

    store = StateStore(arguments.state)
    if arguments.action == "list":
        findings = [finding for _, finding in open_findings(store)]
        show(findings_table(findings) if findings else "no finding is open")
        return 0
    store.history()  # a state that is not there is not made by its lock
    with store.alone(remark):
        action = Action.ACCEPTED if arguments.action == "accept" else Action.CLOSED
        finding = decide(store, action, arguments.finding, arguments.reason)
    show(f"{finding.identifier} {finding.subdetector} {finding.unit}: {action}")
    return 0


def findings_table(findings: list[OpenFinding]) -> Table:
    """In at most 80 columns; what was there in three runs asks for a person's word."""
    from math import exp

    from rich.table import Table

    table = Table("ID", "unit", "kind", "rate", "since", "runs", "last", "", box=None)
    table.columns[1].max_width = 20
    for one in findings:
        unit = one.unit if one.unit.startswith(one.subdetector) else f"{one.subdetector} {one.unit}"
        runs = (str(one.first_run), str(one.runs), str(one.last_run))
        question = "decide!" if one.asked else ""
        table.add_row(one.identifier, unit, one.kind, f"×{exp(one.size):.2f}", *runs, question)
    return table
