"""Plain tables to dataclasses, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from hcal_root_ad.content import check_keys, nearest, structure
from hcal_root_ad.detector import Era
from hcal_root_ad.errors import InputError, PolicyError


@dataclass(frozen=True)
class Rule:
    most: int
    share: float = 0.5


@dataclass(frozen=True)
class Plan:
    name: str
    eras: tuple[Era, ...] = ()
    open: bool | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    steps: tuple[Rule, ...] = ()


def test_every_kind_of_value() -> None:
    table = {"name": "a", "eras": ["Run3"], "open": True, "words": {"x": "y"}, "rules": {"HB": {"most": 1, "share": 1}},
             "steps": [{"most": 2}]}  # fmt: skip
    plan = structure(table, Plan, "x")
    assert plan == Plan("a", (Era.RUN3,), True, {"x": "y"}, {"HB": Rule(1, 1.0)}, (Rule(2),))
    assert isinstance(plan.rules["HB"].share, float)
    assert structure([{"most": 1}], list[Rule], "x") == [Rule(1)]


A = {"name": "a"}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, "x lacks the key name."),
        ({"nam": "a"}, "x has the unknown key nam; the nearest known one is name."),
        ({"name": 3}, "x says name = 3; a text was expected."),
        ({**A, "eras": "Run3"}, "x says eras = 'Run3'; a list was expected."),
        ({**A, "eras": ["2016"]}, "x says eras[1] = '2016'; one of 2017, 2018, Run3 was expected."),
        ({**A, "eras": [["x"]]}, "x says eras[1] = ['x']; one of 2017, 2018, Run3 was expected."),
        ({**A, "open": 1}, "x says open = 1; true or false was expected."),
        ({**A, "words": ["x"]}, "x says words = ['x']; a table was expected."),
        ({**A, "words": {"x": 1}}, "x says words.x = 1; a text was expected."),
        ({**A, "rules": {"HB": 3}}, "x has no table rules.HB, where one was expected."),
        ({**A, "rules": {"HB": {}}}, "x lacks the key rules.HB.most."),
        ({**A, "rules": {"HB": {"most": True}}}, "x says rules.HB.most = True; a whole number was expected."),
        ({**A, "rules": {"HB": {"most": 1.9}}}, "x says rules.HB.most = 1.9; a whole number was expected."),
        ({**A, "rules": {"HB": {"most": "1"}}}, "x says rules.HB.most = '1'; a whole number was expected."),
        ({**A, "rules": {"HB": {"most": 1, "shre": 1}}},
         "x has the unknown key rules.HB.shre; the nearest known one is rules.HB.share."),
        ({**A, "steps": [{"most": 1}, {"most": None}]}, "x says steps[2].most = None; a whole number was expected."),
        ({**A, "\x1b[2J": 1}, "x has the unknown key '\\x1b[2J'; the nearest known one is words."),
        ([1], "x has no table, where one was expected."),
        (3, "x has no table, where one was expected."),
        (None, "x has no table, where one was expected."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(table: object, sentence: str) -> None:
    with pytest.raises(PolicyError) as caught:
        structure(table, Plan, "x", PolicyError)
    assert str(caught.value) == sentence


def test_keys_alone() -> None:
    check_keys({"a": 1}, ("a", "b"), "x", InputError)
    with pytest.raises(InputError, match=r"x has the unknown key rules\.lost_boxs; .* rules\.lost_boxes\."):
        check_keys({"lost_boxs": 1}, ("lost_boxes", "lost_box"), "x", InputError, "rules")


def test_the_nearest_names() -> None:
    assert nearest("pilup", ("run", "pileup", "ls"), n=1) == ("pileup",)
    assert nearest("x", ()) == ()
