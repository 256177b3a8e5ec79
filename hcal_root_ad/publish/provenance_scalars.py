"""Where a verdict comes from, as scalars beside it: program, models, thresholds, definition, inputs and notes.

One of them holds the whole :class:`Provenance` but for the inputs, which have a scalar each: a key of ROOT takes at
most 32 kB, and the files of a run may be thousands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version

from hcal_root_ad.judge.verdict import ModelInfo, RunVerdict
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.publish.elements import CLIENT, Scalar
from hcal_root_ad.publish.provenance import INPUTS, Material, Provenance, provenance_of_text

FOLDER = f"{CLIENT}/Provenance"
_RECORD = re.compile(r"<record>s=(?P<text>.*)</record>", re.DOTALL)
_INPUT = re.compile(r"<input\d+>s=(?P<name>.*), (?P<size>\d+) bytes, (?:sha256 (?P<sha256>\w+)|no digest.*)</input\d+>")


def provenance_scalars(run: RunVerdict, provenance: Provenance) -> Iterator[Scalar]:
    """Scalars on the run as a whole, on each judge, and on each input file."""
    yield Scalar(f"{FOLDER}/program", f"hcal-root-ad {version('hcal-root-ad')}")
    yield Scalar(f"{FOLDER}/definition", run.maps.definition)
    for verdict in run.verdicts:
        yield from _judge(verdict.judge, verdict.subdetector, verdict.granularity)
    if run.strips:
        yield from _judge(run.strips.judge, "strips", "iphi strips per lumisection")
    yield from made_of(FOLDER, run.maps.sources, provenance)
    for number, sentence in enumerate(run.masked, start=1):
        yield Scalar(f"{FOLDER}/masked{number:02d}", sentence)
    for number, note in enumerate(run.every_note, start=1):
        yield Scalar(f"{FOLDER}/note{number:02d}", note)


def made_of(folder: str, sources: Iterable[Source], provenance: Provenance) -> Iterator[Scalar]:
    """The inputs one by one, and all the rest in one text."""
    for number, source in enumerate(sources, start=1):
        digest = f"sha256 {source.sha256}" if source.sha256 else "no digest (read by network, or changed since)"
        yield Scalar(f"{folder}/input{number:04d}", f"{source.name}, {source.size} bytes, {digest}")
    rest = tuple(one for one in provenance.materials if one.role != INPUTS)
    yield Scalar(f"{folder}/record", replace(provenance, materials=rest).text())


def provenance_of_scalars(texts: Iterable[str]) -> Provenance | None:
    """What :func:`made_of` wrote, from the texts of a folder in any order; None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    found, inputs = None, []
    for text in sorted(texts):
        if match := _RECORD.fullmatch(text):
            found = provenance_of_text(match["text"])
        elif match := _INPUT.fullmatch(text):
            inputs.append(Material(INPUTS, match["name"], match["sha256"] or "", int(match["size"])))
    return replace(found, materials=(*inputs, *found.materials)) if found else None


def _judge(judge: ModelInfo, of: str, granularity: str) -> Iterator[Scalar]:
    yield Scalar(f"{FOLDER}/model_{of}", f"{judge.name} {judge.version}".strip())
    yield Scalar(f"{FOLDER}/modelDigest_{of}", judge.digest)
    yield Scalar(f"{FOLDER}/threshold_{of}", float(judge.threshold))
    yield Scalar(f"{FOLDER}/falseAlarmsPer100LS_{of}", float(judge.false_alarms))
    yield Scalar(f"{FOLDER}/granularity_{of}", granularity)
