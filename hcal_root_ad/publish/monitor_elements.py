"""From the verdict on a run to the monitor elements that are published."""

from __future__ import annotations

from collections.abc import Iterator

from hcal_root_ad.judge.aggregate import has_boxes
from hcal_root_ad.judge.verdict import RunVerdict, Verdict
from hcal_root_ad.publish import fault_elements, state_elements, task_elements
from hcal_root_ad.publish.axes import LumiAxis, lumi_axis
from hcal_root_ad.publish.elements import PRODUCTION, MonitorElement, MonitorElements
from hcal_root_ad.publish.provenance import Provenance, provenance_of_run
from hcal_root_ad.publish.provenance_scalars import provenance_scalars
from hcal_root_ad.publish.quality import quality_results
from hcal_root_ad.publish.summary import summary_elements, summary_scalars


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
    axis = lumi_axis(run.maps)
    made_of = provenance or provenance_of_run(run)
    elements = MonitorElements(
        run=run.maps.run,
        elements=(*_states(run, axis), *_faults(run, axis), *_task(run, axis, beside_digi_task, as_production)),
        scalars=(*summary_scalars(run, axis), *provenance_scalars(run, made_of)),
        quality=tuple(quality_results(run, axis)),
    )
    return elements.under(PRODUCTION) if as_production else elements


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


def _task(
    run: RunVerdict, axis: LumiAxis, beside_digi_task: bool, as_production: bool
) -> Iterator[MonitorElement]:  # fmt: skip
    for element in task_elements.occupancies(run.verdicts) if run.verdicts else ():
        if not (beside_digi_task and element.path.endswith("/Occupancy")):
            yield element
    if run.maps.events.any():
        yield task_elements.events(run, axis)
    for verdict in filter(has_boxes, _per_lumi(run)):
        yield task_elements.pull(verdict, axis)
        if as_production:
            yield task_elements.production_flags(verdict, axis)
    if run.common:
        yield from task_elements.common_part(run.common, axis)


def _per_lumi(run: RunVerdict) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in run.verdicts if verdict.granularity == "lumisection")
