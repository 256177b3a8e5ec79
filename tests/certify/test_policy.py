"""Policies are read from TOML, refused with the nearest name, and known by what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hcal_root_ad import content
from hcal_root_ad.certify.policy import SUBDETECTORS, Policy, Untrusted, load_policy, policy_of
from hcal_root_ad.errors import PolicyError

TEXT = """
version = "7"
description = "mine"
needed = ["HE", "HB"]
[rules]
bad_channels = 0.02
problematic_channels = 0.1
lost_rbx_share = 0.75
lost_rbx = 0
consecutive = 1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_name_is_that_of_the_file_and_subdetectors_are_in_order(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, TEXT))
    assert (policy.name, policy.version, policy.needed) == ("mine", "7", ("HB", "HE"))
    assert policy.rules["HB"] == policy.rules["HE"]
    assert policy.label == f"mine 7 ({policy.digest})"


def test_a_subdetector_overrules_single_keys(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, TEXT + "[rules.HE]\nlost_rbx = 2\n"))
    assert policy.rules["HE"] == replace(policy.rules["HB"], lost_rbx=2)


def test_keys_may_stand_with_the_subdetectors_only(tmp_path: Path) -> None:
    head, _, rules = TEXT.partition("[rules]")
    policy = load_policy(written(tmp_path, head + "".join(f"[rules.{name}]{rules}" for name in SUBDETECTORS)))
    assert policy.rules["HB"].lost_rbx_share == 0.75


@pytest.mark.parametrize("name", content.names("policies", "*.toml"))
def test_shipped_policies_are_read(name: str) -> None:
    assert load_policy(name.removesuffix(".toml")).needed == ("HB", "HE")


def test_what_is_not_trusted_decides_nothing_unless_the_policy_says_so(tmp_path: Path) -> None:
    assert load_policy(written(tmp_path, TEXT)).untrusted is Untrusted.NOT_ASSESSED
    loose = load_policy(written(tmp_path, TEXT.replace("[rules]", 'untrusted = "judge"\n[rules]')))
    assert loose.untrusted is Untrusted.JUDGE
    assert loose.digest != load_policy(written(tmp_path, TEXT)).digest


def test_a_needed_subdetector_is_not_counted_twice(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, TEXT.replace("[rules]", 'counted = ["HO", "HE"]\n[rules]')))
    assert (policy.needed, policy.counted, policy.decisive) == (("HB", "HE"), ("HO",), ("HB", "HE", "HO"))


def test_the_digest_is_of_what_it_says_not_of_its_layout(tmp_path: Path) -> None:
    digest = load_policy(written(tmp_path, TEXT)).digest
    assert load_policy(written(tmp_path, "# a comment\n" + TEXT.replace("0.10", "0.1"))).digest == digest
    assert load_policy(written(tmp_path, TEXT.replace("lost_rbx = 0", "lost_rbx = 1"))).digest != digest


def test_a_table_gives_the_policy_back(policy: Policy) -> None:
    again = policy_of(policy.as_table(), "there")
    assert again == policy
    assert again.digest == policy.digest


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ("lost_rbx", "lost_rbxx"),
            "unknown key rules.lost_rbxx_share; the nearest known one is rules.lost_rbx_share.",
        ),
        (("version", "versoin"), "unknown key versoin; the nearest known one is version."),
        (("lost_rbx_share = 0.75\n", ""), "lacks the key rules.HB.lost_rbx_share."),
        (("bad_channels = 0.02", "bad_channels = 2"), "rules.HB.bad_channels = 2.0; a share between 0 and 1"),
        (("consecutive = 1", "consecutive = 0"), "rules.HB.consecutive = 0; a whole number between 1 and 100"),
        (
            ("consecutive = 1", "consecutive = 1000000"),
            "rules.HB.consecutive = 1000000; a whole number between 1 and 100",
        ),
        (("lost_rbx = 0", "lost_rbx = 0.5"), "rules.HB.lost_rbx = 0.5; a whole number was expected"),
        (("lost_rbx = 0", "lost_rbx = true"), "rules.HB.lost_rbx = True; a whole number"),
        (('["HE", "HB"]', '["HX"]'), "needed = ['HX']; a list of HB, HE, HF, HO is due."),
        (("[rules]", 'counted = "HF"\n[rules]'), "counted = 'HF'; a list was expected."),
        (
            ("[rules]", 'untrusted = "good"\n[rules]'),
            "untrusted = 'good'; one of not assessed, judge was expected.",
        ),
        (("[rules]", "untrusted = [1]\n[rules]"), "untrusted = [1]"),
        (('["HE", "HB"]', "[]"), "needed = []"),
        (('"7"', "7"), "version = 7; a text was expected."),
        (("[rules]", "[rules"), "cannot be read"),
        (("[rules]", "rules = 3\n[other]"), "unknown key other"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    path = written(tmp_path, TEXT.replace(*change))
    with pytest.raises(PolicyError) as refusal:
        load_policy(path)
    assert sentence in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_an_unknown_policy_names_those_that_there_are() -> None:
    with pytest.raises(PolicyError, match="'tight': expected a TOML file, or one of standard, strict"):
        load_policy("tight")


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (3, "says rules = 3; a table was expected."),
        ({"HB": 3}, "says rules.HB = 3; a table [rules.HB] was expected."),
    ],
)
def test_rules_are_tables(policy: Policy, rules: object, sentence: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        policy_of(policy.as_table() | {"rules": rules}, "mine.toml")
    assert sentence in str(refusal.value)


def test_any_lost_rbx_is_part_of_a_policy_that_says_it(tmp_path: Path) -> None:
    said = load_policy(written(tmp_path, TEXT + "[rules.HE]\nany_lost_rbx = true\n"))
    assert [said.rules[name].most_lost for name in ("HB", "HE")] == [0, 0]
    assert [said.as_table()["rules"][name]["any_lost_rbx"] for name in ("HB", "HE")] == [False, True]
    assert policy_of(said.as_table(), "again") == said
    assert "any_lost_rbx" not in load_policy(written(tmp_path, TEXT)).as_table()["rules"]["HB"]
