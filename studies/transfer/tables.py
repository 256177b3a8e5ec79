"""The tables, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from studies.transfer.comparison import Row, chosen, contamination_cost, rows_of
from studies.transfer.grids import MAIN, SENSIBLE
from studies.transfer.measurement import Result
from studies.transfer.settings import BLOCKS, MODES, digest_of

LEGEND = """\
**Blocks** has one letter for each of {blocks}: {modes}.
**Error** is the deviance per channel and LS beyond 1, on held-out clean runs; **/ scratch** divides it by the error of
training from scratch on all clean LS of the same direction and seed; **reference** is the error without a network.
**AUC** and **pAUC** (FPR ≤ 1e-3) are those of the evidence per channel and LS on a run with faint faults (factors 0.6,
0.8, 1.25 and 1.5 for ten LS, single channels and modules). **Saved** is the share of the parameters that need no
training. **Reached** says after how many epochs (CPU seconds) the error of training from scratch was met; 0 means
before any training."""

HEAD = ("blocks", "error", "/ scratch", "reference", "AUC", "pAUC", "saved", "epochs (s)", "reached")


def markdown(results: Sequence[Result], made: str, figures: Sequence[str]) -> str:
    """All tables of a study as one page, one section per question that the results answer.

    ``made``: by which command, version and when.
    """
    rows = rows_of(results)
    modes = ", ".join(f"{letter} {meaning}" for letter, meaning in MODES.items())
    lines = ["# Transfer study", "", f"{made}, {len(rows)} points, seeds {_seeds(rows)}. {_size(rows)}", ""]
    lines += [LEGEND.format(blocks=", ".join(BLOCKS), modes=modes), ""]
    for title, key, part in _sections(rows):
        if part and (key not in ("direction", "seed") or len({row[key] for row in part}) > 1):
            lines += [f"## {title}", "", *_table(key, part, rows), ""]
    lines += _over_seeds(rows)
    lines += [f"![{name}]({name})" for name in figures]
    return "\n".join(lines)


def _sections(rows: list[Row]) -> list[tuple[str, str, list[Row]]]:
    """Title, the setting that varies beside the blocks, and the rows in order."""
    first = min((row["seed"] for row in rows), default=1)
    usual = statistics.mode(digest_of(row["size"]) for row in rows)
    longer = [row for row in rows if digest_of(row["size"]) != usual]
    rows = [row for row in rows if digest_of(row["size"]) == usual]
    main = [row for row in rows if row["direction"] == MAIN]
    one = [row for row in main if row["seed"] == first]
    key_blocks = {row["blocks"] for row in one if row["contamination"] or row["preserved"]}
    elsewhere = {(row["blocks"], row["seed"]) for row in rows if row["direction"] != MAIN}
    parts = [
        (f"{MAIN}: how much data", "fraction", chosen(one, fraction=any)),
        (f"{MAIN}: judged with the reference of all LS", "fraction", chosen(one, fraction=any, whole_reference=True)),
        (f"{MAIN}: faults in the training runs", "contamination",
         [row for row in chosen(one, contamination=any) if row["blocks"] in key_blocks]),
        (f"{MAIN}: RNN state preserved from window to window", "fraction", chosen(one, fraction=any, preserved=True)),
        (f"{MAIN}: learning rates", "annealing",
         [row for row in chosen(one, annealing=any) if row["blocks"] in ("SSSSS", "IIIII")]),
        ("Directions, all LS", "direction",
         [row for row in chosen(rows) if (row["blocks"], row["seed"]) in elsewhere]),
        ("Directions, a tenth of the LS", "direction",
         [row for row in chosen(rows, fraction=0.1) if (row["blocks"], row["seed"]) in elsewhere]),
        (f"{MAIN}: other seeds, all LS", "seed", [row for row in chosen(main) if row["blocks"] in key_blocks]),
        (f"{MAIN}: other seeds, a tenth of the LS", "seed",
         [row for row in chosen(main, fraction=0.1) if row["blocks"] in key_blocks]),
        (f"{MAIN}: other seeds, a tenth of the LS, judged with the reference of all", "seed",
         chosen(main, fraction=0.1, whole_reference=True)),
        (f"{MAIN}: other seeds, faults in a tenth of the LS", "seed", chosen(main, contamination=0.1)),
        (f"{MAIN}: trained for longer", "fraction", longer),
        ("Everything else", "fraction", _rest(rows, first)),
    ]  # fmt: skip
    return [(title, key, sorted(part, key=lambda row: _order(row, key))) for title, key, part in parts]


def _over_seeds(rows: list[Row]) -> list[str]:
    """Mean and standard error over seeds of the error over that of training from scratch; nothing for one seed."""
    groups: dict[tuple[str, float, str], list[float]] = {}
    for row in (row for fraction in (1.0, 0.1) for row in chosen(rows, fraction=fraction)):
        if row.ratio is not None:
            groups.setdefault((row["direction"], row["fraction"], row["blocks"]), []).append(row.ratio)
    several = {key: ratios for key, ratios in groups.items() if len(ratios) > 1}
    if not several:
        return []
    lines = ["## Over seeds: error / that of scratch on all LS", "",
             "| direction | LS | blocks | seeds | / scratch |", "|---|---|---|---|---|"]  # fmt: skip
    for (direction, fraction, blocks), ratios in several.items():
        error = statistics.stdev(ratios) / len(ratios) ** 0.5
        mean = f"{statistics.mean(ratios):.3f} ± {error:.3f}"
        lines.append(f"| {direction} | {fraction:.0%} | `{blocks}` | {len(ratios)} | {mean} |")
    return [*lines, ""]


def _rest(rows: list[Row], first: int) -> list[Row]:
    """Rows that no other section can have: more than one setting differs."""
    plain = {"direction": MAIN, "preserved": False, "annealing": "cosine", "contamination": 0.0}
    return [row for row in rows if row["seed"] == first and sum(row[key] != plain[key] for key in plain) > 1]


def _order(row: Row, key: str) -> tuple[object, ...]:
    known = list(SENSIBLE)
    place = known.index(row["blocks"]) if row["blocks"] in known else len(known)
    value = row[key]
    return (-value if key == "fraction" else value, place, row["blocks"], row["seed"])


def _table(key: str, part: list[Row], rows: list[Row]) -> list[str]:
    costs = key == "contamination" or any(row["contamination"] for row in part)
    head = [key.replace("fraction", "LS"), *HEAD, *(["cost of the faults"] if costs else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in part:
        cells = [_value(row, key), *_cells(row), *([_cost(rows, row)] if costs else [])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _value(row: Row, key: str) -> str:
    if key == "fraction":
        remarks = [f"{row['contamination']:.0%} with faults"] if row["contamination"] else []
        remarks += ["reference of all"] if row["whole_reference"] else []
        return ", ".join([f"{row[key]:.0%} ({row.result.lumisections})", *remarks])
    if key == "direction":
        return str(row[key]) + (f", seed {row['seed']}" if row["seed"] > 1 else "")
    return f"{row[key]:.0%}" if key == "contamination" else str(row[key])


def _cells(row: Row) -> list[str]:
    result, reached = row.result, row.reached
    return [
        f"`{row['blocks']}`",
        f"{row.excess:.4f}",
        _number(row.ratio, ".3f"),
        f"{result.reference_deviance - 1:.4f}",
        f"{result.auc:.4f}",
        f"{result.partial_auc:.4f}",
        f"{row.saving:.0%}",
        f"{result.epochs} ({result.seconds:.1f})",
        f"{reached[0]} ({reached[1]:.1f})" if reached else "never" if row.scratch else "–",
    ]


def _cost(rows: list[Row], row: Row) -> str:
    return _number(contamination_cost(rows, row) if row["contamination"] else None, "+.4f")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _seeds(rows: list[Row]) -> str:
    return ", ".join(str(seed) for seed in sorted({row["seed"] for row in rows}))


def _size(rows: list[Row]) -> str:
    sizes = {digest_of(row["size"]): row["size"] for row in rows}
    said = [
        f"All LS are {size['runs']} runs of {size['lumisections']}, {size['epochs']} epochs over them "
        f"({size['source_epochs']} for the source), windows of {size['window']} LS, {size['held_out']} held-out run(s)."
        for size in sizes.values()
    ]
    return " ".join([*said, "Fewer LS are gone through up to four times as often."])
