"""All that is published of one run, and the file that holds it.

``Hcal/HcalADTask``: what was observed, what was expected, how far apart they are, and what is common to all channels.
``Hcal/HcalADClient``: states, faults, quality results, and where the verdict comes from. One scalar holds the whole
:class:`Provenance` but for the inputs, which have a scalar each: a key of ROOT takes at most 32 kB, and the files of a
run may be thousands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hcal_root_ad.detector import N_DEPTH, N_DQM_IETA, SUBDET_PM
from hcal_root_ad.errors import OutputError
from hcal_root_ad.judge import aggregate
from hcal_root_ad.judge.aggregate import Array, Floats
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import CommonPart, ModelInfo, Verdict
from hcal_root_ad.lumi_maps import LumiMaps, Source
from hcal_root_ad.provenance import INPUTS, Material, Provenance, provenance_of_run, provenance_of_text
from hcal_root_ad.publish import elements, fault_elements, state_elements
from hcal_root_ad.publish.elements import CLIENT, PRODUCTION, TASK, LumiAxis, MonitorElement, MonitorElements, Scalar
from hcal_root_ad.publish.fault_elements import quality_results
from hcal_root_ad.publish.gui_rules import name_complaints, offline_name, online_name, with_version
from hcal_root_ad.publish.root_file import attach_to_file, write_root_file
from hcal_root_ad.publish.state_elements import summary_elements, summary_scalars


def occupancies(verdicts: Sequence[Verdict]) -> Iterator[MonitorElement]:
    """Mean digis per channel of the judged LS, observed and expected, ieta × depth: masked channels do not count."""
    sums = [(verdict, aggregate.channel_sums(verdict)) for verdict in verdicts]
    for name, title, quantity in (
        ("Occupancy", "digis observed per channel", "observed"),
        ("ReconstructedOccupancy", "digis expected per channel", "expected"),
    ):
        totals, channels = np.zeros((2, N_DEPTH + 1, N_DQM_IETA))
        for verdict, of in sums:
            use = aggregate.count_by_channel(verdict.states, aggregate.judged) > 0
            place = aggregate.map_of(verdict.channels)[use], verdict.channels.dqm_x[use]
            np.add.at(totals, place, getattr(of, quantity)[use])
            np.add.at(channels, place, 1)
        rows = N_DEPTH + bool(channels[N_DEPTH].any())
        means = (totals / np.maximum(channels, 1))[:rows].T
        labels = (*map(str, range(1, N_DEPTH + 1)), "HO")[:rows]
        yield elements.ring_map(f"{TASK}/{name}/{name}", means, title, labels)


def events_vs_ls(run: RunVerdict, axis: LumiAxis) -> MonitorElement:
    """Events against LS."""
    values = axis.spread(run.maps.events, run.maps.lumisections)
    return elements.counts_vs_ls(f"{TASK}/EventsvsLS/EventsvsLS", axis, values, "events", "events")


def pull_vs_ls(verdict: Verdict, axis: LumiAxis) -> MonitorElement:
    """Root mean square pull of the judged channels against LS: 1 is statistics alone. Its error is that of n pulls."""
    values = aggregate.reconstruction_error(verdict)
    channels = aggregate.count_by_lumi(verdict.states, aggregate.judged)
    values[channels == 0] = np.nan
    errors = values / np.sqrt(2 * np.maximum(channels, 1))
    shown, widths = (axis.spread(column, verdict.lumisections, np.nan) for column in (values, errors))
    path = f"{TASK}/PullvsLS/Subdet/{verdict.subdetector}"
    return elements.points_vs_ls(
        path, axis, shown, widths, f"{verdict.subdetector}: RMS pull (1 is chance)", "RMS pull"
    )


def production_flags(verdict: Verdict, axis: LumiAxis) -> MonitorElement:
    """Flagged channels against LS: path, title and axes as CMSSW's ``HcalMLTask`` books it, its spelling included."""
    flags = axis.spread(aggregate.count_by_lumi(verdict.states, aggregate.flagged), verdict.lumisections)
    values, name = np.where(flags >= 0, flags, 0).astype(np.float64), verdict.subdetector
    path = f"{TASK}/MLBadFlagedChannelsvsLS/Subdet/{name}"
    assessed = axis.spread(verdict.assessed, verdict.lumisections)
    return elements.points_vs_ls(path, axis, np.where(assessed, values, np.nan), np.zeros_like(values), name, "N")


def common_part_elements(common: CommonPart, axis: LumiAxis) -> Iterator[MonitorElement]:
    """What the judge takes for conditions: pileup over that of the clean runs, and how far larger units moved."""
    pileup = np.exp(common.log_pileup.astype(np.float64))
    values, errors = (
        axis.spread(column, common.lumisections, np.nan) for column in (pileup, pileup * common.log_pileup_error)
    )
    yield elements.points_vs_ls(
        f"{TASK}/CommonPart/PileupvsLS", axis, values, errors, "pileup over that of clean runs", "ratio"
    )
    shifts = {f"{name}/HB": _percent(values) for name, values in common.subdetector.items()}
    shifts |= {half: _percent(common.half[:, index]) for index, half in enumerate(SUBDET_PM)}
    shifts |= {"ring": _percent(common.ring), "RBX": _percent(common.box)}
    rows = axis.spread(np.stack(list(shifts.values())[::-1], axis=1), common.lumisections)
    title = "shifts of common rates, size [%]"
    yield elements.lumi_map(f"{TASK}/CommonPart/ShiftsvsLS", axis, rows, title, list(shifts)[::-1])


def _percent(shift: Array) -> Floats:
    """Size of a change of rate in percent, 0 where not assessed; (LS,) of any unit where there are several."""
    percent = np.asarray(np.nan_to_num(100 * np.abs(np.expm1(shift.astype(np.float64)))))
    return percent if percent.ndim == 1 else np.asarray(percent.max(axis=1, initial=0.0))


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
    for name, sentences in (("masked", run.masked), ("open", run.open_findings), ("note", run.every_note)):
        for number, sentence in enumerate(sentences, start=1):
            yield Scalar(f"{FOLDER}/{name}{number:02d}", sentence)


def made_of(folder: str, sources: Iterable[Source], provenance: Provenance) -> Iterator[Scalar]:
    """The inputs one by one, and all the rest in one text."""
    for number, source in enumerate(sources, start=1):
        digest = f"sha256 {source.sha256}" if source.sha256 else "no digest (read by network, or changed since)"
        yield Scalar(f"{folder}/input{number:04d}", f"{source.name}, {source.size} bytes, {digest}")
    rest = tuple(material for material in provenance.materials if material.role != INPUTS)
    yield Scalar(f"{folder}/record", replace(provenance, materials=rest).text())


def provenance_of_scalars(texts: Iterable[str]) -> Provenance | None:
    """What :func:`made_of` wrote, from the texts of a folder in any order; None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    provenance, inputs = None, []
    for text in sorted(texts):
        if match := _RECORD.fullmatch(text):
            provenance = provenance_of_text(match["text"])
        elif match := _INPUT.fullmatch(text):
            inputs.append(Material(INPUTS, match["name"], match["sha256"] or "", int(match["size"])))
    return replace(provenance, materials=(*inputs, *provenance.materials)) if provenance else None


def _judge(judge: ModelInfo, of: str, granularity: str) -> Iterator[Scalar]:
    facts: dict[str, float | str] = {
        "model": f"{judge.name} {judge.version}".strip(), "modelDigest": judge.digest,
        "threshold": float(judge.threshold), "falseAlarmsPer100LS": float(judge.false_alarms),
        "granularity": granularity,
    }  # fmt: skip
    yield from (Scalar(f"{FOLDER}/{name}_{of}", value) for name, value in facts.items())


def monitor_elements(
    run: RunVerdict,
    provenance: Provenance | None = None,
    *,
    beside_digi_task: bool = False,
    as_production: bool = False,
) -> MonitorElements:
    """Histograms, scalars and quality results of one run, at the granularity that its file allowed.

    Args:
        beside_digi_task: the file holds DigiTask's own occupancy, and ours is left out.
        as_production: under the names of CMSSW's ``HcalMLTask``, with the elements that it has.
    """
    axis = elements.lumi_axis(run.maps)
    made_of = provenance or provenance_of_run(run)
    content = MonitorElements(
        run=run.maps.run,
        elements=(*_states(run, axis), *_faults(run, axis), *_task(run, axis, beside_digi_task, as_production)),
        scalars=(*summary_scalars(run, axis), *provenance_scalars(run, made_of)),
        quality=tuple(quality_results(run, axis)),
    )
    return content.under(PRODUCTION) if as_production else content


def _states(run: RunVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    yield from summary_elements(run, axis)
    yield from state_elements.box_maps(run, axis)
    yield from state_elements.channel_states(run.verdicts)
    if _per_lumi(run) or run.strips:
        yield from state_elements.states_against_lumisections(run, axis)
    if run.strips:
        yield from state_elements.strip_states(run.strips, axis)


def _faults(run: RunVerdict, axis: LumiAxis) -> Iterator[MonitorElement]:
    yield fault_elements.fault_list(run, axis)
    yield from fault_elements.channel_percentages(run.verdicts)
    per_lumi = _per_lumi(run)
    if per_lumi or run.strips:
        yield from fault_elements.box_percentages((*per_lumi, *((run.strips,) if run.strips else ())), axis)
    if per_lumi:
        yield fault_elements.kind_map(per_lumi, axis)
    if uhtrs := fault_elements.uhtr_map(per_lumi, axis):
        yield uhtrs


def _task(run: RunVerdict, axis: LumiAxis, beside_digi_task: bool, as_production: bool) -> Iterator[MonitorElement]:
    for element in occupancies(run.verdicts) if run.verdicts else ():
        if not (beside_digi_task and element.path.endswith("/Occupancy")):
            yield element
    if run.maps.events.any():
        yield events_vs_ls(run, axis)
    for verdict in filter(aggregate.has_boxes, _per_lumi(run)):
        yield pull_vs_ls(verdict, axis)
        if as_production:
            yield production_flags(verdict, axis)
    if run.common:
        yield from common_part_elements(run.common, axis)


def _per_lumi(run: RunVerdict) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in run.verdicts if verdict.granularity == "lumisection")


def publish(
    verdict: RunVerdict,
    folder: Path,
    *,
    online: bool = False,
    attach_to: Path | None = None,
    provenance: Provenance | None = None,
    as_production: bool = False,
    version: int = 1,
) -> Path:
    """Write the file of one run into ``folder`` and return its path.

    With ``attach_to``, the folders are added to a copy of that harvested file, which keeps its name where the GUIs
    take it. Without ``provenance`` the verdict itself tells what it was made of. ``as_production``: under the names of
    CMSSW's ``HcalMLTask``, whose place the file then takes in a GUI. ``version``: of the file's name.

    Raises:
        OutputError: a GUI would refuse the file, or it cannot be written; nothing is left behind.
    """
    target = target_path(verdict.maps, folder, online=online, attach_to=attach_to)
    target = target.with_name(with_version(target.name, version)) if version > 1 else target
    if attach_to is not None and target.exists() and target.samefile(attach_to):
        raise OutputError(f"{target}: the output would replace the input; choose another folder with -o.")
    beside = attach_to is not None
    content = monitor_elements(verdict, provenance, beside_digi_task=beside, as_production=as_production)
    if attach_to is None:
        write_root_file(content, target)
    else:
        attach_to_file(content, Path(attach_to), target)
    return target


def target_path(maps: LumiMaps, folder: Path, *, online: bool = False, attach_to: Path | None = None) -> Path:
    """Where :func:`publish` puts the file of that run."""
    name = online_name(maps.run) if online else offline_name(maps.run, maps.sources[0].name if maps.sources else "")
    if attach_to is not None and not list(name_complaints(attach_to.name)):
        name = attach_to.name
    return Path(folder) / name
