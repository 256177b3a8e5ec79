"""Where work is done: in this process, or on Dask (processes here, a scheduler's workers, or HTCondor jobs)."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.tables import read_toml

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    """Applies a function to tasks, in any order."""

    def results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        """Each task with its result as it comes, or with what ended its worker."""


class InProcess:
    """One task after the other, in this process."""

    def results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        for task in tasks:
            yield task, function(task)


class OnDask:
    """Tasks on the workers of a Dask client, which is opened when there is something to do."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._client = cache(connect)

    def results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        # A task that waited at a worker when another one killed it is blamed too: those are tried again, one by one.
        suspects: list[Task] = []
        for task, result in self._together(function, tasks):
            if isinstance(result, Exception):
                suspects.append(task)
            else:
                yield task, result
        for task in suspects:
            yield from self._together(function, [task])

    def _together(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        if not tasks:
            return
        client = self._client()
        from distributed import as_completed

        futures = {client.submit(function, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], future.result() if error is None else error
            future.release()


@contextmanager
def open_engine(workers: int = 1, scheduler: str | None = None, condor: Path | None = None) -> Iterator[Engine]:
    """The engine that was asked for: of several, a scheduler's address comes first, then HTCondor, then ``workers``.

    Raises:
        UsageError: Dask is not installed, or no scheduler answers.
        InputError: the HTCondor configuration cannot be used.
    """
    if scheduler is None and condor is None and workers == 1:
        yield InProcess()
        return
    with ExitStack() as stack:
        yield OnDask(lambda: _connected(stack, workers, scheduler, condor))


def _connected(stack: ExitStack, workers: int, scheduler: str | None, condor: Path | None) -> Any:
    try:
        return _client(stack, workers, scheduler, condor)
    except ImportError as error:
        extra = "condor" if condor and not scheduler else "certify"
        raise UsageError(
            f"Work on several workers needs {error.name}, which is not installed: "
            f"pip install 'hcal-root-ad[{extra}]', or leave --workers, --scheduler and --condor out."
        ) from error


def _client(stack: ExitStack, workers: int, scheduler: str | None, condor: Path | None) -> Any:
    """A client of the scheduler, or of a cluster of our own; ``stack`` closes both."""
    from distributed import Client

    if scheduler:
        try:
            return stack.enter_context(Client(scheduler))
        except (OSError, ValueError) as error:
            raise UsageError(f"No Dask scheduler answers at {scheduler} ({error}); check the address.") from error
    cluster = stack.enter_context(condor_cluster(condor) if condor else local_cluster(workers))
    return stack.enter_context(Client(cluster))


def local_cluster(workers: int) -> Any:
    """Worker processes on this machine, one thread each."""
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0, dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    )  # fmt: skip


def condor_cluster(path: Path) -> Any:
    """HTCondor jobs as ``path`` describes them; see docs/certify.md for lxplus.

    Raises:
        InputError: the file is missing, no TOML, or says what dask-jobqueue does not know.
        UsageError: this machine cannot submit jobs.
    """
    from dask_jobqueue import HTCondorCluster

    jobs, options = read_condor(path)
    if shutil.which("condor_submit") is None:
        raise UsageError(
            "There is no condor_submit on this machine; log in where jobs are submitted, or use --workers."
        )
    options.setdefault("scheduler_options", {}).setdefault("host", socket.gethostname())
    try:
        cluster = HTCondorCluster(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: dask-jobqueue does not take [cluster] as it is ({error}).") from error
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that the queue ended is submitted anew
    return cluster


def read_condor(path: Path) -> tuple[int, dict[str, Any]]:
    """Number of jobs, and the options of ``dask_jobqueue.HTCondorCluster``, from a TOML file."""
    table = read_toml(path, "HTCondor configuration")
    jobs, cluster = table.get("jobs"), table.get("cluster")
    if set(table) != {"jobs", "cluster"} or type(jobs) is not int or jobs < 1 or not isinstance(cluster, Mapping):
        raise InputError(f"{path} must say jobs = N and have a table [cluster], no more; see docs/certify.md.")
    return jobs, dict(cluster)
