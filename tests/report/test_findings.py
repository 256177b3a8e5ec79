from __future__ import annotations

from dataclasses import replace

import numpy as np

from hcal_root_ad.judge.verdict import State, Trust, how_large, how_sure, what, when
from hcal_root_ad.publish.saved_verdict import RunRecord
from hcal_root_ad.report.page import assessed_in, bad_in, box_states, findings_of, headline_of, trust_of


def test_findings_are_read_aloud(record: RunRecord) -> None:
    dead, hot = findings_of(record)
    words = [(what(each.finding, each.noun), when(each.finding), how_large(each.finding)) for each in (dead, hot)]
    assert words == [("RBX, 90 channels", "5–12", "×0"), ("channel", "10–11, 13", "×2.47 ± 0.04")]
    assert (how_sure(dead.finding), hot.row) == ("certain", 0)
    assert dead.reason == "90 channels of readout box HEP07 gave no digi at all where 4,200 were expected"
    assert hot.reason == "Channel HB ieta +4, iphi 33, depth 2 gave 2.47 times the 1,500 digis that were expected"


def test_beyond_the_kept_histories_a_finding_is_words_only(record: RunRecord) -> None:
    hb, he = record.parts
    bare = replace(he, finding_observed=he.finding_observed[:0], finding_expected=he.finding_expected[:0])
    assert [finding.row for finding in findings_of(replace(record, parts=(hb, bare)))] == [None, 0]


def test_trust_is_said_where_it_is_not_as_it_should_be(record: RunRecord) -> None:
    assert trust_of(record) == ()
    hb, he = record.parts
    doubtful = replace(he, trust=Trust.OTHER_PERIOD, trust_reason="The channels scatter more.", sensitivity=2.13)
    assert trust_of(replace(record, parts=(hb, doubtful))) == (
        "HE: NOT TRUSTED, judged by a model of another period (The channels scatter more); "
        "less sensitive: shifts must be 2.1 times as large.",
    )


def test_headlines(record: RunRecord, quiet: RunRecord) -> None:
    bad = headline_of(record, findings_of(record))
    assert (bad.state, bad.missing) == (State.BAD, ())
    assert bad.sentence == (
        "A readout box is bad in 7 of the 11 lumisections that were judged. "
        "Strongest: readout box HEP07, dead in LS 5–12."
    )
    few = replace(record, parts=record.parts[:1])
    problematic = headline_of(few, findings_of(few))
    assert (problematic.state, problematic.missing) == (State.PROBLEMATIC, ("HE",))
    assert problematic.sentence.startswith(
        "1 place is flagged in the 11 lumisections that were judged, but no readout box is bad. Strongest: channel HB"
    )
    good = headline_of(quiet, ())
    assert (good.state, good.sentence) == (State.GOOD, "Nothing is flagged in the 11 lumisections that were judged.")


def test_nothing_judged_is_never_good(quiet: RunRecord) -> None:
    parts = tuple(replace(part, assessed=np.zeros_like(part.assessed)) for part in quiet.parts)
    headline = headline_of(replace(quiet, parts=parts), ())
    assert headline.state is State.NOT_ASSESSED
    assert headline.sentence.startswith("No lumisection could be judged")
    assert headline_of(replace(quiet, parts=()), ()).missing == ("HB", "HE")


def test_a_run_judged_as_a_whole_says_so(record: RunRecord) -> None:
    arrays = ("assessed", "judged", "problematic", "bad", "box_states")
    rows = {name: getattr(record.parts[1], name)[4:5] for name in arrays}
    whole = replace(record, parts=(replace(record.parts[1], granularity="run", **rows),))
    headline = headline_of(whole, findings_of(whole))
    assert headline.sentence.startswith("A readout box is bad in the run, which was judged as a whole.")
    assert bad_in(whole).all()
    assert (box_states(whole)[:, 60] == State.BAD).sum() == 12


def test_states_are_on_an_axis_from_lumisection_1(record: RunRecord) -> None:
    states = box_states(record)
    assert states.shape == (13, 72)
    assert states[:, 60].tolist() == [3, 3, 2, 3, 5, 5, 5, 2, 5, 5, 5, 5, 3]
    assert states[7].tolist() == [State.NOT_ASSESSED] * 72
    only_he = box_states(replace(record, parts=record.parts[1:]))
    assert not only_he[:, :36].any()
    assert assessed_in(record).sum() == 11


def test_strips_are_looked_at_where_channels_were_not_judged_per_lumisection(record: RunRecord) -> None:
    strips = replace(record.parts[1], name="strips", granularity="strips")
    whole = replace(record.parts[0], granularity="run", assessed=np.array([True]))
    both = replace(record, parts=(whole, strips))
    assert bad_in(both).sum() == 7
    assert headline_of(both, findings_of(both)).missing == ()
