"""From the verdict on a run to the monitor elements that are published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.publish import client_elements, task_elements
from hcal_root_ad.publish.elements import MonitorElement, MonitorElements, QualityResult
from hcal_root_ad.publish.provenance import Provenance, provenance_of_run
from hcal_root_ad.publish.provenance_scalars import provenance_scalars
from hcal_root_ad.publish.quality import channel_results, strip_results
from hcal_root_ad.publish.reductions import axis_length

SHOWN = ("HB", "HE")
"""Sub-detectors with maps of channels and readout boxes: HO shares cells of the depth maps with HB."""


def monitor_elements(run: RunVerdict, provenance: Provenance | None = None) -> MonitorElements:
    """Histograms, scalars and quality results of one run, at the granularity that its file allowed.

    Maps per depth come from every verdict on channels, elements against LS from those per lumisection,
    LS × iphi maps from strips. Where nothing was judged per lumisection and channel, the events stand alone.
    Elements show HB and HE; what was found in HO and HF is in the tables.
    """
    run = replace(run, verdicts=tuple(verdict for verdict in run.verdicts if verdict.subdetector in SHOWN))
    length = axis_length(run)
    summary, scalars = client_elements.summary(run, length)
    return MonitorElements(
        run=run.maps.run,
        elements=(*_elements(run, length), summary),
        scalars=(*scalars, *provenance_scalars(run, provenance or provenance_of_run(run))),
        quality=tuple(_quality(run)),
    )


def _elements(run: RunVerdict, length: int) -> Iterator[MonitorElement]:
    per_lumi = tuple(verdict for verdict in run.verdicts if verdict.granularity == "lumisection")
    if run.verdicts:
        yield from task_elements.channel_maps(run.verdicts)
        yield from client_elements.channel_maps(run.verdicts)
    for verdict in per_lumi:
        yield from task_elements.trends(verdict, length)
        yield from task_elements.box_maps(verdict, length)
        yield from client_elements.kind_trends(verdict, length)
    if per_lumi:
        yield from client_elements.box_states(per_lumi, length)
    if run.strips or (run.maps.events.any() and not per_lumi):
        for name in ("HB", "HE"):
            yield task_elements.events_trend(name, run.maps.events, run.maps.lumisections, length)
    if run.strips:
        yield from task_elements.strip_maps(run.strips, length)
        yield from client_elements.strip_states(run.strips, length)


def _quality(run: RunVerdict) -> Iterator[QualityResult]:
    for verdict in run.verdicts:
        if verdict.granularity == "lumisection":
            yield from channel_results(verdict)
    if run.strips:
        yield from strip_results(run.strips)
