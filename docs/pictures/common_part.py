"""Draws common_part.png: a simulated run in which conditions change and a box loses a tenth of its digis.

python docs/pictures/common_part.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hcal_root_ad.judge.levels import unit_levels
from hcal_root_ad.judge.units import scan_units
from hcal_root_ad.model.common_part import CommonPartFit
from hcal_root_ad.model.model import thresholds
from hcal_root_ad.model.reference_fit import CleanLumisections, fit_reference
from hcal_root_ad.simulate.scenario import FaultKind, FillConditions, make_fault
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import Drift, simulate_run
from hcal_root_ad.stats.binomial import newton_step

LUMISECTIONS, STEP, BOX = 80, 30, "HEM05"


def lumisections(run) -> CleanLumisections:  # type: ignore[no-untyped-def]
    rows = run.maps.channels.rows_of("HB", "HE")
    zeros = np.zeros(len(run.maps), dtype=np.intp)
    return CleanLumisections(run.maps.channels.take(rows), run.maps.counts[:, rows], run.maps.events, zeros)


def conditions(pileup: tuple[float, float], step: bool) -> FillConditions:
    none, time = np.zeros(LUMISECTIONS, dtype=bool), np.arange(LUMISECTIONS)
    return FillConditions(
        lumisections=(time + 1).astype(np.int32), events=np.full(LUMISECTIONS, 1500),
        pileup=np.linspace(*pileup, LUMISECTIONS),
        prescale_column=(time >= STEP).astype(int) if step else np.zeros(LUMISECTIONS, dtype=int),
        short=none, gap=none,
    )  # fmt: skip


def main() -> None:
    detector = simulate_detector(7)
    reference = fit_reference(lumisections(simulate_run(detector, conditions((52, 33), False), seed=1, run=370_001)))
    fault = make_fault(detector, FaultKind.DEGRADED, BOX, 45, LUMISECTIONS, 0.9)
    judged = lumisections(
        simulate_run(detector, conditions((45, 25), True), [fault], seed=2, run=370_002, drift=Drift(mix_ring=0.05))
    )
    fit = CommonPartFit(reference)
    levels = fit.fit(judged.counts, judged.events)
    tree = reference.tree
    units = unit_levels(levels, tree, reference)
    series = {"channel": 6600, "module": 144, "box": 36, "half": 2, "ring": 70, "subdetector": 1}
    faults = scan_units(units, tree, reference, 1, thresholds(0.5, series), across=True, log_pileup=levels.log_pileup)
    b, w = newton_step(judged.counts.astype(float), judged.events[:, None].astype(float), reference.level[None])
    plain = (tree.box.sums @ (b * reference.live).T) / (tree.box.sums @ (w * reference.live).T)
    draw(
        100 * plain[36:],
        100 * units.condition[:, tree.subdetector_of_side_ring == 1].T,
        100 * units.box[:, 36:].T,
        faults,
        tree,
    )


def draw(plain, condition, left, faults, tree) -> None:  # type: ignore[no-untyped-def]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    titles = ("boxes of HE against the clean run", "rings of HE: the condition", "boxes of HE: what is left")
    for axis, values, title, limit in zip(axes, (plain, condition, left), titles, (60, 15, 12), strict=True):
        image = axis.imshow(
            values,
            aspect="auto",
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            extent=(0.5, LUMISECTIONS + 0.5, len(values), 0),
        )
        axis.set(title=title, xlabel="LS", ylabel="ring" if "ring" in title else "HEM01 … HEP18")
        figure.colorbar(image, ax=axis, label="shift of log rate, %")
    for fault in faults:
        for stretch in fault.stretches:
            row = fault.unit - 36
            axes[2].add_patch(
                plt.Rectangle(
                    (stretch.first + 0.5, row), stretch.last - stretch.first + 1, 1, fill=False, color="black", lw=1.2
                )
            )
            axes[2].text(
                stretch.first - 1,
                row + 0.9,
                f"{tree.box.names[fault.unit]} ×{np.exp(stretch.shift):.2f}",
                ha="right",
                fontsize=8,
            )
    figure.suptitle("CMS Simulation", x=0.06, fontsize=9, style="italic")
    figure.savefig(Path(__file__).with_name("common_part.png"), dpi=100)


if __name__ == "__main__":
    main()
