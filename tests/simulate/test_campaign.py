"""Campaigns: many runs of one detector in one folder."""

import json
from pathlib import Path

import pytest

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.simulate.formats import simulate_campaign


def test_each_run_has_a_file_and_its_truth(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    written = simulate_campaign(tmp_path, "dials", 2, 2, 1, 3, "mixed", lambda done, of: steps.append((done, of)))
    assert [path.name for path in written] == [
        "dials_run373000.parquet",
        "run373000_truth.json",
        "dials_run373001.parquet",
        "run373001_truth.json",
    ]
    assert steps == [(1, 2), (2, 2)]
    first, second = (json.loads(path.read_text()) for path in (written[1], written[3]))
    assert first["masked"] == second["masked"]  # one detector
    assert first["events"] != second["events"]
    assert first["faults"] != second["faults"]
    assert first["faults"]


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_files(tmp_path: Path) -> None:
    one, same = (simulate_campaign(tmp_path / name, "dials", 1, 1, 1, 3) for name in ("one", "same"))
    assert one[0].read_bytes() == same[0].read_bytes()
    assert one[1].read_bytes() == same[1].read_bytes()
    other = simulate_campaign(tmp_path / "one", "dials", 1, 1, 1, 4)
    assert not set(one) & set(other)
    detector = simulate_campaign(tmp_path / "two", "dials", 1, 1, 2, 3)
    assert json.loads(detector[1].read_text())["masked"] != json.loads(one[1].read_text())["masked"]


def test_a_run_without_faults_says_so(tmp_path: Path) -> None:
    assert json.loads(simulate_campaign(tmp_path, "dials", 1, 1, 1, 1)[1].read_text())["faults"] == []


def test_faults_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text("[[fault]]\nkind = 'dead'\nunit = 'HBP02'\nfirst = 1\nlast = 1\n")
    (fault,) = json.loads(simulate_campaign(tmp_path, "dials", 1, 1, 1, 1, str(path))[1].read_text())["faults"]
    assert (fault["unit"], len(fault["channels"])) == ("HBP02", pytest.approx(252, abs=5))


@pytest.mark.parametrize(
    ("changed", "error"),
    [({"format_name": "hdf5"}, UsageError), ({"n_runs": 0}, UsageError), ({"n_runs": 1001}, UsageError),
     ({"n_lumisections": 0}, UsageError), ({"seed": -1}, UsageError), ({"seed": 10**6}, UsageError),
     ({"faults": "nowhere.toml"}, InputError)],
)  # fmt: skip
def test_impossible_campaigns_write_nothing(tmp_path: Path, changed: dict[str, object], error: type[Exception]) -> None:
    usual = {"format_name": "dials", "n_lumisections": 1, "n_runs": 1, "detector_seed": 1, "seed": 1, "faults": "none"}
    with pytest.raises(error):
        simulate_campaign(tmp_path / "out", **(usual | changed))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
