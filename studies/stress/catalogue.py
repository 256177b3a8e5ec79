"""The catalogue of worlds, by name: healthy ones, ones with faults, and one that cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hcal_root_ad.simulate.scenario import FaultKind
from hcal_root_ad.simulate.simulated_run import Drift, RateChange
from studies.stress.changes import (
    Ageing,
    JetTriggers,
    Masked,
    Offsets,
    PhiWave,
    Restless,
    SmoothField,
    TriggerMix,
    ZeroSuppression,
)
from studies.stress.failures import Bursts, Drawn, Failure, Scattered, Unit
from studies.stress.worlds import CLEAN, Origin, Setting, World

_HB, _HE = ("HBM", "HBP"), ("HEM", "HEP")
_CROSSED = ("HBP", "HEM", "HBM", "HEP")


def _changed(name: str, sentence: str, *changes: RateChange) -> World:
    return World(name, sentence, Setting(changes=changes))


def _drifting(name: str, sentence: str, drift: Drift) -> World:
    """Drift is as large as it is in the judged run only; the clean run has the ordinary one."""
    return World(name, sentence, Setting(drift=drift))


def _failing(name: str, sentence: str, *failures: Failure, changes: tuple[RateChange, ...] = ()) -> World:
    return World(name, sentence, Setting(failures=failures, changes=changes))


_HEALTHY = (
    World("base", "nothing unusual"),
    World("shipped-detector", "nothing unusual, on the detector of the shipped models", origin=Origin.SHIPPED),
    _changed("mix-step", "trigger mix: rings by 2 % and a slope of 4 % in the middle of the run", TriggerMix()),
    _changed("jet-step", "zero-bias to jet triggers in the middle: 8 to 30 % more digis", JetTriggers()),
    _changed("jet-run", "jet triggers throughout, after a zero-bias clean run", JetTriggers(at=0.0)),
    _changed("zero-suppression-step", "new thresholds in HB in the middle: −8 ± 3 %", ZeroSuppression()),
    _changed("zero-suppression-run", "new thresholds in HB since the clean run: −8 ± 3 %", ZeroSuppression(at=0.0)),
    World(
        "prescales",
        "a new prescale column every 17 LS: events × 0.5 to 2, rings by 2 %",
        Setting(prescales=(1.0, 0.7, 1.36, 0.5, 2.0, 1.0), drift=Drift(mix_ring=0.02)),
    ),
    World("levelled", "pileup levelled at 50, sawing by 3 %", Setting(pileup=(50.0, 50.0), saw=0.03)),
    World("ramp", "pileup 20 to 60 within the run", Setting(pileup=(20.0, 60.0))),
    World("luminosity-steps", "pileup down and up between 55 and 35", Setting(pileup=(55.0, 35.0) * 4)),
    World("pileup-70", "pileup 70", Setting(pileup=(72.0, 68.0))),
    World("pileup-15", "pileup 15", Setting(pileup=(15.5, 14.5))),
    World("pileup-5", "pileup 5, after a clean run at 52 to 33", Setting(pileup=(5.2, 4.8))),
    World("pileup-3.5", "pileup 3.5, after a clean run at 52 to 33", Setting(pileup=(3.6, 3.4))),
    World("pileup-80-to-5", "pileup 80 falling to 5", Setting(pileup=(80.0, 5.0))),
    _changed("beam-spot", "the beam spot moves: a phi wave that grows to 3 % and turns", PhiWave()),
    _changed("smooth-field", "a field of 2 % over ieta and iphi that no unit follows", SmoothField()),
    _drifting("channel-drift-2", "channels drift twice as much", Drift(channel=0.010, run_channel=0.020)),
    _drifting("channel-drift-4", "channels drift four times as much within the run", Drift(channel=0.020)),
    _drifting(
        "drift-2",
        "boxes, modules and channels drift twice as much",
        Drift(box=0.02, module=0.01, channel=0.01, run_box=0.02, run_channel=0.02),
    ),
    _drifting(
        "drift-4",
        "boxes, modules and channels drift four times as much within the run",
        Drift(box=0.04, module=0.02, channel=0.02),
    ),
    _changed("channel-offsets", "every channel 3 % off since the clean run", Offsets("channel", 0.03)),
    _changed("box-offsets", "all 72 boxes off by 2 % since the clean run", Offsets("RBX", 0.02)),
    _changed("box-jitter", "boxes jump by 1 % from LS to LS", Restless("RBX", 0.01)),
    _changed("card-drift", "QIE cards wander by 1.5 % within 50 LS", Restless("card", 0.015, 50.0)),
    World("events-50", "50 events per LS", Setting(events=50.0)),
    World("events-200", "200 events per LS", Setting(events=200.0)),
    World("events-5000", "5,000 events per LS", Setting(events=5000.0)),
    _changed("aged-10", "HE aged since the clean run: no loss at |ieta| 18, 10 % at 29", Ageing(0.1)),
    _changed("aged-20", "HE aged since the clean run: no loss at |ieta| 18, 20 % at 29", Ageing(0.2)),
    World(
        "showers",
        "neighbours count together as in real LS, in both runs",
        Setting(showers=True),
        replace(CLEAN, showers=True),
    ),
    World("showers-unlearned", "neighbours count together in the judged run only", Setting(showers=True)),
    World("long", "600 LS of ordinary conditions", Setting(lumisections=600, pileup=(52.0, 30.0))),
    World(
        "unmasked",
        "20 channels that were masked in the clean run live",
        clean=replace(CLEAN, changes=(Masked(20, 1),)),
    ),
    World(
        "faults-in-clean-run",
        "the clean run has 40 LS of a box at ×0.6, a dead module and a hot channel",
        clean=replace(
            CLEAN,
            failures=(Unit("HEM05", 0.6, 20, 59), Unit("HBP03-RM2", 0.0, 40, 70), Unit("HE +20/5/3", 2.0, 1, 45)),
        ),
    ),
    World(
        "bad-box-in-clean-run",
        "a box was at ×0.7 throughout the clean run and is sound now",
        clean=replace(CLEAN, failures=(Unit("HEM05", 0.7),)),
        tolerated=("HEM05",),
    ),
)

_LARGE = (
    _failing("half-he", "HEP ×0.6 in LS 10 to 60", Unit("HEP", 0.6, 10, 60)),
    _failing("18-he-boxes", "18 boxes of both sides of HE ×0.6 in LS 10 to 60", Drawn("RBX", 0.6, 18, 10, 60, _HE)),
    _failing("9-hem-boxes", "nine boxes of HEM ×0.6 in LS 10 to 60", Drawn("RBX", 0.6, 9, 10, 60, ("HEM",))),
    _failing("9-hem-boxes-0.9", "nine boxes of HEM ×0.9 in LS 10 to 60", Drawn("RBX", 0.9, 9, 10, 60, ("HEM",))),
    _failing("6-he-boxes", "six boxes of HE ×0.6 throughout", Drawn("RBX", 0.6, 6, halves=_HE)),
    _failing("30-percent-he", "30 % of HE's channels at random ×0.6 in LS 10 to 60", Scattered("HE", 0.3, 0.6, 10, 60)),
    _failing("30-percent-he-dead", "30 % of HE's channels at random dead throughout", Scattered("HE", 0.3, 0.0)),
    _failing("he-0.7", "HE ×0.7 throughout", Unit("HE", 0.7)),
    _failing("he-0.7-20", "HE ×0.7 in LS 20 to 39", Unit("HE", 0.7, 20, 39)),
    _failing("he-0.5-20", "HE ×0.5 in LS 20 to 39", Unit("HE", 0.5, 20, 39)),
    _failing("he-0.3", "HE ×0.3 throughout", Unit("HE", 0.3)),
    _failing("hb-0.7", "HB ×0.7 throughout", Unit("HB", 0.7)),
    _failing("hep-0.7", "HEP ×0.7 throughout", Unit("HEP", 0.7)),
    _failing("hep-0.7-20", "HEP ×0.7 in LS 20 to 39", Unit("HEP", 0.7, 20, 39)),
    _failing("ring-0.85", "HE |ieta| 26 ×0.85 in LS 40 to 59", Unit("HE |ieta| 26", 0.85, 40, 59)),
    _failing("ring-0.6", "HE |ieta| 26 ×0.6 in LS 40 to 59", Unit("HE |ieta| 26", 0.6, 40, 59)),
    _failing("ring-0.85-late", "HE |ieta| 26 ×0.85 from the middle on", Unit("HE |ieta| 26", 0.85, 51)),
    _failing("ring-side-0.8", "one side of a ring, HE ieta +22, ×0.8 in LS 40 to 59", Unit("HE ieta +22", 0.8, 40, 59)),
    _failing("ring-side-0.9", "one side of a ring, HB ieta +5, ×0.9 from the middle on", Unit("HB ieta +5", 0.9, 51)),
    _failing(
        "rings-of-a-side",
        "the five outermost rings of HEM ×0.6 in LS 40 to 59",
        *(Unit(f"HE ieta -{ieta}", 0.6, 40, 59) for ieta in range(25, 30)),
    ),
    _failing(
        "module-pair",
        "two of the four modules of an HB box ×0.8 for half of the run",
        Unit("HBP02-RM1", 0.8, 26, 75),
        Unit("HBP02-RM3", 0.8, 26, 75),
    ),
)
_READOUT = (
    _failing("gain-steps", "an HB box ×0.9 and an HE box ×1.1 from the middle on",
             Drawn("RBX", 0.9, 1, 51, halves=_HB), Drawn("RBX", 1.1, 1, 51, halves=_HE)),
    _failing("noise-bursts", "six modules and boxes noisy for one or two LS", Bursts()),
    _failing("new-masks", "20 channels that lived in the clean run are masked", Drawn("channel", 0.0, 20)),
    _failing("flickering", "twelve channels on and off from LS to LS",
             Drawn("channel", 0.5, 12, kind=FaultKind.FLICKERING)),
    _failing("dead-board", "a lost uHTR throughout", Unit("crate24-slot3", 0.0)),
    _failing("hf-and-ho", "HF channels dead, ×0.9 and ×0.99, a dead HO box and a weak HO channel",
             Unit("HF -35/7/2", 0.0), Unit("HF +33/5/1", 0.9), Unit("HF +31/21/2", 0.99), Unit("HO1P02", 0.0),
             Unit("HO +3/10/4", 0.5)),
    _failing("dead-box", "a dead RBX throughout", Drawn("RBX", 0.0, halves=_HE)),
    _failing("dead-box-aged", "a dead RBX throughout, in an HE aged by 20 %",
             Drawn("RBX", 0.0, halves=_HE), changes=(Ageing(0.2),)),
    _failing("dead-box-aged-late", "a dead RBX from LS 21 on, in an HE aged by 20 %",
             Drawn("RBX", 0.0, first=21, halves=_HE), changes=(Ageing(0.2),)),
    _failing("dead-box-jet-step", "a dead RBX throughout, and a step to jet triggers",
             Drawn("RBX", 0.0, halves=_HE), changes=(JetTriggers(),)),
    _failing("dead-box-drift", "a dead HB box from LS 21 on, boxes and channels drift twice as much",
             Drawn("RBX", 0.0, first=21, halves=_HB),
             changes=(Offsets("RBX", 0.02), Offsets("channel", 0.02))),
)  # fmt: skip


def _weak(scale: str, count: int, strength: float) -> tuple[World, World]:
    """Units with a small loss, from the first LS on and from the middle on."""
    name, sentence = f"{scale.lower()}-{strength:g}", f"{count} × {scale} at ×{strength:g}"
    return (
        _failing(name, f"{sentence} throughout", Drawn(scale, strength, count, halves=_CROSSED)),
        _failing(f"{name}-late", f"{sentence} from the middle on", Drawn(scale, strength, count, 51, halves=_CROSSED)),
    )


_WEAK = (
    *_weak("RBX", 2, 0.85),
    *_weak("RBX", 2, 0.9),
    *_weak("RBX", 2, 0.95),
    *_weak("RM", 8, 0.9),
    *_weak("RM", 8, 0.95),
    *_weak("channel", 40, 0.9),
    *_weak("channel", 40, 0.85),
)

_UNKNOWABLE = (World("another-detector", "the clean run is of another detector altogether", origin=Origin.EXCHANGED),)

WORLDS: Mapping[str, World] = {world.name: world for world in (*_HEALTHY, *_LARGE, *_READOUT, *_WEAK, *_UNKNOWABLE)}
"""Every world by its name; in their order they are rows of the stress table."""
