"""The quick way to read gives what uproot's own objects give, for every codec; what is odd is left to uproot."""

from __future__ import annotations

import logging
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest
import uproot
from numpy.typing import NDArray

from hcal_root_ad import machine
from hcal_root_ad.detector import channel_table, era_of_run
from hcal_root_ad.errors import InputError
from hcal_root_ad.harvest import depth_maps
from hcal_root_ad.harvest.read import read_lumi_maps, stream_lumi_maps
from hcal_root_ad.root_io.records import key_object
from hcal_root_ad.simulate.formats import write_nanodqmio
from hcal_root_ad.simulate.root_files import write_dqm_file
from hcal_root_ad.simulate.scenario import simulate_conditions
from hcal_root_ad.simulate.simulated_detector import simulate_detector
from hcal_root_ad.simulate.simulated_run import SimulatedRun, simulate_run

Made = Callable[..., Any]
RUN = 370_000
pytestmark = pytest.mark.usefixtures("root")
CODECS = {"uncompressed": 0, "zlib": 101, "LZMA": 201, "LZ4": 404, "ZSTD": 505}
PREFIX = "Hcal/DigiTask/Occupancy/depth/depth"
DEPTHS = (*range(1, 8), "HO")


@pytest.fixture(scope="module")
def simulated() -> SimulatedRun:
    return simulate_run(simulate_detector(3), simulate_conditions(9, seed=3), seed=3)


@pytest.fixture(scope="module", params=CODECS)
def nanodqmio(
    request: pytest.FixtureRequest, simulated: SimulatedRun, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    (path,) = write_nanodqmio(simulated, tmp_path_factory.mktemp("n"), others=6, compression=CODECS[request.param])
    return path


def gathered(maps: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Counts of all channels in the eight maps of a lumisection."""
    table = channel_table(era_of_run(RUN))
    return np.array(maps)[table.dqm_map - 1, table.dqm_x, table.dqm_y].astype(np.int64)


def by_uproot(path: Path) -> dict[int, NDArray[np.int64]]:
    """Counts by LS, object by object, as the index has them."""
    with uproot.open(path) as file:
        index = file["Indices"].arrays(["Lumi", "Type", "FirstIndex", "LastIndex"], library="np")
        names = file["TH2Fs/FullName"].array(library="np")
        objects = file["TH2Fs/Value"].array(library="np")
    counts = {}
    for ls, kind, first, last in zip(*index.values(), strict=True):
        if kind == 6:
            own = {names[n]: objects[n] for n in range(int(first), int(last) + 1)}
            counts[int(ls)] = gathered([own[f"{PREFIX}{depth}"].values() for depth in DEPTHS])
    return counts


def test_counts_are_those_of_uproots_objects_and_of_the_simulation(
    nanodqmio: Path, simulated: SimulatedRun, caplog: pytest.LogCaptureFixture
) -> None:
    (maps,) = read_lumi_maps(nanodqmio)
    assert not caplog.records  # nothing was left to uproot
    plain = by_uproot(nanodqmio)
    assert list(maps.lumisections) == sorted(plain)
    np.testing.assert_array_equal(maps.counts, [plain[ls] for ls in sorted(plain)])
    np.testing.assert_array_equal(maps.counts, simulated.maps.counts)
    np.testing.assert_array_equal(maps.events, simulated.maps.events)


def test_pieces_hold_the_same(nanodqmio: Path, simulated: SimulatedRun) -> None:
    pieces = list(stream_lumi_maps(nanodqmio, lumisections=4))
    assert [len(piece) for piece in pieces] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate([piece.counts for piece in pieces]), simulated.maps.counts)


def test_harvested_counts_are_those_of_uproots_objects(simulated: SimulatedRun, tmp_path: Path) -> None:
    (path,) = write_dqm_file(simulated, tmp_path)
    (maps,) = read_lumi_maps(path)
    with uproot.open(path) as file:
        folder = f"DQMData/Run {maps.run}/Hcal/By Lumi Section {{0}}-{{0}}/DigiTask/Occupancy/depth/depth{{1}}"
        plain = [gathered([file[folder.format(ls, d)].values() for d in DEPTHS]) for ls in maps.lumisections]
    np.testing.assert_array_equal(maps.counts, plain)


def test_what_is_laid_out_otherwise_is_left_to_uproot_and_the_log_says_so(
    tmp_path: Path, write_dqmio: Made, root_map: Made, depth_maps: Made, channel_counts: Made,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    made = [depth_maps(100, seed=seed) for seed in range(3)]
    rows = [
        (RUN, ls, [(f"{PREFIX}{depth}", root_map(values)) for depth, values in enumerate(maps, start=1)])
        for ls, maps in enumerate(made, start=1)
    ]
    for _, histogram in rows[1][2]:  # as many bytes as the others, but not quite the same axis
        histogram.GetYaxis().Set(72, 0.5, 72.5 + 1e-9)
    with caplog.at_level(logging.WARNING):
        (maps,) = read_lumi_maps(write_dqmio(tmp_path / "n.root", rows))
    np.testing.assert_array_equal(maps.counts, [channel_counts(one) for one in made])
    assert [record.name for record in caplog.records] == ["hcal_root_ad.root_io.histogram_bytes"]
    assert "TH2Fs of" in caplog.text
    assert "a TH2F is not laid out as the others; uproot decodes such ones" in caplog.text


@pytest.mark.parametrize("codec", ["zlib", "LZMA", "LZ4"])  # ROOT writes ZSTD without checksums
def test_a_damaged_basket_is_no_count(simulated: SimulatedRun, tmp_path: Path, codec: str) -> None:
    (path,) = write_nanodqmio(simulated, tmp_path, others=0, compression=CODECS[codec])
    with uproot.open(path) as file:
        branch = file["TH2Fs/Value"]
        seek, size = int(branch.member("fBasketSeek")[1]), branch.basket_compressed_bytes(1)
    content = bytearray(path.read_bytes())
    for place in range(seek + size // 2, seek + size // 2 + 8):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged or cut short"):
        read_lumi_maps(path)


KEY_SIZE = 30


def record(*blocks: bytes, size: int) -> memoryview:
    """A key of 30 bytes, and blocks behind it."""
    payload = b"".join(blocks)
    return memoryview(struct.pack(">iHIIHH", 30 + len(payload), 4, size, 0, 30, 1).ljust(30, b"\0") + payload)


def block(codec: bytes, content: bytes, compressed: bytes) -> bytes:
    return codec + b"\x01" + len(compressed).to_bytes(3, "little") + len(content).to_bytes(3, "little") + compressed


def test_a_record_of_several_blocks_is_put_together() -> None:
    first, second, third = b"digis " * 500, bytes(range(256)) * 7, b"and more" * 90
    raw = record(
        block(b"ZL", first, zlib.compress(first)), block(b"ZS", second, bytes(cramjam.zstd.compress(second))),
        block(b"XZ", third, lzma.compress(third)),
        size=len(first) + len(second) + len(third),
    )  # fmt: skip
    assert bytes(key_object(raw, KEY_SIZE, len(first + second + third))[0]) == first + second + third


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (record(block(b"ZL", b"ab", zlib.compress(b"ab")), size=3), "do not add up"),
        (record(block(b"ZL", b"abc", zlib.compress(b"ab")), size=3), "of 2 bytes that speaks of 3"),
        (record(block(b"??", b"abc", b"ab"), size=3), "unknown compression"),
        (record(block(b"L4", b"abc", b"12345678ab"), size=3), "checksum does not fit"),
        (record(block(b"ZL", b"abc", b"ab")[:-1], size=3), "cut short"),
        (record(b"ab", size=2)[:-1], "cut short"),
        (record(b"ab", size=2)[:20], "with a key of 30"),
    ],
)
def test_a_wrong_record_is_said_to_be_wrong(raw: memoryview, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        key_object(raw, KEY_SIZE, struct.unpack_from(">I", raw, 6)[0])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [1, 2**22])
def test_threads_and_batches_do_not_matter(
    nanodqmio: Path, simulated: SimulatedRun, monkeypatch: pytest.MonkeyPatch, threads: int, batch: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: threads)
    monkeypatch.setattr(depth_maps, "_BATCH_BYTES", batch)
    (maps,) = read_lumi_maps(nanodqmio)
    np.testing.assert_array_equal(maps.counts, simulated.maps.counts)
    np.testing.assert_array_equal(maps.events, simulated.maps.events)
