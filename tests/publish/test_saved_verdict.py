"""A record holds the numbers of the verdict, comes back as it was, and is the same file for the same verdict."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal_root_ad.detector import Era, channel_table
from hcal_root_ad.errors import InputError, OutputError
from hcal_root_ad.judge.run_verdict import RunVerdict
from hcal_root_ad.judge.verdict import CommonPart, Forecast, Kind, Level, State, Trust
from hcal_root_ad.publish.saved_verdict import (
    SUFFIX,
    PartRecord,
    RunRecord,
    load_record,
    record_name,
    record_of,
    save_record,
)

HEP07, HBP09 = 3 * 18 + 6, 1 * 18 + 8
N_HEP07 = 188


@pytest.fixture(scope="module")
def aging(verdict: RunVerdict) -> RunVerdict:
    """The small run, with a forecast for a channel of HE."""
    hb, he = verdict.verdicts
    forecast = Forecast("HE -29/1/1", 1, 3, 0.8, 0.05, 40, 50, 70)
    return replace(verdict, verdicts=(hb, replace(he, forecasts=(forecast,))))


@pytest.fixture(scope="module")
def record(aging: RunVerdict) -> RunRecord:
    return record_of(aging)


def same(one: object, other: object) -> bool:
    """Field by field; arrays with their types."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        unknown = bool(np.issubdtype(one.dtype, np.floating))
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=unknown)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, RunRecord | PartRecord | CommonPart):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_numbers_of_boxes_are_those_of_the_verdict(record: RunRecord) -> None:
    hb, he = record.parts
    assert (hb.name, he.name, he.granularity) == ("HB", "HE", "lumisection")
    dead = np.isin(record.lumisections, [5, 6, 7, 9, 10, 11, 12])
    assert he.bad[:, HEP07].tolist() == (N_HEP07 * dead).tolist()
    assert he.bad.sum() == 7 * N_HEP07
    assert he.problematic.sum() == 0
    assert hb.bad[:, HBP09].tolist() == [0] * 8 + [1] * 4
    assert he.judged.sum(axis=1).tolist() == [0 if ls == 3 else 6768 - 1 for ls in record.lumisections]
    assert he.assessed.tolist() == [ls != 3 for ls in record.lumisections]
    assert he.box_states[:, HEP07].tolist() == [3, 3, 2, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert not he.box_states[:, :36].any()
    assert hb.box_states[:, HBP09].tolist() == [3, 3, 2, *[3] * 5, *[4] * 4]


def test_maps_of_the_run_are_on_the_dqm_axes(record: RunRecord, verdict: RunVerdict) -> None:
    hb, he = record.parts
    hot = (2 - 1, 4 + 41, 33 - 1)
    assert hb.worst[hot] == State.BAD
    assert hb.fraction[hot] == pytest.approx(4 / 11)
    assert hb.score[hot] == 40
    masked = (3 - 1, -20 + 42, 11 - 1)
    assert he.worst[masked] == State.NOT_CONNECTED
    assert he.observed[masked] == he.expected[masked] == he.fraction[masked] == 0
    assert (he.worst == State.BAD).sum() == N_HEP07
    assert he.score.min() == -40
    channels = verdict.verdicts[1].channels
    seen = verdict.verdicts[1].observed[np.arange(12) != 2].sum(axis=0)
    seen[(channels.ieta == -20) & (channels.iphi == 11) & (channels.depth == 3)] = 0
    assert he.observed[channels.depth - 1, channels.dqm_x, channels.dqm_y].tolist() == seen.tolist()


def test_findings_keep_their_digis_against_ls(record: RunRecord, verdict: RunVerdict) -> None:
    he, source = record.parts[1], verdict.verdicts[1]
    (finding,) = he.findings
    assert finding == source.findings[0]
    assert (finding.unit, finding.kind, finding.channels) == ("HEP07", Kind.DEAD, N_HEP07)
    assert he.finding_observed.shape == he.finding_expected.shape == (1, 12)
    box = (source.channels.rbx == 7) & (source.channels.ieta > 0)
    use = np.arange(12) != 2
    assert he.finding_observed[0].tolist() == (use * source.observed[:, box].sum(axis=1)).tolist()
    np.testing.assert_allclose(he.finding_expected[0], use * source.expected[:, box].sum(axis=1), rtol=1e-6)


def test_the_strongest_finding_comes_first(small_run: SimpleNamespace) -> None:
    base = small_run.verdict("HB")
    (hot,) = base.findings
    module = replace(hot, unit="HBM01-RM1", level=Level.RM, rows=(0, 1, 2), significance=hot.significance + 1)
    one = replace(base, findings=(hot, module))
    (part,) = record_of(RunVerdict(small_run.maps(), (one,))).parts
    assert [finding.unit for finding in part.findings] == ["HBM01-RM1", "HB +4/33/2"]
    assert part.finding_observed[0, 0] == one.observed[0, :3].sum()


def common_part() -> CommonPart:
    """Twelve LS with shifts that half precision holds to 0.0005 of themselves; LS 3 is not known."""
    lumisections = np.array([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13], dtype=np.int32)
    pileup = np.linspace(-0.3, 0.3, 12).astype(np.float32)
    pileup[2] = np.nan
    units = np.outer(pileup, np.ones(72)).astype(np.float32)
    return CommonPart(
        lumisections, pileup, np.full(12, 0.001, dtype=np.float32), {"HE": 1.4 * pileup}, units[:, :4], units[:, :5],
        ("HB |ieta| 1 depth 1",) * 5, units, ("The trigger mix changed in LS 7.",),
    )  # fmt: skip


def test_the_common_part_comes_back_as_it_was_kept_and_near_what_it_was(verdict: RunVerdict, tmp_path: Path) -> None:
    common = common_part()
    kept = record_of(replace(verdict, common=common, masked=("HEP07 in LS 3",)))
    save_record(kept, tmp_path / "R1.verdict.npz")
    again = load_record(tmp_path / "R1.verdict.npz")
    assert same(again, kept)
    assert again.common is not None
    assert (again.common.sentences, again.masked) == (common.sentences, ("HEP07 in LS 3",))
    np.testing.assert_allclose(again.common.box, common.box, rtol=5e-4)
    np.testing.assert_allclose(again.common.subdetector["HE"], common.subdetector["HE"], rtol=5e-4)


def test_trust_and_its_reason_are_kept(verdict: RunVerdict, tmp_path: Path) -> None:
    hb, he = verdict.verdicts
    doubtful = replace(he, trust=Trust.OTHER_PERIOD, trust_reason="HE scatters.", sensitivity=2.1)
    save_record(record_of(replace(verdict, verdicts=(hb, doubtful))), tmp_path / "R1.verdict.npz")
    first, second = load_record(tmp_path / "R1.verdict.npz").parts
    assert (first.trust, first.trust_reason, first.sensitivity) == (Trust.ADAPTED, "", 1.0)
    assert (second.trust, second.trust_reason, second.sensitivity) == (Trust.OTHER_PERIOD, "HE scatters.", 2.1)


def test_strips_are_never_trusted_whatever_the_totals_rest_on(verdict: RunVerdict, strip_verdict: RunVerdict) -> None:
    he = verdict.verdicts[1]
    for trust in Trust:
        part = record_of(replace(strip_verdict, verdicts=(replace(he, trust=trust),))).parts[-1]
        assert (part.trust, part.trust_reason) == (Trust.NONE, "each strip against its own share")


def test_boxes_of_hf_are_its_sides(verdict: RunVerdict) -> None:
    """1728 channels to a side; the first 20 of the minus side are dead in one LS."""
    channels = channel_table(Era.RUN3).select("HF")
    states = np.full((12, len(channels)), State.GOOD, dtype=np.uint8)
    states[4, np.flatnonzero(channels.ieta < 0)[:20]] = State.BAD
    nothing = np.zeros(states.shape, dtype=np.int32)
    hf = replace(
        verdict.verdicts[1], subdetector="HF", channels=channels, states=states, observed=nothing,
        expected=nothing.astype(np.float32), score=nothing.astype(np.float32), findings=(), intervals=(),
    )  # fmt: skip
    part = record_of(replace(verdict, verdicts=(hf,))).parts[0]
    assert part.boxes == ("HFM", "HFP")
    assert part.judged[0].tolist() == [1728, 1728]
    assert part.bad[4].tolist() == [20, 0]
    assert part.box_states[4].tolist() == [State.PROBLEMATIC, State.GOOD]


def test_forecasts_carry_the_unit_s_name(record: RunRecord) -> None:
    (forecast,) = record.parts[1].forecasts
    assert (forecast.unit, forecast.crossing) == ("HE -29/1/1", 50)


def test_strips_have_boxes_but_no_maps(strip_verdict: RunVerdict) -> None:
    (part,) = record_of(strip_verdict).parts
    assert (part.name, part.granularity, part.worst.shape) == ("strips", "strips", (0, 84, 72))
    assert part.bad[:, HEP07].tolist() == [4 if 5 <= ls <= 12 else 0 for ls in strip_verdict.maps.lumisections]
    assert part.judged[0].tolist() == [4] * 72
    assert part.finding_observed[0].tolist()[4:6] == [0, 0]


def test_a_run_total_is_one_row(small_run: SimpleNamespace) -> None:
    he = small_run.verdict("HE")
    names = ("lumisections", "events", "assessed", "observed", "expected", "score", "states")
    rows = {name: getattr(he, name)[:1] for name in names}
    whole = replace(he, granularity="run", findings=(), intervals=(), **rows)
    record = record_of(RunVerdict(small_run.maps(), (whole,)))
    assert record.parts[0].judged.shape == (1, 72)
    assert len(record.lumisections) == 12


@pytest.mark.parametrize("name", ["aging", "strip_verdict"])
def test_round_trip(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    record = record_of(request.getfixturevalue(name))
    path = tmp_path / "new" / record_name(record.run)
    save_record(record, path)
    assert same(load_record(path), record)
    assert path.name == "R370101.verdict.npz"
    assert path.name.endswith(SUFFIX)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_equal_verdicts_give_equal_bytes(aging: RunVerdict, record: RunRecord, tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    save_record(record_of(aging), first)
    save_record(load_record(first), second)
    assert first.read_bytes() == second.read_bytes()
    save_record(replace(record, notes=("Another.",)), third)
    assert first.read_bytes() != third.read_bytes()


@pytest.fixture(scope="module")
def bytes_of_record(record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("record") / "R1.verdict.npz"
    save_record(record, path)
    return path.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=40)
def test_a_flipped_byte_is_told_or_changes_nothing(
    bytes_of_record: bytes, record: RunRecord, tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    damaged = bytearray(bytes_of_record)
    damaged[int(place * len(damaged))] ^= flip
    path = tmp_path_factory.mktemp("damaged") / "R1.verdict.npz"
    path.write_bytes(damaged)
    found = loaded_or_told(path)
    if isinstance(found, str):
        assert found.startswith(f"{path}: expected a run's record")
        assert "\n" not in found
    else:
        assert same(found, record)


def loaded_or_told(path: Path) -> RunRecord | str:
    try:
        return load_record(path)
    except InputError as error:
        return str(error)


def test_what_is_no_record_is_told_in_one_sentence(bytes_of_record: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_record(tmp_path / "R1.verdict.npz")
    path = tmp_path / "R2.verdict.npz"
    for content in (b"", b"not a zip", bytes_of_record[: len(bytes_of_record) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged file or another kind"):
            load_record(path)
    np.savez(path, counts=np.zeros(3))
    with pytest.raises(InputError, match="damaged file or another kind"):
        load_record(path)


def test_a_place_that_cannot_be_written_keeps_nothing(record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_record(record, tmp_path / "taken")
    with pytest.raises(OutputError, match="cannot be written"):
        save_record(record, tmp_path / "file" / "R1.verdict.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_reading_a_record_needs_no_network(tmp_path: Path, bytes_of_record: bytes) -> None:
    path = tmp_path / "R1.verdict.npz"
    path.write_bytes(bytes_of_record)
    script = (
        "import sys; from hcal_root_ad.publish.saved_verdict import load_record;"
        f"load_record({str(path)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
