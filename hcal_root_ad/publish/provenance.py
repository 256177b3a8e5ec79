"""Where a verdict comes from, as scalars beside it: program, bundles, thresholds, definition, inputs and notes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from hcal_root_ad.judge.verdict import Judge, RunVerdict
from hcal_root_ad.publish.elements import CLIENT, Scalar

FOLDER = f"{CLIENT}/Provenance"


def provenance(run: RunVerdict) -> Iterator[Scalar]:
    """Scalars on the run as a whole, on each judge, and on each input file."""
    yield Scalar(f"{FOLDER}/program", f"hcal-root-ad {version('hcal-root-ad')}")
    yield Scalar(f"{FOLDER}/definition", run.maps.definition)
    for verdict in run.verdicts:
        yield from _judge(verdict.judge, verdict.subdetector, verdict.granularity)
    if run.strips:
        yield from _judge(run.strips.judge, "strips", "iphi strips per lumisection")
    for number, source in enumerate(run.maps.sources, start=1):
        digest = f"sha256 {source.sha256}" if source.sha256 else "no digest (read by network, or changed since)"
        yield Scalar(f"{FOLDER}/input{number:04d}", f"{source.name}, {source.size} bytes, {digest}")
    for number, note in enumerate(_notes(run), start=1):
        yield Scalar(f"{FOLDER}/note{number:02d}", note)


def _judge(judge: Judge, of: str, granularity: str) -> Iterator[Scalar]:
    yield Scalar(f"{FOLDER}/bundle_{of}", f"{judge.bundle} {judge.version}")
    yield Scalar(f"{FOLDER}/bundleDigest_{of}", judge.digest)
    yield Scalar(f"{FOLDER}/threshold_{of}", float(judge.threshold))
    yield Scalar(f"{FOLDER}/falseAlarmsPer100LS_{of}", float(judge.false_alarms))
    yield Scalar(f"{FOLDER}/granularity_{of}", granularity)


def _notes(run: RunVerdict) -> tuple[str, ...]:
    """All notes once, in order."""
    strips = run.strips.notes if run.strips else ()
    return tuple(dict.fromkeys((*run.maps.notes, *run.notes, *(n for v in run.verdicts for n in v.notes), *strips)))
