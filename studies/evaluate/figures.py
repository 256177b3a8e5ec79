"""The figures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from studies.evaluate import limit, unit_limit
from studies.evaluate.campaign import Row
from studies.evaluate.material import Material
from studies.evaluate.suite import Condition
from studies.evaluate.summary import per_condition

LIMIT_STYLES: dict[str, dict[str, Any]] = {
    limit.NAME: {"color": "black", "linewidth": 2.5},
    unit_limit.NAME: {"color": "black", "linewidth": 2.5, "linestyle": ":"},
}


def partial_auc_figure(rows: Sequence[Row], material: Material, subdetector: str) -> Figure:
    """Partial AUC against the kind of fault, a panel per scale, a line per system; the limits in black."""
    deep = -(-len(material.scales) // 3)
    picture = Figure(figsize=(15, 4.2 * deep), layout="constrained")
    FigureCanvasAgg(picture)
    panels = picture.subplots(deep, min(3, len(material.scales)), sharey=True, squeeze=False)
    mine = [(row, per_condition(row, "partial_auc")) for row in rows if row["subdetector"] == subdetector]
    for panel, scale in zip(panels.flat, material.scales, strict=False):
        wanted = [Condition(kind, scale, "persistent") for kind in material.kinds]
        for number, (row, partial) in enumerate(mine):
            found = [partial.get(condition, (np.nan,) * 3)[0] for condition in wanted]
            style = {"color": colormaps["tab20"](number % 20), "linestyle": ("-", "--", ":")[number % 3]}
            style = LIMIT_STYLES.get(row["system"], style)
            panel.plot(range(len(found)), found, marker="o", markersize=3, label=row["system"], **style)
        panel.set_xticks(range(len(wanted)), material.kinds, rotation=60)
        panel.set_title(f"{subdetector}, {scale}, persistent", fontsize=11)
    panels[0, 0].set_ylabel("partial AUC (FPR ≤ 10⁻³)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    return picture
