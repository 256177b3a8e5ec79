"""A reference run in the place of a bundle's own: found when it is needed, used where it knows the detector, said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hcal_root_ad.learn.bundle import Bundle

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.judge.fitness import on_reference
from hcal_root_ad.judge.run import judge_run
from hcal_root_ad.judge.running import RunJudge
from hcal_root_ad.judge.verdict import Kind, RunVerdict
from hcal_root_ad.references.catalogue import NamedReference
from hcal_root_ad.lumi_maps import CoarseMaps, LumiMaps

MakeBundle = Callable[..., Bundle]
MakeMaps = Callable[..., LumiMaps]
MakeReference = Callable[..., NamedReference]

CHANNELS = channel_table().select("HB", "HE")
HE = CHANNELS.rows_of("HE")
HEP = HE[CHANNELS.ieta[HE] > 0]
HEP07 = HEP[CHANNELS.rbx[HEP] == 7]


@pytest.fixture
def stranger(make_bundle: MakeBundle) -> Bundle:
    """A bundle of another detector: its channels are at 0.3 to 3 times the rates of the run."""
    bundle = make_bundle("HE")
    other = np.random.default_rng(4).uniform(-1.2, 1.2, len(HE))
    return replace(bundle, reference=replace(bundle.reference, level=bundle.reference.level + other))


def lines(verdict: RunVerdict) -> list[tuple[str, Kind, int, int]]:
    return [(group.unit, group.kind, group.first, group.last) for one in verdict.verdicts for group in one.groups]


def test_what_is_wrong_throughout_the_run_is_seen(
    make_maps: MakeMaps, make_reference: MakeReference, stranger: Bundle
) -> None:
    maps, reference = make_maps(), make_reference()
    maps.counts[:, HEP07] = 0
    alone = judge_run(maps, [stranger])
    assert lines(alone) == []
    verdict = judge_run(maps, [stranger], find_reference=lambda _: reference)
    assert lines(verdict) == [("HEP07", Kind.DEAD, 1, 12)]
    (note,) = [note for note in verdict.every_note if "does not know" in note]
    assert "judged against the reference run flat (run 370100) instead" in note
    assert "judged against this run itself" in alone.every_note[-1]


def test_a_bundle_that_knows_the_detector_needs_none(make_maps: MakeMaps, make_bundle: MakeBundle) -> None:
    def never(_: LumiMaps) -> NamedReference | None:
        raise AssertionError("a reference was looked for")

    assert lines(judge_run(make_maps(), [make_bundle("HE")], find_reference=never)) == []


@pytest.mark.parametrize("what", ["none", "another detector", "another subdetector", "another era"])
def test_without_a_reference_that_knows_it_the_run_is_held_against_itself(
    make_maps: MakeMaps, make_reference: MakeReference, stranger: Bundle, what: str
) -> None:
    reference: NamedReference | None = make_reference("HB" if what == "another subdetector" else "HE")
    if what == "another era":
        reference = make_reference("HE", era=Era.RUN2_2017)
    elif what == "another detector":
        reference = replace(reference, rates={"HE": replace(reference.rates["HE"], reference=stranger.reference)})
    elif what == "none":
        reference = None
    verdict = judge_run(make_maps(), [stranger], find_reference=lambda _: reference)
    assert "judged against this run itself" in verdict.every_note[-1]


def test_it_is_looked_for_once_and_online_is_as_offline(
    make_maps: MakeMaps, make_reference: MakeReference, stranger: Bundle
) -> None:
    maps, asked, reference = make_maps(), [], make_reference()
    maps.counts[4:, HEP07] = 0

    def find(run: LumiMaps) -> NamedReference:
        asked.append(len(run))
        return reference

    judge = RunJudge([stranger], find_reference=find)
    for rows in (slice(0, 5), slice(5, 8), slice(8, 12)):
        fields = ("lumisections", "events", "event_source", "counts", "present")
        judge.add(replace(maps, **{name: getattr(maps, name)[rows] for name in fields}))
    assert asked == [5]
    whole = judge_run(maps, [stranger], find_reference=lambda _: reference)
    assert lines(judge.verdict()) == lines(whole) == [("HEP07", Kind.DEAD, 5, 12)]


def test_run_totals_are_held_against_it_too(
    make_maps: MakeMaps, make_reference: MakeReference, stranger: Bundle
) -> None:
    totals = make_maps().counts.sum(axis=0, dtype=np.int64)
    totals[HEP07] = 0
    coarse, reference = make_maps(coarse=CoarseMaps(strips=None, totals=totals)), make_reference()
    verdict = judge_run(coarse, [stranger], find_reference=lambda _: reference)
    assert lines(verdict) == [("HEP07", Kind.DEAD, 1, 12)]
    assert any("judged against the reference run flat" in note for note in verdict.every_note)
    assert lines(judge_run(coarse, [stranger])) == []


def test_powers_of_the_same_channels_are_averaged_by_their_errors(
    make_bundle: MakeBundle, make_reference: MakeReference
) -> None:
    bundle, rates = make_bundle("HE"), make_reference("HE").rates["HE"]
    rates = replace(
        rates, reference=replace(rates.reference, power=np.full(len(HE), 1.3), power_error=np.full(len(HE), 0.12))
    )
    found = on_reference(bundle, rates)
    # (1.3/0.12² + 1/0.06²) / (1/0.12² + 1/0.06²)
    assert found.reference.power == pytest.approx(1.06)
    assert found.reference.power_error == pytest.approx(0.12 * 0.06 / np.hypot(0.12, 0.06))
    assert found.model_error == pytest.approx(0.03)
    other = replace(bundle, channels=channel_table(Era.RUN2_2017).select("HE"))
    assert on_reference(other, rates).reference.power == pytest.approx(1.3)


def test_an_exact_power_stays(make_bundle: MakeBundle, make_reference: MakeReference) -> None:
    found = on_reference(make_bundle("HE"), make_reference("HE").rates["HE"]).reference
    assert (found.power == 1).all()
    assert (found.power_error == 0).all()
