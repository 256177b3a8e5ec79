"""What was measured of the network's roles: one table, details by role, and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hcal_root_ad.files import write_text
from hcal_root_ad.style import save
from studies.network.absorption import LARGEST
from studies.network.cause import TEST
from studies.network.conditions import UNLEARNED
from studies.network.judged_cause import ALL, ERA
from studies.network.real_table import real_page

Row = dict[str, Any]
Found = Mapping[str, Sequence[Row]]

HEAD = """\
# What a network can do on top of the model

`python -m studies network -o DIR --real FILES`. Each role is asked with and without the network, beside what the same
material gives a plain linear method, and beside a bound that nobody can pass. *Asked on*: simulated detectors whose
healthy rates are known; changes and worlds of the stress suite; simulated eras and what changes rings there; and ten
LS of run 306138 ([details](real.md)), in two halves, with conditions and faults put into their counts. Errors are
standard errors over two or three networks (weights and order of training) and the test detectors, eras or halves.
*More than its error* asks whether the network is better than the model alone, and than the best that needs no network,
by more than twice the error of the difference. Networks are small (some 10,000 weights, minutes of CPU): CNN, message
passing, RNN and a variational bottleneck as in GraphSTAD for the condition shapes, recurrent ones elsewhere. Faults are
put into what they see in training, never into what they are charged for.
"""


@dataclass(frozen=True)
class Line:
    """One figure of merit: values of each alternative; ``better``: −1 where small is good, 1 where large is.

    ``where``: on what it was asked.
    """

    role: str
    where: str
    figure: str
    better: int
    alone: Sequence[float]
    linear: Sequence[float]
    network: Sequence[float]
    bound: Sequence[float]
    chance: float = 0.0
    """Error of a difference that repetitions do not show: of the test cases, which are the same for all."""

    def cells(self) -> list[str]:
        values = [_number(values) for values in (self.alone, self.linear, self.network, self.bound)]
        return [self.role, self.where, self.figure, *values, self._beats(self.alone), self._beats(self.linear)]

    def _beats(self, other: Sequence[float]) -> str:
        if not len(other) or not len(self.network):
            return "–"
        difference = self.better * (np.mean(self.network) - np.mean(other))
        error = np.sqrt(_error(self.network) ** 2 + _error(other) ** 2 + self.chance**2)
        return "yes" if difference > 2 * error else "no"


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _number(values: Sequence[float]) -> str:
    if not len(values):
        return "–"
    return f"{np.mean(values):.4f}" + (f" ± {_error(values):.4f}" if len(values) > 1 else "")


def write_results(found: Found, folder: Path) -> list[Path]:
    """``table.md`` and ``roles.png``, of what there is; ``cause_of_findings.md`` of the causes of findings."""
    folder.mkdir(parents=True, exist_ok=True)
    causes, paths = found.get("judged-cause"), []
    if causes:
        paths.append(folder / "cause_of_findings.md")
        write_text(paths[-1], "\n".join(_judged_cause(causes)))
    if found.get("real"):
        paths.append(folder / "real.md")
        write_text(paths[-1], real_page(found["real"]))
    if not set(found) - {"judged-cause", "real"}:
        return paths
    lines = list(_lines(found))
    text = [HEAD]
    if lines:
        head = ["role", "asked on", "figure of merit", "model alone", "linear", "network", "bound",
                "better than the model by more than its error", "better than what needs no network"]  # fmt: skip
        text += [_row(head), _row(["---"] * len(head)), *(_row(line.cells()) for line in lines), "", NOTES]
    text += [part for make in (_limits, _absorbed, _few, _taken_up, _history, _cause, _default) for part in make(found)]
    if found.get("limits"):
        paths.append(save(_figure(found), folder / "roles.png"))
        text.append(
            "![what is left of the rings, errors with few events, R² of the next run, reliability](roles.png)\n"
        )
    table = folder / "table.md"
    write_text(table, "\n".join(text))
    return [table, *paths]


JUDGED_CAUSE = """\
# The cause of a finding, as the judge itself could name it

`python -m studies network --roles judged-cause -o DIR`. Units at fault in five ways, all in one run (single channels,
QIE cards, RMs, RBXs, three LS or longer), in worlds of the stress suite, on detectors that no model has met, and in
runs 9 to 11 of an era without other faults. The judge finds them by models adapted to one clean run, in the era by a
detector state; each finding that is one of the faults is a case, with the digis and the expectation of the judge.
*Rule*: the judge's kinds, told apart further by the better fit of one factor on rate or on digis and by jumps from LS
to LS; its answers are probabilities by how often they are right in the other worlds.
*Likelihood*: of the five kinds, with wide priors. *Network*: the three of [the table of the roles](table.md), as they
learned there. *Oracle*: the likelihood that knows how the faults are drawn. In that table the healthy rates are known
to two percent, channel by channel and nothing else is wrong with them; here they are what the judge has.
"""


def _judged_cause(rows: Sequence[Row]) -> Iterator[str]:
    yield JUDGED_CAUSE
    worlds, methods = list(dict.fromkeys(row["world"] for row in rows)), ("rule", "likelihood", "network", "oracle")
    figures = (("right", "named rightly"), ("log_loss", "log loss"), ("calibration", "calibration error"))
    head = ["world", "cases", *(f"{name}, {method}" for _, name in figures for method in methods)]
    yield from (_row(head), _row(["---"] * len(head)))
    for world in worlds:
        mine = [row for row in rows if row["world"] == world]
        cells = (
            f"{np.mean([row[key] for row in mine if row['method'] == method]):.3f}"
            for key, _ in figures
            for method in methods
        )
        yield _row([world, str(mine[0]["cases"]), *cells])
    last = {row["method"]: row["right_by_kind"] | row["right_by_scale"] for row in rows if row["world"] == worlds[-1]}
    names = list(last["rule"])
    yield ""
    yield from _grid("Named rightly, by kind and by unit", names, methods, lambda name, how: f"{last[how][name]:.3f}")
    sure = {row["method"]: row["reliability"] for row in rows if row["world"] == worlds[-1]}
    eighths = [str(number + 1) for number in range(len(sure["rule"]))]
    yield from _grid(
        "Probability that was given, and share that was right, by eighths of the cases, the least sure first",
        eighths, methods, lambda name, how: "{:.3f}, {:.3f}".format(*sure[how][int(name) - 1]),
    )  # fmt: skip


NOTES = """\
*Model alone*: today's smooth fit (rings), nothing (HE against HB), robust means of one LS (few events), the detector
state (next run, R² = 0), the judge's rule (cause). *Linear*: a Gaussian's conditional mean, ridge regression, and for
the cause the likelihood of the five kinds with wide priors. *Bound*: the true shift, the true parameters, or the share
of variance that is no chance.

An oracle that knows a ring's true shift is not always ahead: where rings saturate, the fit of the common part is itself
off the truth. What is random ring by ring (2 % in a trigger mix) no shape can know.
"""


def _lines(found: Found) -> Iterator[Line]:
    real = found.get("real", ())
    yield from _shape_lines(found, [row for row in real if row["role"] == "shapes"])
    yield from _few_lines(found.get("few-events", ()), "simulated, stress, era")
    rows = list(found.get("few-findings", ()))
    if rows:
        for key, figure, better in (
            ("captured", "weak channels captured", 1),
            ("false", "false findings per 100 LS", -1),
        ):
            alone, linear, network, bound = (
                _means(rows, name, lambda row, key=key: row[key]) for name in ("medians", "linear", "network", "oracle")
            )
            yield Line(
                "few events", "simulated, stress", f"{figure}, 200 events per LS", better, alone, linear, network, bound
            )
    yield from _few_lines([row for row in real if row["role"] == "few"], "real LS")
    for world, level in ((w, lv) for w in ("facts", "own") for lv in ("channel", "module", "box", "ring")):
        rows = [row for row in _histories(found) if (row["world"], row["level"]) == (world, level)]
        if rows:
            linear, network, bound = ([row[name] for row in rows] for name in ("linear", "network", "bound"))
            nothing = [0.0] * len(rows)
            yield Line(
                "next run", "era", f"R² of innovations, {level}, era *{world}*", 1, nothing, linear, network, bound
            )
    yield from _cause_lines([row | {"cases": TEST} for row in found.get("cause", ())], "simulated")
    for world, where in ((ALL, "stress"), (ERA, "era")):
        yield from _cause_lines([row for row in found.get("judged-cause", ()) if row["world"] == world], where)
    yield from _cause_lines([row for row in real if row["role"] == "cause"], "real LS")


def _shape_lines(found: Found, real: Sequence[Row]) -> Iterator[Line]:
    limits = found.get("limits", ())
    for rows, where, name in (
        ([row for row in limits if row["world"] not in UNLEARNED], "stress", "conditions like those learned on"),
        ([row for row in limits if row["world"] in UNLEARNED], "era", "conditions not learned on (menu, dose)"),
        (found.get("unseen", ()), "stress", "jet triggers, learned without them"),
        ([row for row in real if row["world"] == "nothing"], "real LS", "as recorded"),
        ([row for row in real if row["world"] not in UNLEARNED], "real LS", "conditions like those learned on"),
        ([row for row in real if row["world"] in UNLEARNED], "real LS", "conditions not learned on (menu, dose)"),
    ):
        for figure, value in (
            ("rings, largest deviation left", lambda row: row["ring"][2]),
            ("HE against HB, deviation left", lambda row: abs(row["apart"])),
        ):
            if rows:
                alone, linear, network, bound = _by_method(rows, value)
                yield Line("condition shapes", where, f"{figure}, {name}", -1, alone, linear, network, bound)


def _few_lines(several: Sequence[Row], where: str) -> Iterator[Line]:
    for events in (5, 20, 50, 200):
        rows = [row for row in several if row["events"] == events]
        if rows:
            alone, linear, network = (
                _means(rows, name, lambda row: row["error"]) for name in ("medians", "linear", "network")
            )
            figure = f"error of the rings of one LS of {events} events"
            yield Line("few events", where, figure, -1, alone, linear, network, [])


def _cause_lines(rows: Sequence[Row], where: str) -> Iterator[Line]:
    """``cases``: of which there are as many for every alternative."""
    for key, figure, better in (
        ("log_loss", "log loss", -1), ("right", "share named rightly", 1), ("calibration", "calibration error", -1)
    ) if rows else ():  # fmt: skip
        alone, linear, network, bound = (
            [row[key] for row in rows if row["method"] == name] for name in ("rule", "likelihood", "network", "oracle")
        )
        losses = [row["log_loss_error"] for row in rows if row["method"] in ("rule", "network")][:2]
        # Of the difference of two shares of about nine tenths.
        chance = float(np.hypot(*losses)) if key == "log_loss" else float(np.sqrt(2 * 0.1 * 0.9 / rows[0]["cases"]))
        yield Line("cause", where, figure, better, alone, linear, network, bound, chance)


def _histories(found: Found) -> list[Row]:
    return [*found.get("history", ()), *found.get("history-own", ())]


def _by_method(rows: Sequence[Row], value: Any) -> Iterator[list[float]]:
    """Smooth, linear, network, oracle; each the largest over worlds, by detector (and network)."""
    yield from (_largest(rows, name, value) for name in ("smooth", "linear", "network", "oracle"))


def _largest(rows: Sequence[Row], method: str, value: Any) -> list[float]:
    """The largest over worlds, of each detector and network."""
    by: dict[tuple[int, int], float] = {}
    seen: dict[tuple[str, int], int] = {}
    for row in (row for row in rows if row["method"] == method):
        place = row["world"], row["detector"]
        seen[place] = seen.get(place, -1) + 1
        key = row["detector"], seen[place]
        by[key] = max(by.get(key, 0.0), value(row))
    return list(by.values())


def _means(rows: Sequence[Row], method: str, value: Any) -> list[float]:
    """The mean over worlds, of each detector and network."""
    by: dict[tuple[int, int], list[float]] = {}
    seen: dict[tuple[str, int], int] = {}
    for row in (row for row in rows if row["method"] == method):
        place = row["world"], row["detector"]
        seen[place] = seen.get(place, -1) + 1
        by.setdefault((row["detector"], seen[place]), []).append(value(row))
    return [float(np.mean(values)) for values in by.values()]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _grid(title: str, names: Sequence[str], columns: Sequence[str], value: Any) -> list[str]:
    """A section with one row per name and one column per method."""
    rows = [_row([name.replace("|", "\\|"), *(value(name, column) for column in columns)]) for name in names]
    return [f"## {title}\n", _row(["", *columns]), _row(["---"] * (len(columns) + 1)), *rows, ""]


def _limits(found: Found) -> Iterator[str]:
    rows = found.get("limits", ())
    methods = ("nothing", "smooth", "linear", "network", "oracle")

    def ring(world: str, method: str) -> str:
        mine = [row["ring"] for row in rows if (row["world"], row["method"]) == (world, method)]
        return " / ".join(f"{100 * np.mean([r[k] for r in mine]):.1f}" for k in (0, 2))

    def apart(world: str, method: str) -> str:
        mine = [row["apart"] for row in rows if (row["world"], row["method"]) == (world, method)]
        return f"{100 * np.mean(mine):+.1f}"

    if rows:
        worlds = list(dict.fromkeys(row["world"] for row in rows))
        yield from _grid("Rings that are healthy: width / largest deviation left, in %", worlds, methods, ring)
        yield from _grid("HE against HB, both healthy: deviation left, in %", worlds, methods[1:], apart)


def _absorbed(found: Found) -> Iterator[str]:
    rows = found.get("absorbed", ())
    if not rows:
        return
    methods = list(dict.fromkeys(row["method"] for row in rows))

    def share(unit: str, method: str) -> str:
        mine = [row["share"] for row in rows if (row["unit"], row["method"]) == (unit, method)]
        return f"{max(mine, key=abs):+.3f}" if mine else "–"

    units = list(dict.fromkeys(row["unit"] for row in rows))
    yield from _grid(
        "Share of a fault that is taken for a condition, the largest of × 0.5 to × 0.95", units, methods, share
    )


def _few(found: Found) -> Iterator[str]:
    rows = found.get("few-events", ())

    def error(name: str, method: str) -> str:
        mine = [row["error"] for row in rows if (f"{row['events']} events", row["method"]) == (name, method)]
        return f"{100 * np.mean(mine):.2f}"

    if rows:
        names = [f"{events} events" for events in dict.fromkeys(row["events"] for row in rows)]
        methods = ("medians", "smooth", "linear", "network")
        yield from _grid("One LS of few events: error of the rings, in %", names, methods, error)


def _taken_up(found: Found) -> Iterator[str]:
    rows = found.get("few-absorbed", ())

    def name_of(row: Row) -> str:
        return f"{row['unit']} × {row['factor']:g}, {row['events']:.0f} events"

    def share(name: str, method: str) -> str:
        mine = [row["share"] for row in rows if (name_of(row), row["method"]) == (name, method)]
        return f"{np.mean(mine):+.3f}"

    if rows:
        names = list(dict.fromkeys(map(name_of, rows)))
        title = "Share of a ring's fault that its estimate takes up where nothing is hidden"
        yield from _grid(title, names, ("linear", "network"), share)


def _history(found: Found) -> Iterator[str]:
    rows = _histories(found)

    def value(name: str, method: str) -> str:
        mine = [row[method] for row in rows if f"{row['world']}: {row['subdetector']} {row['level']}" == name]
        return _number(mine)

    if rows:
        names = list(dict.fromkeys(f"{row['world']}: {row['subdetector']} {row['level']}" for row in rows))
        yield from _grid("The next run: R² of innovations, out of sample", names, ("linear", "network", "bound"), value)


def _cause(found: Found) -> Iterator[str]:
    rows = found.get("cause", ())

    def share(name: str, method: str) -> str:
        mine = [row["right_by_kind"] | row["right_by_scale"] for row in rows if row["method"] == method]
        return f"{np.mean([one[name] for one in mine]):.3f}"

    if rows:
        names = [*rows[0]["right_by_kind"], *rows[0]["right_by_scale"]]
        methods = ("rule", "likelihood", "network", "oracle")
        yield from _grid("Cause: share named rightly, by kind and by unit", names, methods, share)


def _default(found: Found) -> Iterator[str]:
    rows = found.get("default", ())

    def share(name: str, method: str) -> str:
        mine = [row["share"] for row in rows if (f"{row['unit']} × {row['factor']:g}", row["method"]) == (name, method)]
        return f"{mine[0]:+.3f}" + (" **more than a tenth**" if abs(mine[0]) > LARGEST else "") if mine else "–"

    if rows:
        names = list(dict.fromkeys(f"{row['unit']} × {row['factor']:g}" for row in rows))
        methods = list(dict.fromkeys(row["method"] for row in rows))
        title = "Share of a fault that is taken for health: the default judge, and the network of the shipped models"
        yield from _grid(title, names, methods, share)


def _figure(found: Found) -> Figure:
    """What is left of rings by world; errors with few events; R² of the next run; reliability of causes."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    _bars(axes[0], found["limits"])
    _courses(axes[1], found.get("few-events", ()))
    _r_squared(axes[2], _histories(found))
    _reliability(axes[3], found.get("cause", ()))
    for panel in axes:
        panel.set_visible(panel.has_data())
    return figure


COLOURS = {"smooth": "#9c9ca1", "medians": "#9c9ca1", "rule": "#9c9ca1", "linear": "#5790fc", "likelihood": "#5790fc",
           "network": "#e42536", "oracle": "#000000", "bound": "#000000"}  # fmt: skip


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    for k, method in enumerate(("smooth", "linear", "network", "oracle")):
        means = [
            100 * np.mean([row["ring"][2] for row in rows if (row["world"], row["method"]) == (world, method)])
            for world in worlds
        ]
        axes.barh(np.arange(len(worlds)) + 0.2 * k, means, 0.2, color=COLOURS[method], label=method)
    axes.set_yticks(np.arange(len(worlds)) + 0.3, worlds)
    axes.invert_yaxis()
    axes.set_xlabel("largest deviation of a healthy ring that is left (%)")
    axes.legend(frameon=False)


def _courses(axes: Axes, rows: Sequence[Row]) -> None:
    if rows:
        events = list(dict.fromkeys(row["events"] for row in rows))
        for method in ("medians", "linear", "network"):
            means = [100 * np.mean(_means([r for r in rows if r["events"] == n], method, lambda r: r["error"]))
                     for n in events]  # fmt: skip
            axes.plot(events, means, "o-", color=COLOURS[method], label=method)
        axes.set(xscale="log", yscale="log", xlabel="events in the LS", ylabel="error of the rings (%)")
        axes.legend(frameon=False)


def _r_squared(axes: Axes, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(f"{row['subdetector']} {row['level']}" for row in rows))
    for k, method in enumerate(("linear", "network", "bound")):
        for place, name in enumerate(names):
            mine = [row[method] for row in rows if f"{row['subdetector']} {row['level']}" == name]
            axes.errorbar(np.mean(mine), place + 0.2 * k, xerr=_error(mine), fmt="o", color=COLOURS[method],
                          label=method if place == 0 else None)  # fmt: skip
    if names:
        axes.set_yticks(np.arange(len(names)) + 0.2, names)
        axes.axvline(0, color="#9c9ca1", lw=1)
        axes.set_xlabel("R² of the next run's innovations, out of sample")
        axes.legend(frameon=False)


def _reliability(axes: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        if row["method"] != "oracle" and (row["method"] != "network" or row["seed"] == rows[-1]["seed"]):
            confidence, right, _ = np.array(row["reliability"]).T
            axes.plot(confidence, right, "o-", color=COLOURS[row["method"]], label=row["method"])
    if rows:
        axes.plot([0.3, 1], [0.3, 1], ":", color="black")
        axes.set(xlabel="probability that the named cause was given", ylabel="share that was right")
        axes.legend(frameon=False)
