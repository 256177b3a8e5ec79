"""A file elsewhere, on a server of our own that gives parts of it: only what is wanted comes over the network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps
from hcal_root_ad.simulate.formats import write_nanodqmio
from hcal_root_ad.simulate.root_files import write_dqm_file
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import simulate_run

pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")


class _Parts(BaseHTTPRequestHandler):
    """Serves ranges of the files of a folder."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *request: Any, folder: Path, given: list[int]) -> None:
        self._folder, self._given = folder, given
        super().__init__(*request)

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, send: bool) -> None:
        path = self._folder / self.path.lstrip("/")
        content = path.read_bytes() if path.is_file() else b""
        asked = self.headers.get("Range", "")
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first or 0) : int(last or len(content)) + 1] if asked else content
        self.send_response((206 if asked else 200) if path.is_file() else 404)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{int(first or 0) + len(part) - 1}/{len(content)}")
        self.end_headers()
        if send:
            self._given.append(len(part))
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Nothing: a test is no server."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ROOT", reason="genuine ROOT writes the files")
    simulated = simulate_run(simulate_detector(3), simulate_conditions(5, seed=3), seed=3)
    folder = tmp_path_factory.mktemp("elsewhere")
    (nano,) = write_nanodqmio(simulated, folder, others=60)
    (harvested,) = write_dqm_file(simulated, folder)
    nano.rename(folder / "nano.root")
    harvested.rename(folder / "harvested.root")
    return folder


@pytest.fixture
def given() -> list[int]:
    """Bytes in each answer of the server."""
    return []


@pytest.fixture
def address(folder: Path, given: list[int]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Parts, folder=folder, given=given))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["nano.root", "harvested.root"])
def test_counts_and_events_are_those_of_the_file_here(folder: Path, address: str, name: str) -> None:
    (here,), (there,) = read_lumi_maps(folder / name), read_lumi_maps(f"{address}/{name}")
    for field in ("lumisections", "events", "event_source", "counts", "present"):
        np.testing.assert_array_equal(getattr(there, field), getattr(here, field))
    (source,) = there.sources
    assert (source.name, source.size, source.sha256) == (name, (folder / name).stat().st_size, "")


def test_only_what_is_wanted_is_fetched(folder: Path, address: str, given: list[int]) -> None:
    read_lumi_maps(f"{address}/nano.root")
    assert 0 < sum(given) < 0.5 * (folder / "nano.root").stat().st_size


def test_a_file_elsewhere_is_streamed(folder: Path, address: str) -> None:
    (whole,) = read_lumi_maps(folder / "nano.root")
    pieces = list(stream_lumi_maps(f"{address}/nano.root", lumisections=2))
    np.testing.assert_array_equal(np.concatenate([piece.counts for piece in pieces]), whole.counts)


def test_what_is_not_there_is_one_sentence(address: str) -> None:
    with pytest.raises(InputError, match=rf"^{address}/none\.root cannot be read \(.*\); check the address"):
        read_lumi_maps(f"{address}/none.root")
