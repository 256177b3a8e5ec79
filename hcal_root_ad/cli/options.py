"""The options of every verb; the docstring of ``add_VERB`` is what ``--help`` says, for which nothing is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

SEVERITIES = ("channel", "module", "box", "sub-detector")
_SUBDETECTORS = ("HB", "HE", "HO", "HF")


def positive(text: str) -> float:
    """Option type: a number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return number


def count(text: str) -> int:
    """Option type: a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text}")
    return number


def _lumisection(text: str) -> tuple[int, int]:
    """Option type: RUN:LS."""
    run, colon, lumisection = text.partition(":")
    if not (colon and run.isdigit() and lumisection.isdigit()):
        raise argparse.ArgumentTypeError(f"expected RUN:LS, for example 370101:25, found {text}")
    return int(run), int(lumisection)


def _add_output(parser: argparse.ArgumentParser, metavar: str, what: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=what)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="DQM file, or name of a reference run")


def _add_definition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--definition", metavar="NAME", help="harvester definition (default: the one that fits)")


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", action="append", metavar="NAME_OR_PATH",
                        help="who judges; repeatable, one per sub-detector (default: the shipped ones)")  # fmt: skip
    parser.add_argument("--false-alarms", type=positive, metavar="PER_100_LS",
                        help="false findings per 100 LS and sub-detector (default: the model's)")  # fmt: skip
    _add_mask(parser, "not judged, gray")
    _add_definition(parser)


def _add_mask(parser: argparse.ArgumentParser, effect: str) -> None:
    """``effect``: what becomes of the channels."""
    parser.add_argument("--mask", type=Path, metavar="FILE.toml",
                        help=f"channels that are known to be broken: {effect} (docs/masks.md)")  # fmt: skip


def _add_states(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", action="append", type=Path, metavar="STATE",
                        help="detector state that judges, as it was before the run; it learns nothing (docs/states.md);"
                        " repeatable, the first that fits")  # fmt: skip


def _add_oms(parser: argparse.ArgumentParser) -> None:
    """For verbs that make use of all that it says of a run."""
    parser.add_argument("--oms", type=Path, metavar="FILE",
                        help="OMS lumisections: pileup, LS to leave out, and what a state asks for")  # fmt: skip


def _add_without_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--without-reference", action="store_true",
                        help="judge each run against itself; nothing of it is then trusted")  # fmt: skip


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="", metavar="TEXT", help="what the runs are, in words for the model's card")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """``--config``, of every verb."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml",
                        help="settings (default: ~/.config/hcal_root_ad/config.toml; see `config`)")  # fmt: skip


def add_config(_: argparse.ArgumentParser) -> None:
    """Show the settings that hold, and where each comes from: an option, the environment, your file, or the default.

    The file is ``~/.config/hcal_root_ad/config.toml``, or what ``--config`` or ``HCAL_ROOT_AD_CONFIG`` names (empty:
    none). An option beats the environment, and the environment beats the file::

        folders = ["/eos/user/y/you/hcal"]    # with models/, harvesters/, policies/, reference_runs/ inside
        models = ["my-hb", "my-he", "hb-2018"]  # each knows its sub-detector and its era; a run takes those of its own
        policy = "my-policy"
        mask = "/eos/user/y/you/hcal/known.toml"
        definition = "Occupancy"
        false_alarms = 0.5
        label = "HCAL Preliminary"            # on plots, behind CMS
    """


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Show a file's format, run, lumisections, events, HCAL elements, and which harvester definition fits."""
    parser.add_argument("file", metavar="FILE", help="DQM file, or name of a reference run")


def add_harvest(parser: argparse.ArgumentParser) -> None:
    """Save run, lumisections, events and counts (LS × 64 × 72 × 7, HB and HE) as a numpy file."""
    _add_inputs(parser)
    _add_output(parser, "maps.npz", "file to write; of several runs each gets its own, maps_R<run>.npz")
    _add_definition(parser)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Judge the runs in the inputs and write, for each, the ROOT file that the DQM GUI shows."""
    _add_inputs(parser)
    _add_output(parser, "DIR", "folder for the ROOT files")
    _add_judging(parser)
    _add_states(parser)
    _add_oms(parser)
    _add_without_reference(parser)
    parser.add_argument("--flags", type=Path, metavar="FILE.csv", help="write every flagged interval, one row each")
    parser.add_argument("--json", type=Path, metavar="FILE.json",
                        help="write findings, trust and conditions of all runs, for scripts")  # fmt: skip
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the main pictures into this folder")
    parser.add_argument("--save-verdict", type=Path, metavar="DIR",
                        help="save the verdicts into this folder (R<run>.verdict.npz), for `report`")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="print no result: files alone, and remarks on stderr")
    parser.add_argument("--online", action="store_true", help="name the ROOT file as the online GUI wants it")
    parser.add_argument("--as-hcalmltask", action="store_true",
                        help="in the folders of CMSSW's HcalMLTask, whose place it takes in the GUI")  # fmt: skip
    parser.add_argument("--attach", action="store_true",
                        help="write a copy of the harvested input file with our folders added")  # fmt: skip


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Watch a folder in which the DQM leaves its files; judge each lumisection and publish the run again each time."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files come")
    _add_output(parser, "DIR", "folder for ROOT files, log of alarms and state; outside of FOLDER")
    _add_judging(parser)
    _add_states(parser)
    _add_oms(parser)
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


def add_report(parser: argparse.ArgumentParser) -> None:
    """Make an HTML page to look at, of a run or of a campaign of certify; it opens anywhere, without a network."""
    parser.add_argument("path", metavar="PATH",
                        help="folder of a campaign; verdict on a run (R<run>.verdict.npz, from `run --save-verdict`); "
                             "or DQM file or reference run, which is judged first")  # fmt: skip
    _add_output(parser, "FILE.html", "page to write")
    _add_judging(parser)
    parser.add_argument("--runs", action="store_true",
                        help="of a campaign: a page for each run too, in FILE_runs/, with links")  # fmt: skip


def add_certify(parser: argparse.ArgumentParser) -> None:
    """Certify many runs: judge what is new, apply a policy, and write which lumisections are good, and why.

    The folder DIR keeps every run's record: the same command goes on where it was stopped, and without INPUT the runs
    that DIR holds are certified again, without their files, for example by another --policy. Exit codes: 0 done, 1 some
    file or run could not be judged, or its verdict is not trusted (the others are certified), 2 wrong use.
    """
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT",
        help="file, folder, pattern, address, dataset list (.txt, .list, .json), or dials:RUN; none: the runs in DIR",
    )  # fmt: skip
    _add_output(parser, "DIR", "folder of the campaign")
    parser.add_argument("--policy", metavar="NAME_OR_FILE", help="what makes an LS bad (default: standard)")
    parser.add_argument("--oms", type=Path, metavar="FILE", help="OMS lumisections (CSV or JSON): beams, flags, pileup")
    parser.add_argument("--dcs", type=Path, metavar="FILE", help='selection {"run": [[first, last], …]}: no other LS')
    parser.add_argument("--labels", type=Path, metavar="FILE",
                        help="flags that people set (Run Registry or golden JSON), to compare with")  # fmt: skip
    parser.add_argument("--explain", type=_lumisection, metavar="RUN:LS", help="only say why an LS is good or bad")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=count, default=1, metavar="N", help="processes on this machine (default: 1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work")
    where.add_argument("--condor", type=Path, metavar="FILE", help="HTCondor jobs as the file says (docs/certify.md)")
    parser.add_argument("--retry-failed", action="store_true", help="try again what could not be judged")
    _add_judging(parser)
    _add_states(parser)
    parser.add_argument("--adapt", type=Path, metavar="STATE",
                        help="certify runs in their order, and let this detector state learn from each")  # fmt: skip
    _add_without_reference(parser)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Say whether both DQM GUIs will take a file; exit code 1 if one of them would not."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="ROOT file made for the DQM GUI")


def add_provenance(parser: argparse.ArgumentParser) -> None:
    """Show what an output was made of and with: versions, options, inputs, models and definitions, with digests."""
    parser.add_argument("path", type=Path, metavar="FILE", help="an output of this program, or a folder of outputs")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def add_reproduce(parser: argparse.ArgumentParser) -> None:
    """Make an output again from the same inputs, and say whether it is identical or what differs (exit code 1).

    Inputs are looked for beside FILE, in this folder, among the reference runs, where a campaign had them, and below
    --inputs; each must have the digest that FILE says.
    """
    parser.add_argument("path", type=Path, metavar="FILE", help="an output of this program, or a folder of them")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep what is made in this new folder")
    parser.add_argument("--inputs", type=Path, nargs="+", default=[], metavar="FOLDER",
                        help="where inputs and models lie, in folders below too")  # fmt: skip


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """Write runs of a simulated detector with known faults, and a truth file for each."""
    _add_output(parser, "DIR", "folder to write into")
    parser.add_argument("--format", required=True, metavar="NAME", help="kind of file, for example nanodqmio")
    parser.add_argument("--lumisections", type=count, default=100, metavar="N", help="per run (default: 100)")
    parser.add_argument("--runs", type=count, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--detector-seed", type=int, default=1, metavar="N", help="which detector (default: 1)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which conditions and faults (default: 1)")
    parser.add_argument("--faults", default="none", metavar="none|mixed|FILE", help="none, mixed, or a file of faults")


def add_train(parser: argparse.ArgumentParser) -> None:
    """Make a model of clean runs: the reference of one sub-detector, and for HB and HE a network."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file of a clean run, or name of a reference run")
    parser.add_argument("--subdetector", required=True, choices=_SUBDETECTORS, help="which channels to learn")
    _add_output(parser, "MODEL", "folder of the new model")
    _add_definition(parser)
    _add_data(parser)
    parser.add_argument("--widths", type=Path, metavar="FILE.toml",
                        help="how far healthy units move from run to run (default: as in simulations)")  # fmt: skip


def add_transfer(parser: argparse.ArgumentParser) -> None:
    """Adapt a model to clean runs of your detector: the same sub-detector, or another one."""
    parser.add_argument("--from", dest="source", required=True, metavar="MODEL", help="name or folder to start from")
    parser.add_argument("--to", choices=_SUBDETECTORS, help="sub-detector of the new model (default: the same)")
    parser.add_argument("--runs", nargs="+", metavar="CLEAN",
                        help="clean runs to adapt to (default: those of the reference that fits)")  # fmt: skip
    _add_output(parser, "MODEL", "folder of the new model")
    _add_definition(parser)
    _add_data(parser)


def add_adapt(parser: argparse.ArgumentParser) -> None:
    """Keep a detector state: what every channel does today, learned from run to run, and never a fault.

    STATE is a folder. `--from` begins it with clean runs (several, of a wide range of pileup, are best); without, it
    begins with the models. `--with` judges runs in their order, each by what was known before it, and learns what is
    trusted; with `--reason` also a run whose channels were all changed. Every update is kept: `--undo` goes back to
    before a run, or before a person's word on a finding. With STATE alone its updates are listed. `run`, `watch` and
    `certify` judge by it with --state.
    """
    parser.add_argument("folder", type=Path, metavar="STATE", help="folder of the state")
    parser.add_argument("--from", dest="clean", nargs="+", metavar="CLEAN_RUN",
                        help="clean runs that begin a new state")  # fmt: skip
    parser.add_argument("--with", dest="runs", nargs="+", metavar="RUN", help="runs to learn from, in any order")
    parser.add_argument("--undo", metavar="RUN_OR_ID", help="go back to before this run, or this word on a finding")
    parser.add_argument("--reason", default="", metavar="TEXT",
                        help="who undoes; with --with: who says that all channels were changed")  # fmt: skip
    _add_oms(parser)
    _add_judging(parser)


def add_findings(parser: argparse.ArgumentParser) -> None:
    """Open findings of a detector state: list them, accept one as the detector's new state, or close it.

    What an open finding touches is not learned. `accept`: the change is meant (a new high voltage, say), and from now
    on it is how the detector is. `close`: it is over, and what it touched is as it was before. `adapt STATE --undo ID`
    takes a word back.
    """
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|accept|close")
    listed = actions.add_parser("list", help="all that are open")
    listed.add_argument("state", type=Path, metavar="STATE", help="folder of the state")
    for action, what in (("accept", "it is a change that is meant, and stays"), ("close", "it is over")):
        word = actions.add_parser(action, help=what)
        word.add_argument("state", type=Path, metavar="STATE", help="folder of the state")
        word.add_argument("finding", metavar="ID", help="which, as `findings list` names it")
        word.add_argument("--reason", required=True, metavar="TEXT", help="who says so, and why; kept with the state")


def add_innovations(parser: argparse.ArgumentParser) -> None:
    """What runs do beyond what a detector state expects, and what of it still follows something.

    R² on runs that were not learned from, by the past of each unit, its neighbours in the same run, trigger menu and
    dose. Where all are near 0 the state knows what can be known; above 0.1 there is more to learn. The runs are judged
    in the order of their numbers; the first one must be clean.
    """
    parser.add_argument("runs", nargs="+", metavar="RUN",
                        help="DQM files, folders or reference runs; seven runs or more")  # fmt: skip
    _add_definition(parser)
    _add_oms(parser)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Hold runs against a reference run: what differs, as a table, a ROOT file for the DQM GUI, JSON and pictures."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="DQM file, or name of a reference run; several: drift")
    parser.add_argument("--reference", metavar="NAME",
                        help="reference of the catalogue (default: the one that fits each run best)")  # fmt: skip
    _add_output(parser, "DIR", "folder to write into")
    _add_definition(parser)
    _add_mask(parser, "left out on both sides")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if anything differs beyond its threshold")


def add_reference(parser: argparse.ArgumentParser) -> None:
    """Keep the catalogue of reference runs: which run is the reference for which era, trigger and detector state."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|show|verify")
    add = actions.add_parser("add", help="make a reference of clean runs, in your own folder of HCAL_ROOT_AD_PATH")
    add.add_argument("runs", nargs="+", metavar="CLEAN", help="DQM file of a clean run")
    add.add_argument("--name", required=True, metavar="NAME", help="name of the new reference")
    add.add_argument("--trigger", metavar="DATASET",
                     help="primary dataset (default: from the file names); '' fits every trigger")  # fmt: skip
    add.add_argument("--state", default="", metavar="TEXT", help="detector state, in words")
    add.add_argument("--first-run", type=count, default=0, metavar="RUN", help="first run of that state")
    add.add_argument("--last-run", type=count, default=0, metavar="RUN", help="last run of that state")
    add.add_argument("--what", default="", metavar="TEXT", help="remark for people")
    _add_definition(add)
    actions.add_parser("list", help="all reference runs, as a table")
    details = actions.add_parser("show", help="one reference run in detail")
    details.add_argument("name", metavar="NAME")
    verify = actions.add_parser("verify", help="check keys, files and digests; exit code 1 if something is wrong")
    verify.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Write a model as an ONNX file: reference, network and threshold inside, memory in and out."""
    parser.add_argument("model", metavar="MODEL", help="name or folder")
    _add_output(parser, "FILE.onnx", "file to write")
    parser.add_argument("--cmssw", action="store_true",
                        help="as a model for CMSSW's HcalMLTask; prints the configuration that uses it")  # fmt: skip
    parser.add_argument("--false-alarms", type=positive, metavar="PER_100_LS",
                        help="false flags per 100 LS, which set the threshold (default: the model's)")  # fmt: skip
