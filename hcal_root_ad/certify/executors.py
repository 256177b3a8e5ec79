"""Where work is done: in this process, in processes here, or on Dask (a scheduler's workers, or HTCondor jobs).

Processes here talk through pipes that only they hold: nothing listens. A scheduler that is started for HTCondor jobs
listens, because the jobs are elsewhere: TLS, with a certificate made for this one campaign, and no dashboard.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

from hcal_root_ad.errors import InputError, UsageError
from hcal_root_ad.tables import read_toml

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Applies a function to tasks, in any order."""

    def results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        """Each task with its result as it comes, or with what ended its worker."""


class SerialExecutor:
    """One task after the other, in this process."""

    def results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        for task in tasks:
            yield task, function(task)


class ProcessExecutor:
    """Tasks in processes of this machine, which start with the first task and stay for the next ones.

    No more tasks are handed out than there are processes, so that one that dies takes few with it: all that were at
    work then are tried again, each in a process of its own.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[BaseProcess] = set()

    def results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | Exception]]:
        left = deque(tasks)
        while left:
            suspects = yield from self._until_death(function, left)
            for task in suspects:
                alone = deque([task])
                if (yield from self._until_death(function, alone)):
                    yield task, BrokenProcessPool("its process died")

    def _until_death(
        self, function: Callable[[Task], Result], left: deque[Task]
    ) -> Generator[tuple[Task, Result | Exception], None, list[Task]]:
        """Results until nothing is left or a process dies; returns the tasks that were at work then."""
        pool = self._open_pool()
        at_work: dict[Future[Result], Task] = {}
        try:
            while left or at_work:
                while left and len(at_work) < self._workers:
                    task = left[0]
                    at_work[pool.submit(function, task)] = task
                    left.popleft()
                for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        return list(at_work.values())
                    yield at_work.pop(future), future.result() if error is None else _as_exception(error)
        except BrokenProcessPool:  # it died between two tasks
            self.close(kill=True)
            return list(at_work.values())
        finally:
            if at_work:  # interrupted, or one died: what the others do is done again, or not needed any more
                self.close(kill=True)
        return []

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._others = set(active_children())
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), initializer=_begin_worker)
        return self._pool

    def close(self, kill: bool = False) -> None:
        """End the processes, with ``kill`` in the middle of their work."""
        if self._pool is None:
            return
        for process in set(active_children()) - self._others if kill else ():
            process.kill()
        self._pool.shutdown()
        self._pool = None


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(repr(error))


_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _begin_worker() -> None:
    """Leave an interruption to the process that handed out the work, and end when that ends, however it does.

    One thread each, unless the user says otherwise: there are as many workers as processors are to be used.
    """
    for name in _ONE_THREAD:  # read when numpy is imported, which is later
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


class DaskExecutor:
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
def open_executor(
    workers: int = 1, scheduler: str | None = None, condor: Path | None = None, shared: Path | None = None
) -> Iterator[Executor]:
    """The executor that was asked for: of several, a scheduler's address comes first, then HTCondor, then ``workers``.

    ``shared``: a folder that HTCondor jobs see; the certificate of the campaign is left there for them.

    Raises:
        UsageError: Dask is not installed, or no scheduler answers.
        InputError: the HTCondor configuration cannot be used.
    """
    if scheduler is None and condor is None and workers == 1:
        yield SerialExecutor()
    elif scheduler is None and condor is None:
        with closing(ProcessExecutor(workers)) as processes:
            yield processes
    else:
        with ExitStack() as stack:
            yield DaskExecutor(lambda: _connected(stack, scheduler, condor, shared))


def _connected(stack: ExitStack, scheduler: str | None, condor: Path | None, shared: Path | None) -> Any:
    try:
        return _client(stack, scheduler, condor, shared)
    except ImportError as error:
        extra = "certify" if scheduler else "condor"
        raise UsageError(
            f"--{'scheduler' if scheduler else 'condor'} needs {error.name or 'Dask'}, which is not installed: "
            f"pip install 'hcal-root-ad[{extra}]', or use --workers."
        ) from error


def _client(stack: ExitStack, scheduler: str | None, condor: Path | None, shared: Path | None) -> Any:
    """A client of the scheduler, or of a cluster of our own; ``stack`` closes both."""
    from distributed import Client

    if scheduler:
        try:
            return stack.enter_context(Client(scheduler))
        except (OSError, ValueError) as error:
            raise UsageError(f"No Dask scheduler answers at {scheduler} ({error}); check the address.") from error
    assert condor is not None
    return stack.enter_context(Client(stack.enter_context(condor_cluster(condor, shared))))


def condor_cluster(path: Path, shared: Path | None = None) -> Any:
    """HTCondor jobs as ``path`` describes them; see docs/certify.md for lxplus.

    Unless the file says otherwise, scheduler and jobs know each other by a certificate made now, whose key lies in
    ``shared`` while they work, and neither has a dashboard.

    Raises:
        InputError: the file is missing, no TOML, or says what dask-jobqueue does not know.
        UsageError: this machine cannot submit jobs.
    """
    import dask
    from dask_jobqueue import HTCondorCluster
    from distributed import Security

    jobs, options = read_condor(path)
    if shutil.which("condor_submit") is None:
        raise UsageError(
            "There is no condor_submit on this machine; log in where jobs are submitted, or use --workers."
        )
    scheduler = options.setdefault("scheduler_options", {})
    scheduler.setdefault("host", socket.gethostname())
    pages: dict[str, Any] = {}
    if not {"dashboard", "dashboard_address"} & set(scheduler):
        scheduler |= {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
        pages = {"distributed.scheduler.http.routes": []}
    if "protocol" not in options:
        options["security"] = Security.temporary()
        options.setdefault("shared_temp_directory", str(shared or path.absolute().parent))
    arguments = options.setdefault("worker_extra_args", [])
    if not any("dashboard" in str(argument) for argument in arguments):
        arguments += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    try:
        with dask.config.set(pages):
            cluster = HTCondorCluster(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: dask-jobqueue does not take [cluster] as it is ({error}).") from error
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that the queue ended is submitted again
    return cluster


def read_condor(path: Path) -> tuple[int, dict[str, Any]]:
    """Number of jobs, and the options of ``dask_jobqueue.HTCondorCluster``, from a TOML file."""
    table = read_toml(path, "HTCondor configuration")
    jobs, cluster = table.get("jobs"), table.get("cluster")
    if set(table) != {"jobs", "cluster"} or type(jobs) is not int or jobs < 1 or not isinstance(cluster, Mapping):
        raise InputError(f"{path} must say jobs = N and have a table [cluster], no more; see docs/certify.md.")
    return jobs, dict(cluster)
