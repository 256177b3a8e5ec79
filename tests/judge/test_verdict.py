"""The words and numbers that others rely on."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from hcal_root_ad.detector import channel_table
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import Kind, ModelInfo, State, StripVerdict, Trust, Verdict
from hcal_root_ad.lumi_maps import LumiMaps


def test_states_are_those_of_hcaldqm() -> None:
    # DQM/HcalCommon/interface/Flag.h, and the colours of the DQM GUI hang on them.
    assert [state.value for state in State] == [1, 2, 3, 4, 5]
    assert tuple(State) == (State.NOT_CONNECTED, State.NOT_ASSESSED, State.GOOD, State.PROBLEMATIC, State.BAD)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (Kind.DEAD, State.BAD),
        (Kind.DEGRADED, State.PROBLEMATIC),
        (Kind.WARM, State.PROBLEMATIC),
        (Kind.HOT, State.BAD),
        (Kind.NOISY, State.BAD),
    ],
)
def test_each_kind_has_its_state(kind: Kind, state: State) -> None:
    assert kind.state is state


def test_kinds_are_their_own_words() -> None:
    # They are written into CSV files and file names as they are.
    assert [str(kind) for kind in Kind] == ["dead", "degraded", "warm", "hot", "noisy"]


def test_notes_come_once_each_harvest_first() -> None:
    nothing = np.zeros(0)
    judge = ModelInfo("b", "1", "", 4.0, 1.0)
    verdict = Verdict(
        "HE", channel_table().select("HE"), *(nothing,) * 7, (), judge, notes=("of HE", "of both")
    )  # fmt: skip
    strips = StripVerdict(*(nothing,) * 7, (), judge, notes=("of strips", "of the harvest"))
    maps = cast(LumiMaps, SimpleNamespace(notes=("of the harvest",)))
    run = RunVerdict(maps, (verdict, verdict), strips, notes=("of the run", "of both"))
    assert run.every_note == ("of the harvest", "of the run", "of both", "of HE", "of strips")
    assert RunVerdict(maps, ()).every_note == ("of the harvest",)


def test_a_run_is_trusted_as_far_as_the_least_of_its_parts() -> None:
    assert [trust for trust in Trust if trust.trusted] == [Trust.ADAPTED, Trust.STATE, Trust.REFERENCE_RUN]
    nothing = np.zeros(0)
    judge = ModelInfo("b", "1", "", 4.0, 1.0)
    maps = cast(LumiMaps, SimpleNamespace(notes=()))

    def verdict(trust: Trust) -> Verdict:
        return Verdict("HE", channel_table().select("HE"), *(nothing,) * 7, (), judge, trust=trust)

    assert RunVerdict(maps, (verdict(Trust.ADAPTED), verdict(Trust.REFERENCE_RUN))).trust is Trust.REFERENCE_RUN
    assert RunVerdict(maps, (verdict(Trust.OTHER_PERIOD), verdict(Trust.ADAPTED))).trust is Trust.OTHER_PERIOD
    strips = StripVerdict(*(nothing,) * 7, (), judge)
    assert RunVerdict(maps, (verdict(Trust.ADAPTED),), strips).trust is Trust.NONE
    assert RunVerdict(maps, ()).trust is Trust.NONE
