"""The page on what `certify` costs, from the numbers of :mod:`benchmarks.scale`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.scale_model import (
    CHANNELS,
    ERA_LUMISECTIONS,
    ERA_RUNS,
    FILE_SYSTEM,
    HL_LHC_CHANNELS,
    Cost,
    era,
    extrapolated,
)

_PAGE = """# What `certify` costs, and what many workers make of it

For those who plan where an era is certified. Made by `python -m benchmarks.scale`: every number is measured or follows
from the measured ones. Seconds are those of one processor, with one thread for each process.

| what | seconds |
|---|---|
| starting a process: imports, models, and what its first run takes longer | {start:.2f} |
| a first look at a file | {look:.3f} |
| judging a run and writing its files | {run:.2f}, and {lumisection_ms:.2f} ms per LS |
| certifying a judged run, outputs included | {output:.3f}, and {output_ms:.3f} ms per LS |

## Predicted and measured

{campaigns}

The time takes it that each worker has a processor to itself. Where other work shared the machine (see the load),
processor seconds are what can be compared.

{scheduler}## An era, extrapolated

{runs:,} runs of log-normal lengths with {lumisections:,} LS in all.

{era}

What breaks first, and what helps:

- **The longest run.** A run is the smallest piece of work. The longest has {longest:,} LS and takes {longest_time};
  more than {useful:.0f} workers wait for it, though the longest runs come first. Beyond that, runs would have to be
  cut, and the judge's state handed on.
- **One process writes the outputs**, {serial} for the era, while all workers are done.
- **The file system** gives {kilobytes:.0f} kB per LS, {gigabytes:.0f} GB for the era: at {rate:g} GB/s it takes
  {reading}, however many workers there are.
- **The scheduler** takes {handover_ms:.1f} ms per task, and a run is {mean_run:.1f} s of work: it keeps {fed:,.0f}
  workers busy. Verdicts do not pass through it: workers write files and hand over their names.

## {millions:g} million channels

A detector as fine as at the HL-LHC has {factor:.0f} times the channels of HCAL. If each costs what it costs now, an LS
takes {heavy:.2g} s, and the era {heavy_era} on 500 workers. Memory breaks first: the counts of 2,000 LS alone are
{memory:.0f} GB. Sub-detectors are judged apart already; such a detector would be judged in pieces of some {CHANNELS:,}
channels, which share only what moves in common and are items of their own: {factor:.0f} times as many tasks, each as
large as today's, which the scheduler hands out in {tasks_time}.

## Where

{facts}
"""
_CAMPAIGN_HEAD = (
    "| workers | runs | LS | seconds: predicted | measured | off by | processor seconds: predicted | measured | off by "
    "| LS/s | load |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
_SCHEDULER = """## A real scheduler, with tasks that sleep

Tasks sleep as long as runs of log-normal lengths would take. Workers live in the scheduler's own process, so what
is given per task is their share, too.

| workers | tasks | mean task | without a scheduler | measured | efficiency | scheduler, per task | failed |
|---|---|---|---|---|---|---|---|
{rows}

"""


def page(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    handover = max((row["handover"] for row in results["scheduler"]), default=0.0)
    cost = Cost(**(results["cost"] | {"handover": handover}))
    lengths, per_lumisection = era(), results["bytes_per_lumisection"]
    factor = HL_LHC_CHANNELS / CHANNELS
    heavy = cost.lumisection * factor
    mean_run = cost.judging(ERA_LUMISECTIONS // ERA_RUNS)
    facts = results["machine"] | results["program"] | {"load at the end": f"{results['load']:.1f}"}
    return _PAGE.format(
        **asdict(cost),
        lumisection_ms=1e3 * cost.lumisection,
        output_ms=1e3 * cost.output_lumisection,
        campaigns="\n".join([_CAMPAIGN_HEAD, *map(_campaign, results["campaigns"])]),
        scheduler=_scheduler(results["scheduler"]),
        runs=ERA_RUNS,
        lumisections=ERA_LUMISECTIONS,
        era="\n".join(_era(cost, per_lumisection)),
        longest=max(lengths),
        longest_time=span(cost.judging(max(lengths))),
        useful=sum(map(cost.judging, lengths)) / cost.judging(max(lengths)),
        serial=span(cost.serial(lengths)),
        kilobytes=per_lumisection / 1e3,
        gigabytes=per_lumisection * ERA_LUMISECTIONS / 1e9,
        rate=FILE_SYSTEM / 1e9,
        reading=span(per_lumisection * ERA_LUMISECTIONS / FILE_SYSTEM),
        handover_ms=1e3 * handover,
        mean_run=mean_run,
        fed=mean_run / handover if handover else float("inf"),
        millions=HL_LHC_CHANNELS / 1e6,
        factor=factor,
        heavy=heavy,
        heavy_era=span(heavy * ERA_LUMISECTIONS / 500),
        memory=2 * HL_LHC_CHANNELS * 2000 / 1e9,
        CHANNELS=CHANNELS,
        tasks_time=span(ERA_RUNS * factor * handover),
        facts="\n".join(f"- {name}: {value}" for name, value in facts.items() if value),
    )


def _campaign(row: Mapping[str, Any]) -> str:
    cells: list[object] = [row["workers"], row["runs"], row["lumisections"]]
    for name in ("wall", "processor"):
        predicted, measured = row[f"predicted_{name}"], row[name]
        cells += [f"{predicted:.1f}", f"{measured:.1f}", f"{predicted / measured - 1:+.0%}"]
    cells += [f"{row['lumisections'] / row['wall']:.0f}", f"{row['load']:.1f}"]
    return f"| {' | '.join(map(str, cells))} |"


def _scheduler(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"| {row['workers']:,} | {row['tasks']:,} | {row['mean']:g} s | {row['ideal']:.1f} s | {row['wall']:.1f} s | "
        f"{row['ideal'] / row['wall']:.0%} | {1e3 * row['handover']:.1f} ms | {row['failed']} |"
        for row in rows
    ]
    return _SCHEDULER.format(rows="\n".join(lines)) if lines else ""


def _era(cost: Cost, per_lumisection: float) -> Iterator[str]:
    yield from ["| workers | time | of which the workers work | what limits it |", "|---|---|---|---|"]
    for workers, seconds, share, limit in extrapolated(cost, per_lumisection):
        yield f"| {workers:,} | {span(seconds)} | {share:.0%} | {limit} |"


def span(seconds: float) -> str:
    """A time for people.

    >>> span(6.25), span(750), span(9000)
    ('6.25 s', '12.5 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
