"""Trained weights of the HCAL studies of 2018, beside ours, on ten real LS: ``python -m studies weights-of-2018``.

Each half of the run is looked at by what learned from the other one; the weights of 2018 learned from the whole run
long ago, and so have seen these lumisections.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hcal_root_ad.cli.settings import read_runs
from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.errors import UsageError
from hcal_root_ad.files import write_text
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.counts import subdetector_counts
from studies.evaluate.real import RealSuite, real, ten_lumisections
from studies.folder import POINTS
from studies.metrics import ranking
from studies.weights_of_2018.images import FAULTS, SHAPES, faulty
from studies.weights_of_2018.systems import AUTOENCODER, CUT, Asked, systems

Rows = dict[str, dict[str, Any]]
"""System to its numbers: ``good``: badness of the ten good images, ``said_good``: those it calls bad; and by fault."""
FOLDS = 2

HEAD = """\
`python -m studies weights-of-2018`, version {version}, {today}. Run {run}, ten lumisections; HB depth 1 as an image of
72 × 32 cells over its largest, as the autoencoder was trained; of some twenty scalings tried, their classifier works
best at this one, too. Faults are put into the real counts, {places} times in each LS at other places: {images} images
of each. The weights of 2018 were trained on 1,000 LS of this very run, these ten among them. Ours (and, with `--train`,
the same autoencoder) learned from the other half of the ten LS and simulated twins of it. An image is bad where the
autoencoder's largest error is above {cut} (the study's cut), where a classifier says anything but good, and where ours
flags a channel of depth 1 in this LS, judged by itself. AUC: of the images with the fault against the ten good ones."""


def main(argv: Sequence[str]) -> int:
    """Ask every system that was not asked before, and write the table."""
    arguments = _parser().parse_args(argv)
    if find_spec("h5py") is None:
        raise UsageError("the weights of 2018 are HDF5 files; install h5py to read them: pip install h5py.")
    if not (arguments.weights / AUTOENCODER).exists():
        raise UsageError(
            f"{arguments.weights}: no {AUTOENCODER}; name the folder of the weights of 2018 with --weights."
        )
    (maps,) = read_runs(arguments.data)
    with progress("Images") as report:
        rows = measured(
            maps, arguments.weights, arguments.output, arguments.places, arguments.again, arguments.train, report
        )
    head = HEAD.format(
        version=version("hcal-root-ad"), today=datetime.date.today(), run=maps.run, places=arguments.places,
        images=10 * arguments.places, cut=CUT,
    )  # fmt: skip
    table = arguments.output / "table.md"
    write_text(table, markdown(rows, head))
    show(f"table:   {table}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m studies weights-of-2018", description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH", help="DQM files of run 306138")
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help="folder of the weights of 2018")
    parser.add_argument("--places", type=int, default=2, metavar="N", help="places of each fault in an LS (default: 2)")
    parser.add_argument("--train", action="store_true",
                        help="train the same autoencoder here, too: some seven minutes of a processor")  # fmt: skip
    parser.add_argument("--again", nargs="+", default=[], metavar="SYSTEM", help="ask these systems again")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="folder of the table; an interrupted study is continued")  # fmt: skip
    return parser


def measured(
    maps: LumiMaps,
    files: Path,
    folder: Path,
    places: int,
    again: Sequence[str] = (),
    train: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Every system on both halves; what is in the folder already is taken over, but for ``again``."""
    ten = subdetector_counts(maps, "HB")
    ten = ten.rows(np.flatnonzero(np.isin(ten.position, ten_lumisections(maps))))
    halves: list[Rows] = []
    for half, fold in enumerate(real(maps, RealSuite(subdetectors=("HB",))).folds("HB")):
        learned = fold.training(True)
        weights = folder / "weights" / f"half-{half}.pt" if train else None
        asked = systems(files, learned, fold.training(False), weights)
        rows: Rows = {}
        for number, (name, ask) in enumerate(asked.items()):
            readable = "".join(c if c.isalnum() else "_" for c in name)
            path = folder / POINTS / f"{readable}-{half}-{places}.json"
            if not path.exists() or name in again:
                write_text(path, json.dumps(_asked(ask(), ten, half, places, learned.seed)))
            rows[name] = json.loads(path.read_text())
            if progress:
                progress(half * len(asked) + number + 1, FOLDS * len(asked))
        halves.append(rows)
    return {name: _joined([half[name] for half in halves]) for name in halves[0]}


def _asked(ask: Asked, ten: Any, half: int, places: int, seed: int) -> dict[str, Any]:
    """Verdicts on the LS of one half, good and with every fault."""
    mine = range(half * len(ten) // FOLDS, (half + 1) * len(ten) // FOLDS)
    numbers: dict[str, Any] = {"good": [ask(ten.rows(slice(ls, ls + 1))) for ls in mine]}
    for fault in FAULTS:
        numbers[f"{fault.shape} {fault.name}"] = [
            ask(one) for ls, one in faulty(ten, fault, places, seed) if ls in mine
        ]
    return numbers


def _joined(halves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: [verdict for half in halves for verdict in half[name]] for name in halves[0]}


def markdown(rows: Rows, head: str) -> str:
    """The table."""
    lines = ["# Weights of 2018 on real lumisections", "", head, ""]
    lines += [
        "| system | good images called bad | badness of good images | 5×5 hot | 5×5 dead |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        spans = (_span(row[key]) for key in ("good", "5×5 hot (3,000 digis)", "5×5 ×0"))
        lines.append(f"| {name} | {_share(row['good'])} | {' | '.join(spans)} |")
    lines += ["", "Badness: an autoencoder's largest error, a classifier's probability that the image is not good, our",
              "largest significance."]  # fmt: skip
    for shape in SHAPES:
        mine = [fault for fault in FAULTS if fault.shape == shape]
        lines += ["", f"## {shape}", "", "Share of images called bad, and AUC.", ""]
        lines += [f"| system | {' | '.join(fault.name for fault in mine)} |", "|---" * (len(mine) + 1) + "|"]
        for name, row in rows.items():
            cells = (_cell(row[f"{fault.shape} {fault.name}"], row["good"]) for fault in mine)
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(bad: Sequence[tuple[bool, float]], good: Sequence[tuple[bool, float]]) -> str:
    auc = ranking(np.array([value for _, value in bad]), np.sort([value for _, value in good]))["auc"]
    return f"{_share(bad)}, {auc:.2f}"


def _share(verdicts: Sequence[tuple[bool, float]]) -> str:
    return f"{np.mean([said for said, _ in verdicts]):.2f}"


def _span(verdicts: Sequence[tuple[bool, float]]) -> str:
    values = [value for _, value in verdicts]
    return f"{min(values):.2f} … {max(values):.2f}"
