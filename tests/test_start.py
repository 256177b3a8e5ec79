"""What is imported: nothing heavy that the work at hand does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("awkward", "matplotlib", "pandas", "pyarrow", "scipy", "torch", "torch_geometric", "onnxruntime", "rich")


def loaded(code: str) -> set[str]:
    """The heavy packages that are loaded, and not only known by name, once some code has run."""
    report = (
        f"import sys\nprint([name for name in {HEAVY} if len(getattr(sys.modules.get(name), '__dict__', ())) > 12])"
    )
    command = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(eval(done.stdout.splitlines()[-1]))


def test_reading_loads_nothing_that_judging_needs() -> None:
    code = (
        "import hcal_root_ad\n"
        "from hcal_root_ad import content\n"
        "(path,) = content.find('reference_runs', 'demonstration').glob('*.root')\n"
        "hcal_root_ad.read_lumi_maps(str(path))"
    )
    assert loaded(code) == set()


def test_a_run_loads_no_network_and_no_drawing(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")
    code = (
        "from hcal_root_ad.cli.main import main\n"
        f"assert main(['run', 'demonstration', '-o', {str(folder)!r}, '--quiet']) == 0"
    )
    assert loaded(code) <= {"rich", "scipy"}


def test_awkward_is_whole_once_it_is_asked_for() -> None:
    code = (
        "import hcal_root_ad.root_io, uproot, awkward\n"
        "from threading import Thread\n"
        "ends = []\n"
        "threads = [Thread(target=lambda: ends.append(awkward.Array([[1], []]).tolist())) for _ in range(4)]\n"
        "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
        "assert ends == [[[1], []]] * 4, ends\n"
        "import awkward.contents\n"
        "assert awkward.contents is awkward.contents and awkward.__version__"
    )
    assert "awkward" in loaded(code)
