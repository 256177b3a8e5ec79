"""Engines give every task its result; a worker that dies loses its task only; HTCondor as far as its submit file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hcal_root_ad.certify.engine import condor_cluster, open_engine, read_condor
from hcal_root_ad.errors import InputError, UsageError

ROOT = Path(__file__).parents[2]


def squared(number: int) -> int:
    """What the tests' workers do; a negative number kills them."""
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_in_process() -> None:
    with open_engine() as engine:
        assert dict(engine.results(squared, [1, 2, 3])) == {1: 1, 2: 4, 3: 9}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two worker processes, as --workers 2 starts one."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    from hcal_root_ad.certify.engine import local_cluster

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), local_cluster(2) as cluster:
        yield cluster.scheduler_address


def test_workers_of_a_scheduler_and_one_that_dies(address: str) -> None:
    with open_engine(scheduler=address) as engine:
        found = dict(engine.results(squared, [1, -1, 2, 3]))
    assert {task: found[task] for task in (1, 2, 3)} == {1: 1, 2: 4, 3: 9}
    assert isinstance(found[-1], Exception)
    assert type(found[-1]).__name__ == "KilledWorker"


def test_nothing_to_do_starts_nothing() -> None:
    with open_engine(scheduler="tcp://127.0.0.1:1") as engine:
        assert list(engine.results(squared, [])) == []


def test_no_scheduler_answers() -> None:
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(UsageError, match=r"No Dask scheduler answers at tcp://127.0.0.1:1"),
        open_engine(scheduler="tcp://127.0.0.1:1") as engine,
    ):
        list(engine.results(squared, [1]))


@pytest.mark.parametrize(
    ("module", "options", "extra"),
    [("distributed", {"workers": 2}, "certify"), ("dask_jobqueue", {"condor": ROOT / "condor.toml"}, "condor")],
)
def test_a_missing_package_is_named_with_its_extra(
    module: str, options: dict[str, object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"pip install 'hcal-root-ad\[{extra}\]'"), open_engine(**options) as engine:  # type: ignore[arg-type]
        list(engine.results(squared, [1]))


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


def test_jobs_that_are_submitted_do_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue")
    for name, text in (("condor_submit", SUBMIT.format(python=sys.executable, folder=tmp_path)),
                       ("condor_rm", "#!/bin/sh\n")):  # fmt: skip
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    with open_engine(condor=example(tmp_path)) as engine:
        assert dict(engine.results(squared, [2, 3])) == {2: 4, 3: 9}
    assert (tmp_path / "submitted").read_text().count("\n") == 1


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
        open_engine(condor=example(tmp_path)) as engine,
    ):
        list(engine.results(squared, [1]))


def test_a_missing_condor_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_condor(tmp_path / "condor.toml")
