"""Files under rising versions, and a stand-in for the newer GUI that is told of each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hcal_root_ad.errors import UsageError
from hcal_root_ad.watch.messages import VERSIONS_KEPT, Complaints, Registration, forget_older, next_version

ONLINE = "DQM_V0001_HcalAD_R000370101.root"
OFFLINE = "DQM_V0001_R000370101__ZeroBias__Run2023C_HcalAD-v1__DQMIO.root"


@dataclass
class Gui:
    """What was registered; ``answer``: the status that it gives."""

    address: str
    got: list[tuple[str, Any]] = field(default_factory=list)
    answer: int = 201


@pytest.fixture
def gui() -> Iterator[Gui]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stand_in.got.append((self.path, json.loads(body)))
            self.send_response(stand_in.answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    stand_in = Gui(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield stand_in
    server.shutdown()
    server.server_close()
    thread.join()


def test_versions_rise_and_the_last_few_stay(tmp_path: Path) -> None:
    for expected in range(1, 6):
        version = next_version(tmp_path / ONLINE)
        assert version == expected
        path = tmp_path / ONLINE.replace("0001", f"{version:04d}")
        path.touch()
        forget_older(path)
    assert sorted(one.name[:9] for one in tmp_path.iterdir()) == ["DQM_V0003", "DQM_V0004", "DQM_V0005"]
    assert VERSIONS_KEPT == 3


def test_versions_of_other_runs_and_names_are_none_of_these(tmp_path: Path) -> None:
    for name in (OFFLINE, "DQM_V0007_HcalAD_R000370102.root", "DQM_Vabcd_HcalAD_R000370101.root"):
        (tmp_path / name).touch()
    assert next_version(tmp_path / ONLINE) == 1
    forget_older(tmp_path / ONLINE)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "dataset"), [(ONLINE, "/Global/Online/ALL"), (OFFLINE, "/ZeroBias/Run2023C_HcalAD-v1/DQMIO")]
)
def test_a_gui_is_told_of_a_file_as_it_wants_it(gui: Gui, tmp_path: Path, name: str, dataset: str) -> None:
    said: list[str] = []
    Registration(gui.address + "/", Complaints(said.append)).tell(tmp_path / name, 370101)
    sample = {"dataset": dataset, "run": "370101", "lumi": "0", "file": str(tmp_path / name), "fileformat": 1}
    assert gui.got == [("/api/v1/register", [sample])]
    assert said == []


def test_a_gui_that_refuses_or_is_away_is_said_once(gui: Gui, tmp_path: Path) -> None:
    said: list[str] = []
    registration = Registration(gui.address, Complaints(said.append))
    gui.answer = 400
    for _ in range(3):
        registration.tell(tmp_path / ONLINE, 370101)
    assert said == [f"--register: {gui.address} answered 400 Bad Request; the file is written all the same."]
    gui.answer = 201
    registration.tell(tmp_path / ONLINE, 370101)
    assert said[1:] == [f"{gui.address} takes files again."]
    away: list[str] = []
    Registration("http://127.0.0.1:9", Complaints(away.append)).tell(tmp_path / ONLINE, 370101)
    assert "cannot be reached" in away[0]


def test_without_an_address_nobody_is_told_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    said: list[str] = []
    Registration("", Complaints(said.append)).tell(tmp_path / ONLINE, 370101)
    assert said == []
    with pytest.raises(UsageError, match="expected the address of a GUI"):
        Registration("file:///etc", Complaints(said.append))
