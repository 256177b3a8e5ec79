"""Sound text inputs of each kind, how each is written and read, and of which type every value in it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from hcal_root_ad.certify.agreement import read_labels
from hcal_root_ad.certify.campaign import campaign_files
from hcal_root_ad.certify.executors import read_condor
from hcal_root_ad.certify.policy import load_policy
from hcal_root_ad.conditions import read_selection
from hcal_root_ad.harvest.harvester import read_definition
from hcal_root_ad.harvest.inputs import RemoteFile
from hcal_root_ad.mask import read_mask
from hcal_root_ad.oms import read_oms
from hcal_root_ad.references import read_catalogue

NUMBER, SHARE, REAL, FLAG, TEXT, NAME = "number", "share", "real", "flag", "text", "name"


@dataclass(frozen=True)
class TextKind:
    """A kind of text input.

    ``table``: what a sound one says. ``types``: type of a value by the last word of its place, "" for members of lists.
    """

    file_name: str
    table: Any
    write: Callable[[Any], str]
    read: Callable[[Path], object]
    types: Mapping[str, str]


def as_json(table: Any) -> str:
    return json.dumps(table, indent=1)


def as_csv(rows: Any) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([["" if cell is None else cell for cell in row.values()] for row in rows])
    return file.getvalue()


def as_brilcalc(rows: Any) -> str:
    return "#Data tag : 19v2 , Norm tag: None\n#" + as_csv(rows) + "#Summary:\n#nfill,nrun\n#1,2\n"


def as_lines(names: Any) -> str:
    return "# an era\n" + "\n".join(map(str, names)) + "\n"


def _oms(path: Path) -> object:
    runs, notes = read_oms(path)
    quantities = ("pileup", "delivered", "recorded")
    plain = {
        run: (one.lumisections.tolist(), one.causes, *(getattr(one, name).tolist() for name in quantities))
        for run, one in sorted(runs.items())
    }
    return str(plain), notes


def _catalogue(path: Path) -> object:
    """The catalogue of a folder has one name."""
    return read_catalogue(path.parent)


def _mask(path: Path) -> object:
    """The entries, without the digest of the file."""
    return read_mask(path).entries


def _dataset(path: Path) -> object:
    """The names in a list, wherever their files are."""
    return campaign_files([str(path)], (), lambda name: [RemoteFile(f"here://{name}")])


OMS = [
    {"run_number": run, "lumisection_number": ls, "pileup": 40.5 + ls, "recorded_lumi_per_lumisection": 12.0,
     "beams_stable": int(ls > 1), "cms_active": 1, "hbhea_ready": 1}
    for run in (370101, 370102) for ls in (1, 2, 3)
]  # fmt: skip
_OMS_TYPES = {"run_number": NUMBER, "lumisection_number": NUMBER, "pileup": REAL, "recorded_lumi_per_lumisection": REAL,
              "beams_stable": FLAG, "cms_active": FLAG, "hbhea_ready": FLAG}  # fmt: skip
BRIL = [
    {"run:fill": f"{run}:9000", "ls": f"{ls}:{ls}", "beamstatus": "STABLE BEAMS", "delivered(/pb)": 0.16,
     "recorded(/pb)": 0.15, "avgpu": 40.3}
    for run in (370101, 370102) for ls in (1, 2, 3)
]  # fmt: skip
REGISTRY = {
    str(run): [{"start": first, "end": last, "hcal-hcal": {"status": status, "cause": ""}}
               for first, last, status in ((1, 3, "GOOD"), (4, 9, "BAD"))]
    for run in (370101, 370102)
}  # fmt: skip
RULES = {"bad_channels": 0.02, "problematic_channels": 0.05, "lost_rbx_share": 0.75, "lost_rbx": 0, "consecutive": 1}
POLICY = {"version": "7", "description": "of a test", "needed": ["HB", "HE"],
          "rules": {**RULES, "HE": {"bad_channels": 0.1, "consecutive": 2}}}  # fmt: skip
DEFINITION = {
    "description": "mine", "container": "dqm_file", "quantity": "Mine", "rank": 3, "hf_holds_events": True,
    "maps": "{subsystem}/MyTask/depth{depth}", "subsystems": ["Hcal", "Hcal2"], "eras": ["Run3"],
    "own_events": ["{subsystem}/RunInfo/NumberOfEvents"],
}  # fmt: skip
CATALOGUE = {
    name: {"runs": [370101], "era": "Run3", "quantity": "Occupancy", "files": ["a.root"], "first_run": 1,
           "trigger": "ZeroBias", "sha256": {"a.root": "00ff"}}
    for name in ("one", "two")
}  # fmt: skip
MASK = {"mask": [
    {"units": ["HEP07-RM2", "HE +20/5/3"], "runs": [370000, 370999], "reason": "no high voltage"},
    {"subdetector": "HB", "ieta": [-16, -13], "iphi": [3, 6], "depth": [1, 2], "reason": "noisy"},
]}  # fmt: skip
CONDOR = {"jobs": 5, "cluster": {"cores": 1, "memory": "3 GB"}}

KINDS: Mapping[str, TextKind] = {
    "OMS, CSV": TextKind("oms.csv", OMS, as_csv, _oms, _OMS_TYPES),
    "OMS, JSON": TextKind(
        "oms.json", {"data": [{"type": "ls", "attributes": row} for row in OMS]}, as_json, _oms, _OMS_TYPES
    ),
    "brilcalc": TextKind("bril.csv", BRIL, as_brilcalc, _oms,
                         {"run:fill": NUMBER, "ls": NUMBER, "delivered(/pb)": REAL,
                          "recorded(/pb)": REAL, "avgpu": REAL}),
    "golden": TextKind("golden.json", {"370101": [[1, 40], [42, 50]], "370102": [[2, 2]]}, as_json,
                       lambda path: (read_selection(path), read_labels(path)), {"": NUMBER}),
    "Run Registry": TextKind("registry.json", REGISTRY, as_json, read_labels,
                             {"start": NUMBER, "end": NUMBER, "status": TEXT}),
    "policy": TextKind("mine.toml", POLICY, tomli_w.dumps, load_policy,
                       {"version": TEXT, "description": TEXT, "lost_rbx": NUMBER, "consecutive": NUMBER,
                        "bad_channels": SHARE, "problematic_channels": SHARE, "lost_rbx_share": SHARE, "": TEXT}),
    "definition": TextKind("mine.toml", DEFINITION, tomli_w.dumps, read_definition,
                           {"description": TEXT, "container": TEXT, "quantity": TEXT, "maps": TEXT, "rank": NUMBER,
                            "hf_holds_events": FLAG, "": TEXT}),
    "catalogue": TextKind("catalogue.toml", CATALOGUE, tomli_w.dumps, _catalogue,
                          {"era": TEXT, "quantity": TEXT, "trigger": TEXT, "first_run": NUMBER, "a.root": TEXT}),
    "mask": TextKind("mask.toml", MASK, tomli_w.dumps, _mask, {"reason": TEXT, "subdetector": TEXT, "": REAL}),
    "HTCondor": TextKind("condor.toml", CONDOR, tomli_w.dumps, read_condor, {"jobs": NUMBER}),
    "dataset list, JSON": TextKind("set.json", {"/ZeroBias": ["a.root", "b.root"]}, as_json,
                                   _dataset, {"": NAME}),
    "dataset list, text": TextKind("set.txt", ["a.root", "b.root", "c/d.root"], as_lines,
                                   _dataset, {}),
}  # fmt: skip
