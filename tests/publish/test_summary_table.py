import io
from dataclasses import replace

import pytest
from rich.console import Console

from hcal_root_ad.judge.verdict import RunVerdict
from hcal_root_ad.publish.summary_table import groups_table


def shown(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_strongest_group_comes_first(verdict):
    text = shown(groups_table(verdict))
    assert "Run 370101: 2 groups flagged" in text
    assert text.index("HEP07") < text.index("HB +4/33/2")
    line = next(line for line in text.splitlines() if "HEP07" in line)
    assert [cell.strip() for cell in line.strip("│ ").split("│")] == [
        "HE",
        "HEP07",
        "dead",
        "188",
        "5–12",
        "0.00",
        "7520",
    ]
    assert "and " not in text


def test_many_groups_are_cut_with_a_word(verdict):
    he = verdict.verdicts[1]
    many = replace(he, groups=tuple(replace(he.groups[0], score=float(n)) for n in range(40)))
    text = shown(groups_table(replace(verdict, verdicts=(many,))), width=120)
    assert text.count("HEP07") == 25
    assert "and 15 more; --flags FILE.csv lists every channel" in text


def test_nothing_flagged_is_said(small_run):
    quiet = replace(small_run.verdict("HB"), groups=(), intervals=())
    assert "nothing flagged" in shown(groups_table(RunVerdict(small_run.maps(), (quiet,))))


@pytest.mark.parametrize("expected", [0.0, 5.0])
def test_an_expectation_of_zero_gives_no_ratio(verdict, expected):
    he = verdict.verdicts[1]
    odd = replace(he, groups=(replace(he.groups[0], observed=10, expected=expected),))
    text = shown(groups_table(replace(verdict, verdicts=(odd,))))
    assert ("2.00" in text) == (expected > 0)


def test_strips_are_called_strips(strip_verdict):
    text = shown(groups_table(strip_verdict))
    assert "strips" in text
    assert "HEP07" in text
