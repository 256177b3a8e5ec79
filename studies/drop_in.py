"""What is lost where a fixed graph judges in place of ``run``: ``python -m studies drop-in -o DIR``.

The shipped models, on the detector that they know, judge runs with faults: ``run`` as it is, the ONNX file of one's own
with its carried sums, and the file for CMSSW's HcalMLTask at the threshold that ``export --cmssw`` prints, with the
states carried and with zeros in every LS, as the task gives them at present. One JSON file per run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.cli.terminal import progress, show
from hcal_root_ad.export.cmssw import DEPTHS, INPUTS, OUTPUTS, SIDES, STATE_WIDTHS, write_cmssw_model
from hcal_root_ad.export.onnx_file import channel_threshold, session, write_model
from hcal_root_ad.files import write_text
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.lumi_maps import LumiMaps
from hcal_root_ad.model.model import Model, load_model
from studies.folder import POINTS
from studies.metrics import false_intervals
from studies.stress.current import flagged_pairs
from studies.stress.failures import STANDARD, Drawn
from studies.stress.measure import name_of
from studies.stress.worlds import Origin, Setting, World, WorldRuns, simulate_world

MODELS = ("hb-graphstad-from-he", "he-graphstad")
SEEDS = (1, 2, 3)
WEAK = (
    Drawn("RBX", 0.7, 1, length=10), Drawn("RM", 0.8, 2, length=10), Drawn("RBX", 0.9, 1, 31),
    Drawn("channel", 0.85, 6, 31), Drawn("channel", 1.3, 6, length=10),
)  # fmt: skip
WORLD = World(
    "drop-in", "standard and weak faults", Setting(lumisections=60, failures=(*STANDARD, *WEAK)),
    Setting(lumisections=1), origin=Origin.SHIPPED,
)  # fmt: skip
SYSTEMS = ("run", "file of one's own", "HcalMLTask, states carried", "HcalMLTask, states reset",
           "file of one's own, silenced", "HcalMLTask, silenced")  # fmt: skip
"""*Silenced*: the same files of models whose network moves nothing."""
LAST = ("decoder_cnn.near", "decoder_gnn.to_modules")
"""Layers of the network from which its answer comes."""
Mask = NDArray[np.bool_]


def main(argv: Sequence[str]) -> int:
    """Measure what lacks, and write the table."""
    parser = argparse.ArgumentParser("python -m studies drop-in", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of numbers and table")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), metavar="N", help="of the runs")
    arguments = parser.parse_args(argv)
    folder = arguments.output / POINTS
    with progress("Runs") as report:
        for done, seed in enumerate(arguments.seeds):
            path = folder / f"drop-in-{seed}.json"
            if not path.exists():
                write_text(path, json.dumps(measured(simulate_world(WORLD, seed)), indent=1) + "\n")
            if report:
                report(done + 1, len(arguments.seeds))
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("drop-in-*.json"))]
    table = arguments.output / "table.md"
    write_text(table, table_of(rows))
    show(str(table))
    return 0


def measured(runs: WorldRuns) -> dict[str, Any]:
    """By system: captured pairs and all pairs by kind, false pairs and false intervals in HB and HE."""
    maps = runs.judged.maps
    models = [load_model(name) for name in MODELS]
    flags = {SYSTEMS[0]: flagged_pairs(judge_run(maps, models))}
    flags |= {name: np.zeros(maps.counts.shape, dtype=bool) for name in SYSTEMS[1:]}
    # HB and HE share one threshold in the task: the larger.
    score = max(channel_threshold(model) for model in models) ** 2 / 2
    with TemporaryDirectory() as folder:
        for model in models:
            own = maps.channels.rows_of(model.subdetector)
            path = Path(folder) / f"{model.subdetector}.onnx"
            for some, names in ((model, SYSTEMS[1:4]), (silenced(model), (SYSTEMS[4], "", SYSTEMS[5]))):
                write_model(some, path)
                flags[names[0]][:, own] = flags_of_file(model, path, maps)
                write_cmssw_model(some, path)
                for name, carry in zip(names[1:], (True, False), strict=True):
                    if name:
                        flags[name][:, own] = flags_of_task(model, path, maps, score, carry=carry)
    return {name: _numbers(runs, flagged) for name, flagged in flags.items()}


def silenced(model: Model) -> Model:
    """The model with a network that moves nothing."""
    zeros = {name: np.zeros_like(w) if name.startswith(LAST) else w for name, w in model.weights.items()}
    return replace(model, weights=zeros)


def flags_of_file(model: Model, path: Path, maps: LumiMaps) -> Mask:
    """(LS, channels of the model) what the file of one's own flags, states carried."""
    opened = session(path)
    row, column, depth = model.channels.grid
    outputs = [node.name for node in opened.get_outputs()]
    state = {node.name: np.zeros(node.shape, np.float32) for node in opened.get_inputs()[2:]}
    out = []
    for counts, events in zip(maps.counts[:, maps.channels.rows_of(model.subdetector)], maps.events, strict=True):
        grid = np.zeros((1, 64, 72, 7), np.float32)
        grid[0, row, column, depth] = counts
        found = dict(
            zip(
                outputs,
                opened.run(outputs, {"occupancy": grid, "events": np.array([events], np.float32), **state}),
                strict=True,
            )
        )
        state = {name: found[f"{name}_next"] for name in state}
        out.append(found["flag"][0, row, column, depth] != 0)
    return np.stack(out)


def flags_of_task(model: Model, path: Path, maps: LumiMaps, threshold: float, *, carry: bool) -> Mask:
    """(LS, channels of the model) what HcalMLTask flags with the file."""
    opened = session(path)
    row, column, depth = model.channels.grid
    depths = DEPTHS[model.subdetector]
    zeros = [np.zeros((1, SIDES, width), np.float32) for width in STATE_WIDTHS.values()]
    states, out = zeros, []
    for counts, events in zip(maps.counts[:, maps.channels.rows_of(model.subdetector)], maps.events, strict=True):
        memory = np.zeros((depths, 64, 72), np.float32)
        memory[depth, row, column] = counts
        values = [
            memory.reshape(1, 64, 72, depths, 1),
            np.array([[events]], np.float32),
            np.array([[threshold]], np.float32),
            *states,
        ]
        answers = opened.run(list(OUTPUTS), dict(zip(INPUTS, values, strict=True)))
        states = answers[len(OUTPUTS) - len(zeros) :] if carry else zeros
        flags = answers[OUTPUTS.index("pred_err_window_spatial_scaled_aml")]
        out.append(flags.reshape(depths, 64, 72)[depth, row, column] == 1)
    return np.stack(out)


def _numbers(runs: WorldRuns, flagged: Mask) -> dict[str, Any]:
    judged = runs.judged
    inner = judged.maps.channels.rows_of("HB", "HE")
    at_fault = judged.faulty_rates != judged.rates
    near = at_fault.copy()
    near[1:] |= at_fault[:-1]
    near[:-1] |= at_fault[1:]
    captured: dict[str, list[int]] = {}
    for fault in runs.faults:
        wanted = at_fault[:, fault.rows]
        sums = captured.setdefault(name_of(fault), [0, 0])
        sums[0] += int((wanted & flagged[:, fault.rows]).sum())
        sums[1] += int(wanted.sum())
    return {
        "captured": captured,
        "false_pairs": int((flagged & ~near)[:, inner].sum()),
        "false_intervals": false_intervals(flagged[:, inner], near[:, inner]),
        "lumisections": len(judged.maps),
    }


HEAD = """\
# A fixed graph in place of `run`

`python -m studies drop-in -o DIR`. The shipped models on the detector that they know, runs of 60 LS with 34
standard faults and 16 weak ones ({runs} of them). Shares are faulty (channel, LS) pairs that were flagged, over all
runs; false pairs and false intervals of single channels per 100 LS of HB and HE, the LS beside a fault not counted.
`run` sees the whole run before it answers, and names units; the graphs answer LS by LS, channel by channel.
*Silenced*: the same graphs with a network that moves nothing.
"""


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Kinds by system, as Markdown."""
    if not rows:
        return HEAD.format(runs=0)
    kinds = list(rows[0][SYSTEMS[0]]["captured"])
    lines = [HEAD.format(runs=len(rows)), _line(["", *SYSTEMS]), _line(["---"] * (len(SYSTEMS) + 1))]
    for kind in kinds:
        sums = [np.sum([row[name]["captured"][kind] for row in rows], axis=0) for name in SYSTEMS]
        lines.append(_line([kind, *(f"{a / b:.3f}" for a, b in sums)]))
    for key, text in (("false_pairs", "false pairs per 100 LS"), ("false_intervals", "false intervals per 100 LS")):
        values = [100 * sum(r[n][key] for r in rows) / sum(r[n]["lumisections"] for r in rows) for n in SYSTEMS]
        lines.append(_line([text, *(f"{value:.1f}" for value in values)]))
    return "\n".join([*lines, ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
