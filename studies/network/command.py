"""What a network can do on top of the model, role by role: ``python -m studies network -o DIR``.

Roles: condition shapes (``limits``, ``unseen``, ``absorbed``), few events (``few-events``, ``few-findings``,
``few-absorbed``), run-to-run prior (``history``, ``history-own``), cause (``cause``; ``judged-cause``: of what the
judge finds), and how much of a fault the default judge and the shipped network take for health (``default``). With
``--real FILES`` the roles are asked of ten real lumisections, too (``real``). One JSON file per role, trained networks
beside them: what is there is not made again. Table and figure are made of all that is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.harvest.read import read_lumi_maps
from studies.folder import POINTS
from studies.network.table import write_results

Rows = list[dict[str, Any]]
Step = Callable[[], None]
SEEDS = (1, 2, 3)


def main(argv: Sequence[str]) -> int:
    """Measure what lacks, and write table and figure."""
    parser = argparse.ArgumentParser("python -m studies network", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of numbers and table")
    parser.add_argument("--roles", nargs="*", default=list(ROLES), metavar="NAME", help=f"of {', '.join(ROLES)}")
    parser.add_argument("--real", type=Path, nargs="+", metavar="FILES", help="a real run of ten LS")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), metavar="N", help="of the networks")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.roles if name not in ROLES]:
        raise UsageError(f"no role is called {unknown[0]}; there are {', '.join(ROLES)}.")
    torch.set_num_threads(1)
    folder = arguments.output / POINTS
    roles = {name: ROLES[name] for name in arguments.roles}
    if arguments.real:
        roles["real"] = partial(_real, arguments.real)
    for name, role in roles.items():
        path = folder / f"{name}.json"
        if not path.exists():
            with progress(name) as report:
                done = 0

                def step(report: Callable[[int, int], None] | None = report) -> None:
                    nonlocal done
                    done += 1
                    if report:
                        report(done, max(done, 100))

                write_text(path, json.dumps(role(folder, arguments.seeds, step), indent=1) + "\n")
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    show(*map(str, write_results(found, arguments.output)))
    return 0


def _limits(folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    from studies.network import conditions, shapes

    return conditions.limits(conditions.Predictors.learned(shapes.FAMILIES, seeds, folder), step)


def _unseen(folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    """The same of networks that never met jet triggers."""
    from studies.network import conditions

    predictors = conditions.Predictors.learned(conditions.LEFT_OUT, seeds[:1], folder)
    return conditions.limits(predictors, step, ("jet triggers",))


def _absorbed(folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    from studies.network import conditions, shapes

    return conditions.absorbed(conditions.Predictors.learned(shapes.FAMILIES, seeds, folder), step)


def _few_events(folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    from studies.network import conditions, few_events, shapes

    return few_events.few_events(conditions.Predictors.learned(shapes.FAMILIES, seeds, folder), step)


def _few_findings(folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    from studies.network import conditions, few_events, shapes

    return few_events.few_findings(conditions.Predictors.learned(shapes.FAMILIES, seeds, folder), step)


def _taken_up(folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    from studies.network import conditions, few_events, shapes

    return few_events.absorbed_by_estimate(conditions.Predictors.learned(shapes.FAMILIES, seeds, folder), step)


def _history(folder: Path, seeds: Sequence[int], step: Step) -> Rows:  # noqa: ARG001
    from studies.network import history

    return history.foreseen("facts", folder, progress=step)


def _restless_history(folder: Path, seeds: Sequence[int], step: Step) -> Rows:  # noqa: ARG001
    """The same of eras whose walks have long tails."""
    from studies.network import history

    return history.foreseen("own", folder, progress=step)


def _cause(folder: Path, seeds: Sequence[int], step: Step) -> Rows:  # noqa: ARG001
    from studies.network import cause

    return cause.named(seeds)


def _judged_cause(folder: Path, seeds: Sequence[int], step: Step) -> Rows:  # noqa: ARG001
    """The same of what the judge finds in worlds of the stress suite; ``seeds`` are of detectors."""
    from studies.network import judged_cause

    return judged_cause.named(seeds, step)


def _default(folder: Path, seeds: Sequence[int], step: Step) -> Rows:  # noqa: ARG001
    from studies.network import absorption

    return absorption.simulated(step)


def _real(files: Sequence[Path], folder: Path, seeds: Sequence[int], step: Step) -> Rows:
    from studies.network import real_lumisections

    (maps,) = read_lumi_maps(map(str, files))
    return real_lumisections.asked(maps, seeds, folder, step)


ROLES: dict[str, Callable[[Path, Sequence[int], Step], Rows]] = {
    "default": _default,
    "limits": _limits,
    "absorbed": _absorbed,
    "few-events": _few_events,
    "few-findings": _few_findings,
    "few-absorbed": _taken_up,
    "cause": _cause,
    "judged-cause": _judged_cause,
    "unseen": _unseen,
    "history": _history,
    "history-own": _restless_history,
}
"""Measurements by name."""
