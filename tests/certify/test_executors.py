"""Engines give every task its result; a worker that dies loses its task only; HTCondor as far as its submit file."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from hcal_root_ad.certify.executors import condor_cluster, open_executor, read_condor
from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.machine import cores

ROOT = Path(__file__).parents[2]


def squared(number: int) -> int:
    """What the tests' workers do; a negative number kills them."""
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_in_process() -> None:
    with open_executor() as executor:
        assert dict(executor.results(squared, [1, 2, 3])) == {1: 1, 2: 4, 3: 9}


def test_processes_of_this_machine() -> None:
    with open_executor(workers=2) as executor:
        assert dict(executor.results(squared, [1, 2, 3, 4, 5])) == {1: 1, 2: 4, 3: 9, 4: 16, 5: 25}
        assert list(executor.results(squared, [])) == []


@pytest.mark.parametrize("package", ["dask", "distributed", "dask_jobqueue", "cryptography"])
def test_processes_need_none_of_the_extras(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with open_executor(workers=2) as executor:
        assert dict(executor.results(squared, [1, 2])) == {1: 1, 2: 4}


@pytest.mark.parametrize("tasks", [[1, -1, 2, 3], [-1, -2, 1], [1, 2, -1]])
def test_a_process_that_dies_loses_its_own_task_alone(tasks: list[int]) -> None:
    with open_executor(workers=2) as executor:
        found = dict(executor.results(squared, tasks))
    assert {task: found[task] for task in tasks if task > 0} == {task: task**2 for task in tasks if task > 0}
    assert all(isinstance(found[task], BrokenProcessPool) for task in tasks if task < 0)


def refuses(number: int) -> int:
    raise ValueError(number)


def process_and_threads(_: object) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def test_processes_stay_for_the_next_tasks_and_keep_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with open_executor(workers=1 + 1) as executor:
        first, second = ({answer for _, answer in executor.results(process_and_threads, range(8))} for _ in range(2))
    assert len(first | second) <= 2
    assert {threads for _, threads in first | second} == {"1"}
    assert os.environ.get("OMP_NUM_THREADS") is None


def test_a_user_may_ask_for_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with open_executor(workers=2) as executor:
        assert {answer[1] for _, answer in executor.results(process_and_threads, [1])} == {"3"}


def test_a_pool_that_lost_a_process_between_tasks_is_replaced() -> None:
    with open_executor(workers=2) as executor:
        ((_, (process, _)),) = executor.results(process_and_threads, [1])
        os.kill(process, signal.SIGKILL)
        until(lambda: not lives(process))
        assert sorted(executor.results(squared, [1, 2, 3])) == [(1, 1), (2, 4), (3, 9)]


def test_what_a_task_raises_is_its_result() -> None:
    with open_executor(workers=2) as executor:
        found = dict(executor.results(refuses, [1, 2]))
    assert [repr(found[task]) for task in (1, 2)] == ["ValueError(1)", "ValueError(2)"]


def sockets(_: int) -> list[str]:
    """Sockets of this process that anyone else could reach: all of IP, and those of the machine that listen."""
    own = set()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            own.add(handle.readlink().name.removeprefix("socket:[").rstrip("]"))
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        lines = Path(f"/proc/self/net/{kind}").read_text().splitlines()[1:]
        found += [f"{kind} {line}" for line in lines if line.split()[9] in own]
    lines = Path("/proc/self/net/unix").read_text().splitlines()[1:]
    listens = 0x10000  # __SO_ACCEPTCON
    found += [f"unix {line}" for line in lines if line.split()[6] in own and int(line.split()[3], 16) & listens]
    return found


def test_the_test_sees_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert len(sockets(0)) >= 1
    before = len(sockets(0))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0a-socket-of-a-test")
        listening.listen()
        assert len(sockets(0)) == before + 1


def test_nothing_listens_while_processes_work() -> None:
    before = sockets(0)
    with open_executor(workers=2) as executor:
        for _, there in executor.results(sockets, range(6)):
            assert there == []
            assert sockets(0) == before


INTERRUPTED = """
import signal, sys
from pathlib import Path
from hcal_root_ad.certify.executors import open_executor
sys.path.insert(0, sys.argv[2])
from slow import slow
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with open_executor(workers=2) as executor:
        list(executor.results(slow, [Path(sys.argv[1]) / name for name in "abcd"]))
"""
SLOW = "import os, time\ndef slow(path):\n    path.write_text(str(os.getpid()))\n    time.sleep(60)\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_campaign(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "campaign.py").write_text(INTERRUPTED)
    (tmp_path / "at").mkdir()
    command = [sys.executable, str(tmp_path / "campaign.py"), str(tmp_path / "at"), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}) as campaign:
        until(lambda: len([path for path in (tmp_path / "at").iterdir() if path.read_text()]) == 2)
        campaign.send_signal(how)
        campaign.wait(20)
    until(lambda: not any(lives(int(path.read_text())) for path in (tmp_path / "at").iterdir()))


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two worker processes, as one has it elsewhere."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(processes=True, **options) as cluster,
    ):
        yield cluster.scheduler_address


def test_workers_of_a_scheduler_and_one_that_dies(address: str) -> None:
    with open_executor(scheduler=address) as executor:
        found = dict(executor.results(squared, [1, -1, 2, 3]))
    assert {task: found[task] for task in (1, 2, 3)} == {1: 1, 2: 4, 3: 9}
    assert isinstance(found[-1], Exception)
    assert type(found[-1]).__name__ == "KilledWorker"


def test_nothing_to_do_starts_nothing() -> None:
    with open_executor(scheduler="tcp://127.0.0.1:1") as executor:
        assert list(executor.results(squared, [])) == []


def test_no_scheduler_answers() -> None:
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(UsageError, match=r"No Dask scheduler answers at tcp://127.0.0.1:1"),
        open_executor(scheduler="tcp://127.0.0.1:1") as executor,
    ):
        list(executor.results(squared, [1]))


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [
        ("distributed", {"scheduler": "tcp://127.0.0.1:1"}, "certify"),
        ("dask_jobqueue", {"condor": ROOT / "condor.toml"}, "condor"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    module: str, options: dict[str, object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refused = pytest.raises(UsageError, match=rf"pip install 'hcal-root-ad\[{extra}\]'")
    with refused, open_executor(**options) as executor:  # type: ignore[arg-type]
        list(executor.results(squared, [1]))


def written(folder: Path, text: str) -> Path:
    path = folder / "condor.toml"
    path.write_text(text)
    return path


def example(folder: Path) -> Path:
    """The configuration that the page shows, with what this machine needs instead of what lxplus needs."""
    page = (ROOT / "docs" / "certify.md").read_text(encoding="utf-8")
    text = page.partition("```toml\n# lxplus.toml")[2].partition("```")[0]
    for own, here in {
        "jobs = 50": "jobs = 1",
        "port = 8786": 'host = "127.0.0.1", port = 0',
        "/afs/cern.ch/work/u/user/logs": str(folder),
        "death_timeout = 600": "death_timeout = 60",
    }.items():
        assert own in text
        text = text.replace(own, here)
    return written(folder, text)


def test_the_submit_file_of_the_page(tmp_path: Path) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    jobs, options = read_condor(example(tmp_path))
    assert jobs == 1
    with jobqueue.HTCondorCluster(**options) as cluster:
        script = cluster.job_script()
    assert "RequestCpus = MY.DaskWorkerCores" in script
    assert "MY.DaskWorkerMemory = 3000000000" in script
    assert 'MY.JobFlavour = "workday"' in script
    assert "--worker-port 10000:10100" in script
    assert "--nthreads 1" in script


SUBMIT = """#!{python}
import re, subprocess, sys
script = open(sys.argv[-1]).read()
words = re.search(r'^Arguments = "(.*)"$', script, re.M)[1].replace('""', '"')
command = re.fullmatch(r"-c '(.*)'", words)[1].replace("''", "'")
job = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       start_new_session=True)
open("{folder}/submitted", "a").write(f"{{job.pid}}\\n")
print("1 job(s) submitted to cluster 7.")
"""
"""A ``condor_submit`` that runs the job on this machine."""


@pytest.fixture
def submits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue")
    for name, text in (("condor_submit", SUBMIT.format(python=sys.executable, folder=tmp_path)),
                       ("condor_rm", "#!/bin/sh\n")):  # fmt: skip
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


@pytest.mark.usefixtures("submits")
def test_jobs_that_are_submitted_do_the_work(tmp_path: Path) -> None:
    with open_executor(condor=example(tmp_path)) as executor:
        assert dict(executor.results(squared, [2, 3])) == {2: 4, 3: 9}
    assert (tmp_path / "submitted").read_text().count("\n") == 1


def answer(port: int) -> int:
    """What the scheduler's server of pages says when it is asked how it is."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as page:
            return int(page.status)
    except HTTPError as error:
        return error.code


@pytest.mark.usefixtures("submits")
def test_scheduler_and_jobs_talk_in_secret_and_have_no_dashboard(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    with condor_cluster(example(tmp_path), tmp_path / "shared") as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        assert "--no-dashboard --dashboard-address 127.0.0.1:0" in cluster.job_script()
        keys = list((tmp_path / "shared").iterdir())
        assert keys
        assert {path.stat().st_mode & 0o077 for path in keys} == {0}
        dashboard = cluster.scheduler.http_server
        assert dashboard.address == "127.0.0.1"
        assert answer(dashboard.port) == 404
        from distributed import Client

        with pytest.raises((OSError, TypeError)):  # without the certificate nobody is let in
            Client(cluster.scheduler_address.replace("tls://", "tcp://"), timeout=2)


@pytest.mark.usefixtures("submits")
def test_a_dashboard_is_there_where_it_is_asked_for(tmp_path: Path) -> None:
    path, host = example(tmp_path), 'host = "127.0.0.1"'
    path.write_text(path.read_text().replace(host, f'{host}, dashboard_address = "127.0.0.1:0"'))
    with condor_cluster(path) as cluster:
        assert answer(cluster.scheduler.http_server.port) == 200


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("jobs = 0\n[cluster]\ncores = 1\n", "must say jobs = N"),
        ("jobs = 2\n", "must say jobs = N"),
        ("jobs = 2\nqueue = 'x'\n[cluster]\n", "must say jobs = N"),
        ("jobs = \n", "cannot be read"),
    ],
)
def test_a_condor_file_that_cannot_be_used(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_condor(written(tmp_path, text))


def test_what_the_cluster_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "condor_submit")
    pytest.importorskip("dask_jobqueue")
    text = """
        jobs = 1
        [cluster]
        cores = 1
        memory = "1 GB"
        disk = "1 GB"
        flavour = "workday"
        scheduler_options = {host = "127.0.0.1"}
    """
    with pytest.raises(InputError, match=r"does not take \[cluster\] as it is .*flavour"):
        condor_cluster(written(tmp_path, text))


def test_a_machine_without_condor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(UsageError, match="no condor_submit on this machine"),
        open_executor(condor=example(tmp_path)) as executor,
    ):
        list(executor.results(squared, [1]))


def test_a_missing_condor_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_condor(tmp_path / "condor.toml")


@pytest.mark.parametrize(("threads", "cores_at_most"), [("1", 1), ("", 10**6), ("many", 10**6)])
def test_a_limit_of_threads_holds_for_reading(
    threads: str, cores_at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert 1 <= cores() <= cores_at_most
