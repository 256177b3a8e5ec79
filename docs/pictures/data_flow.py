"""Draws data_flow.svg (`python docs/pictures/data_flow.py`): boxes are steps, arrows carry what is written on them."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

STEP, STORE, OUTSIDE, INK = "#dbe9f6", "#fdf0d5", "#f2f2f2", "#44546a"
WIDTH, HEIGHT = 3.05, 1.1
ACROSS, UP = 4.25, 2.35
"""From a box to the next."""
BOXES = {
    # name: (column, row, title, what it does or is, colour)
    "files": (0, 1, "DQM files", "nanoDQMIO, DQMIO,\nharvested, DIALS, …", OUTSIDE),
    "harvest": (1, 1, "harvest", "digis per channel and LS,\nevents per LS", STEP),
    "judge": (2, 1, "judge", "common part, units,\nchannels, findings", STEP),
    "publish": (3, 1, "publish", "ROOT file, tables,\npictures, record", STEP),
    "gui": (4, 1, "DQM GUI, report", "states, maps, trends\nfor the shifter", OUTSIDE),
    "learn": (1, 2, "learn", "train,\ntransfer", STEP),
    "model": (2, 2, "model", "rates, powers,\nerrors, widths", STORE),
    "compare": (1, 0, "reference, compare", "rates of clean runs,\nand what differs", STEP),
    "certify": (3, 0, "certify", "good LS of many runs,\nby a written policy", STEP),
    "registry": (4, 0, "certification", "golden JSON, ranges,\ncauses", OUTSIDE),
}
ARROWS = (
    ("files", "harvest", ""),
    ("harvest", "judge", "LumiMaps"),
    ("judge", "publish", "Verdict"),
    ("publish", "gui", ""),
    ("harvest", "learn", "clean runs"),
    ("learn", "model", ""),
    ("model", "judge", ""),
    ("harvest", "compare", ""),
    ("publish", "certify", "records"),
    ("certify", "registry", ""),
)


def corner(name: str) -> tuple[float, float]:
    """Lower left corner of a box."""
    column, row, *_ = BOXES[name]
    return ACROSS * column, UP * row


def ends(start: str, end: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow between two neighbours begins and ends."""
    (x, y), (other_x, other_y) = corner(start), corner(end)
    if y == other_y:
        return (x + WIDTH, y + HEIGHT / 2), (other_x, other_y + HEIGHT / 2)
    if y < other_y:
        return (x + WIDTH / 2, y + HEIGHT), (other_x + WIDTH / 2, other_y)
    return (x + WIDTH / 2, y), (other_x + WIDTH / 2, other_y + HEIGHT)


def main() -> None:
    plt.rcParams["svg.hashsalt"] = "data_flow"
    figure, axes = plt.subplots(figsize=(14, 5))
    for name, (_, _, title, text, colour) in BOXES.items():
        x, y = corner(name)
        axes.add_patch(
            FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.12", fc=colour, ec=INK)
        )
        axes.text(x + WIDTH / 2, y + 0.86, title, ha="center", va="center", weight="bold", size=10.5)
        axes.text(x + WIDTH / 2, y + 0.38, text, ha="center", va="center", size=8.5)
    for start, end, label in ARROWS:
        (x, y), (other_x, other_y) = ends(start, end)
        axes.add_patch(FancyArrowPatch((x, y), (other_x, other_y), arrowstyle="-|>", mutation_scale=15, color=INK,
                                       shrinkA=2, shrinkB=2))  # fmt: skip
        beside = (0.1, 0.0, "left", "center") if x == other_x else (0.0, 0.08, "center", "bottom")
        axes.text((x + other_x) / 2 + beside[0], (y + other_y) / 2 + beside[1], label, size=9, style="italic",
                  ha=beside[2], va=beside[3])  # fmt: skip
    x, y = corner("harvest")
    watched = {"boxstyle": "round,pad=0,rounding_size=0.12", "fc": "none", "ec": "#b85c38", "ls": "--"}
    axes.add_patch(FancyBboxPatch((x - 0.2, y - 0.45), 2 * ACROSS + WIDTH + 0.4, HEIGHT + 0.65, **watched))
    axes.text(corner("judge")[0] + WIDTH / 2, y - 0.24, "watch: LS by LS, as files come", size=9, color="#b85c38",
              ha="center", va="center")  # fmt: skip
    axes.set(xlim=(-0.1, 4 * ACROSS + WIDTH + 0.1), ylim=(-0.1, 2 * UP + HEIGHT + 0.1), aspect="equal")
    axes.axis("off")
    figure.savefig(Path(__file__).with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
