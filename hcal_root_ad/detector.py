"""The HCAL channel table: who each channel is, where it is read out, and where it sits on every axis.

All rules are for the detector as read out in Run 3; earlier eras keep the channels that their photodetectors had.
Sources: CMSSW ``Geometry/CaloTopology/src/HcalTopology.cc`` (validity), ``DataFormats/HcalDetId/src/HcalDetId.cc`` (raw
id), ``DQM/HcalCommon/src/DetectorQuantity.cc`` (axes), and the official maps of 2019 for RBX, RM, crate and slot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum
from functools import cache, cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int16]

N_IETA, N_IPHI, N_DEPTH = 64, 72, 7
"""Shape of the HB+HE grid: ieta −32…−1, 1…32 (no ieta 0), iphi 1…72, depth 1…7."""
N_MAPS, HO_MAP = 8, 8
"""Occupancy maps of the DQM: ``depth1`` … ``depth7``, and the number of ``depthHO`` among them."""
N_DQM_IETA = 84
"""Bins of the DQM ieta axis: no ieta 0, and |ieta| 29 twice per side (inner HE, outer HF)."""
IETA_LABELS = tuple(str(ieta) for ieta in (*range(-41, -28), *range(-29, 0), *range(1, 30), *range(29, 42)))
"""Labels of its bins (CMSSW ``DQM/HcalCommon/src/DetectorQuantity.cc``)."""
N_RBX = 18
"""Readout boxes per side of HB and of HE."""
N_HO_RBX, N_HO_BOX_FIRST = 12, 72
"""Readout box numbers in each wheel of HO (outside of wheel 0 only the even ones exist), and where they begin."""
N_UHTR_SLOTS = 12
"""Readout boards per crate: six for each side."""
HALVES = ("HBM", "HBP", "HEM", "HEP", "HOM", "HOP", "HFM", "HFP")
"""Half sub-detectors, minus and plus (CMSSW's hash ``SubdetPM``)."""
SUBDET_PM = HALVES[:4]
"""Those of HB and HE, in the order of the readout box index (CMSSW ``HcalFrontEndId``)."""
HO_WHEELS = ("HO2M", "HO1M", "HO0", "HO1P", "HO2P")
"""Wheels of HO, in the order of that index."""


class Subdetector(IntEnum):
    """Sub-detectors with the codes of CMSSW's ``HcalSubdetector``."""

    HB = 1
    HE = 2
    HO = 3
    HF = 4


class Era(StrEnum):
    """Detector configurations with different channel sets."""

    RUN2_2017 = "2017"
    """Photodiodes in HB and HE, but for the Phase-1 box HEP17."""
    RUN2_2018 = "2018"
    """Phase-1 HE, photodiodes in HB."""
    RUN3 = "Run3"
    """Phase-1 HB and HE (2022 on)."""


_FIRST_RUN_OF_ERA = ((328_000, Era.RUN3), (314_000, Era.RUN2_2018), (0, Era.RUN2_2017))
_CRATES = np.array([30, 24, 20, 21, 25, 31, 35, 37, 34], dtype=np.int16)


def era_of_run(run: int) -> Era:
    """Era of a run number: 2017 ends before run 314000, 2018 before 328000 (the long shutdown)."""
    return next(era for first, era in _FIRST_RUN_OF_ERA if run >= first)


def ho_in_depth_4(era: str) -> bool:
    """Whether HO may lie in the DQM's map of depth 4, as CMSSW filled it before 11_2: HB has no depth 4 there."""
    return era in (Era.RUN2_2017, Era.RUN2_2018)


@dataclass(frozen=True, eq=False)
class ChannelTable:
    """Channels, one per row; every field is an int16 array of the same length.

    ``rbx`` is 1…18 in HB and HE, 1…12 within a wheel of HO, and 0 in HF, whose boxes follow no
    rule; ``rm`` 1…4, ``crate`` and ``slot`` are 0 where no rule is known (HF, HO and photodiode
    modules). ``card`` is the QIE card 1…4 within the RM, known by rule for HB only.
    """

    era: Era
    subdetector: IntArray
    ieta: IntArray
    iphi: IntArray
    depth: IntArray
    rbx: IntArray
    rm: IntArray
    card: IntArray
    crate: IntArray
    slot: IntArray

    def __len__(self) -> int:
        return len(self.ieta)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> ChannelTable:
        """The given rows (indices or a mask) as a table of their own."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "era"}
        return ChannelTable(era=self.era, **columns)

    def rows_of(self, *subdetectors: str) -> NDArray[np.intp]:
        """Row numbers of the named sub-detectors, in table order."""
        return _rows_of(self, subdetectors)

    def select(self, *subdetectors: str) -> ChannelTable:
        """The rows of the named sub-detectors, in table order."""
        return _selected(self, subdetectors)

    @property
    def instrumented(self) -> NDArray[np.bool_]:
        """False for Phase-1 HE |ieta| 18 depth 1, which has electronics but no scintillator."""
        phase1 = (self.subdetector == Subdetector.HE) & (self.rm > 0)
        return np.asarray(~(phase1 & (np.abs(self.ieta) == 18) & (self.depth == 1)))

    @property
    def names(self) -> list[str]:
        """Sub-detector name of each row."""
        by_code = {int(code): code.name for code in Subdetector}
        return [by_code[code] for code in self.subdetector.tolist()]

    @property
    def side(self) -> IntArray:
        """0 for the minus side, 1 for the plus side."""
        return (self.ieta > 0).astype(np.int16)

    @property
    def half(self) -> IntArray:
        """Index into :data:`HALVES` (HBM 0, HBP 1, HEM 2, HEP 3, HOM 4, HOP 5, HFM 6, HFP 7)."""
        return (2 * (self.subdetector - 1) + self.side).astype(np.int16)

    @property
    def box(self) -> IntArray:
        """Readout box: HBM 0–17, HBP 18–35, HEM 36–53, HEP 54–71, then twelve per wheel of HO, 72–131; −1 in HF."""
        outer = N_HO_BOX_FIRST + N_HO_RBX * (ho_wheel(self.ieta) + 2)
        first = np.where(self.subdetector == Subdetector.HO, outer, N_RBX * self.half)
        return np.where(self.rbx > 0, first + self.rbx - 1, -1).astype(np.int16)

    @property
    def uhtr(self) -> IntArray:
        """Readout board (uHTR) 0…107, twelve slots per crate in the order of the crates' boxes; −1 where not known."""
        return np.where(self.crate > 0, N_UHTR_SLOTS * (self.rbx // 2 % 9) + self.slot - 1, -1).astype(np.int16)

    @property
    def grid(self) -> tuple[IntArray, IntArray, IntArray]:
        """Indices into the 64 × 72 × 7 grid, as in CMSSW's ``HcalMLTask``; HB and HE never collide."""
        row = np.where(self.ieta < 0, self.ieta + 32, self.ieta + 31).astype(np.int16)
        return row, (self.iphi - 1).astype(np.int16), (self.depth - 1).astype(np.int16)

    @property
    def dqm_x(self) -> IntArray:
        """0-based bin on the 84-bin DQM ieta axis; HF sits one bin further out than HB, HE, HO."""
        outer = self.subdetector == Subdetector.HF
        minus, plus = self.ieta + np.where(outer, 41, 42), self.ieta + np.where(outer, 42, 41)
        return np.where(self.ieta < 0, minus, plus).astype(np.int16)

    @property
    def dqm_y(self) -> IntArray:
        """0-based bin on the 72-bin DQM iphi axis."""
        return (self.iphi - 1).astype(np.int16)

    @property
    def ring(self) -> NDArray[np.intp]:
        """Label of (sub-detector, |ieta|, depth), the channels that see the same particles; 0-based, dense."""
        key = (self.subdetector.astype(np.int64) * 64 + np.abs(self.ieta)) * 8 + self.depth
        return np.asarray(np.unique(key, return_inverse=True)[1], dtype=np.intp)

    @cached_property
    def raw_id(self) -> NDArray[np.uint32]:
        """CMSSW raw ids, format 2 (``DataFormats/HcalDetId/src/HcalDetId.cc``)."""
        word = np.full(len(self), 4 << 28 | 1 << 24, dtype=np.uint32)
        for value, shift in ((self.subdetector, 25), (self.depth, 20), (self.side, 19), (np.abs(self.ieta), 10)):
            word |= value.astype(np.uint32) << np.uint32(shift)
        return word | self.iphi.astype(np.uint32)

    @property
    def fed(self) -> IntArray:
        """Front-end driver of HB and HE rows: two per crate, the odd one for the plus side; 0 where not known."""
        return np.where(self.crate > 0, 1100 + 2 * ((self.rbx // 2 - 1) % 9) + self.side, 0).astype(np.int16)

    def rows_of_raw_ids(self, raw_ids: NDArray[np.integer]) -> NDArray[np.intp]:
        """Row of each raw id, −1 where the table has no such channel."""
        order = np.argsort(self.raw_id)
        place = np.searchsorted(self.raw_id[order], raw_ids).clip(max=len(self) - 1)
        return np.where(self.raw_id[order[place]] == raw_ids, order[place], -1)

    @property
    def dqm_map(self) -> IntArray:
        """Number of a channel's DQM map: its depth, and :data:`HO_MAP` for HO, which has a map of its own."""
        return np.where(self.subdetector == Subdetector.HO, HO_MAP, self.depth).astype(np.int16)

    def name_of(self, row: int) -> str:
        """Name of a row's channel, for example ``HE +20/5/3``: sub-detector, ieta/iphi/depth."""
        subdetector = Subdetector(int(self.subdetector[row])).name
        return f"{subdetector} {self.ieta[row]:+d}/{self.iphi[row]}/{self.depth[row]}"

    def box_name(self, row: int) -> str:
        """Name of a row's readout box, for example ``HEP07``."""
        return box_name(self._boxes[row])

    @cached_property
    def _boxes(self) -> list[int]:
        return list(self.box.tolist())


@lru_cache(maxsize=64)
def _selected(table: ChannelTable, subdetectors: tuple[str, ...]) -> ChannelTable:
    """Of :meth:`ChannelTable.select`."""
    return table.take(table.rows_of(*subdetectors))


@lru_cache(maxsize=64)
def _rows_of(table: ChannelTable, subdetectors: tuple[str, ...]) -> NDArray[np.intp]:
    """Of :meth:`ChannelTable.rows_of`; a judge asks for the same rows again and again."""
    rows = np.flatnonzero(np.isin(table.subdetector, [Subdetector[name] for name in subdetectors]))
    rows.flags.writeable = False
    return rows


def box_name(box: int) -> str:
    """Name of readout box 0…131 (see :attr:`ChannelTable.box`).

    >>> box_name(60), box_name(73)
    ('HEP07', 'HO2M02')

    Raises:
        ValueError: no such box.
    """
    if not 0 <= box < N_HO_BOX_FIRST + N_HO_RBX * len(HO_WHEELS):
        raise ValueError(f"there is no readout box {box}")
    if box < N_HO_BOX_FIRST:
        return f"{SUBDET_PM[box // N_RBX]}{box % N_RBX + 1:02d}"
    wheel, number = divmod(box - N_HO_BOX_FIRST, N_HO_RBX)
    return f"{HO_WHEELS[wheel]}{number + 1:02d}"


def uhtr_name(uhtr: int) -> str:
    """Name of readout board 0…107 (see :attr:`ChannelTable.uhtr`).

    >>> uhtr_name(16)
    'crate24-slot5'
    """
    return f"crate{_CRATES[uhtr // N_UHTR_SLOTS]}-slot{uhtr % N_UHTR_SLOTS + 1}"


def ho_wheel(ieta: NDArray[np.integer]) -> IntArray:
    """Wheel −2…2 of HO channels: |ieta| 1–4 is the central one, 5–10 the next, 11–15 the outer ones."""
    return np.asarray(np.sign(ieta) * np.digitize(np.abs(ieta), (5, 11)), dtype=np.int16)


def _ho_rbx(ieta: IntArray, iphi: IntArray) -> IntArray:
    """Readout box of HO within its wheel: six iphi each in wheel 0, else even numbers with twelve; 1 begins at 71."""
    box = (iphi + 1) % 72 // 6 + 1
    return np.where(ho_wheel(ieta) == 0, box, (box + 1) // 2 * 2).astype(np.int16)


def rbx_of(iphi: NDArray[np.integer]) -> IntArray:
    """Readout box 1…18 of HB and HE: box n holds iphi 4n−5 … 4n−2 (mod 72), the same on both sides."""
    return ((iphi + 1) % 72 // 4 + 1).astype(np.int16)


@cache
def channel_table(era: Era | str = Era.RUN3) -> ChannelTable:
    """All channels of an era, ordered HB, HE, HO, HF, then by ieta, iphi, depth.

    Run 3 has HB 9072, HE 6768, HO 2160 and HF 3456 channels.

    >>> table = channel_table("Run3").select("HE")
    >>> len(table), table.box_name(0)
    (6768, 'HEM01')
    """
    era = Era(era)
    cells = sorted((*_hb_cells(era), *_he_cells(era), *_ho_and_hf_cells()))
    subdetector, ieta, iphi, depth, phase1 = (np.array(column, dtype=np.int16) for column in zip(*cells, strict=True))
    barrel_or_endcap = subdetector <= Subdetector.HE
    outer_rbx = np.where(subdetector == Subdetector.HO, _ho_rbx(ieta, iphi), 0)
    rbx = np.where(barrel_or_endcap, rbx_of(iphi), outer_rbx).astype(np.int16)
    known = barrel_or_endcap & (phase1 == 1)
    rm = np.where(known, _rm(subdetector, ieta, iphi, depth), 0).astype(np.int16)
    return ChannelTable(
        era=era, subdetector=subdetector, ieta=ieta, iphi=iphi, depth=depth, rbx=rbx, rm=rm,
        card=np.where(known & (subdetector == Subdetector.HB), _hb_card(ieta, rm), 0).astype(np.int16),
        crate=np.where(known, _CRATES[rbx // 2 % 9], 0).astype(np.int16),
        slot=np.where(known, _slot(subdetector, ieta, depth, rbx), 0).astype(np.int16),
    )  # fmt: skip


Cell = tuple[int, int, int, int, int]
"""Sub-detector code, ieta, iphi, depth, and 1 where a Phase-1 readout module reads the channel."""


def _cells(sub: Subdetector, abs_ieta: int, depths: range, phis: range, phase1: int) -> list[Cell]:
    return [(int(sub), sign * abs_ieta, p, d, phase1) for sign in (-1, 1) for p in phis for d in depths]


def _hb_cells(era: Era) -> list[Cell]:
    phase1 = era == Era.RUN3
    deepest = dict.fromkeys(range(1, 16), 4) | {16: 3} if phase1 else dict.fromkeys(range(1, 15), 1) | {15: 2, 16: 2}
    return [c for e, last in deepest.items()
            for c in _cells(Subdetector.HB, e, range(1, last + 1), range(1, 73), int(phase1))]  # fmt: skip


def _he_phase1_depths(abs_ieta: int) -> range:
    first = {16: 4, 17: 2}.get(abs_ieta, 1)
    last = {16: 4, 17: 3, 18: 5, 29: 3}.get(abs_ieta, 7 if abs_ieta >= 26 else 6)
    return range(first, last + 1)


def _he_phase0_depths(abs_ieta: int) -> range:
    return {16: range(3, 4), 17: range(1, 2), 27: range(1, 4), 28: range(1, 4)}.get(abs_ieta, range(1, 3))


def _in_hep17(cell: Cell) -> bool:
    return cell[1] > 0 and 63 <= cell[2] <= 66


def _he_cells(era: Era) -> list[Cell]:
    cells = []
    for e in range(16, 30):
        phis = range(1, 73, 1 if e <= 20 else 2)
        phase1 = _cells(Subdetector.HE, e, _he_phase1_depths(e), phis, 1)
        if era != Era.RUN2_2017:
            cells += phase1
            continue
        phase0 = _cells(Subdetector.HE, e, _he_phase0_depths(e), phis, 0)
        cells += [cell for cell in phase0 if not _in_hep17(cell)]
        # In 2017 the electronics map left out the uninstrumented |ieta| 18 depth 1.
        cells += [cell for cell in phase1 if _in_hep17(cell) and (cell[1], cell[3]) != (18, 1)]
    return cells


def _ho_and_hf_cells() -> list[Cell]:
    outer = [c for e in range(1, 16) for c in _cells(Subdetector.HO, e, range(4, 5), range(1, 73), 0)]
    return outer + [
        c for e in range(29, 42)
        for c in _cells(Subdetector.HF, e, range(1, 5), range(3, 73, 4) if e >= 40 else range(1, 73, 2), 0)
    ]  # fmt: skip


def _rm(subdetector: IntArray, ieta: IntArray, iphi: IntArray, depth: IntArray) -> IntArray:
    """Readout module 1…4: one iphi each, but alternate ieta (a comb) in HE from |ieta| 21 on."""
    e, plus, offset = np.abs(ieta), ieta > 0, (iphi + 1) % 4
    inner = np.where(e == 29, depth == 3, e % 2 == 1)
    comb = np.where(inner, np.where(offset == 0, 2, 3), np.where(offset == 0, 1, 4))
    narrow = (subdetector == Subdetector.HB) | (e <= 20)
    rm = np.where(narrow, offset + 1, comb)
    return np.where(plus, rm, 5 - rm).astype(np.int16)


def _hb_card(ieta: IntArray, rm: IntArray) -> IntArray:
    """QIE card 1…4 of an HB module: four adjacent |ieta|, counted inwards in odd modules."""
    block = (np.abs(ieta) - 1) // 4
    return np.where(rm % 2 == 1, 4 - block, block + 1).astype(np.int16)


def _slot(subdetector: IntArray, ieta: IntArray, depth: IntArray, rbx: IntArray) -> IntArray:
    """uHTR slot 1…12: three per box (pure HB, overlap, pure HE), even boxes first, plus side 6 further."""
    e = np.abs(ieta)
    pure_he = ((e >= 19) & (e <= 25)) | ((e == 26) & (depth <= 6))
    role = np.where(subdetector == Subdetector.HB, np.where(e <= 12, 0, 1), np.where(pure_he, 2, 1))
    return (np.where(rbx % 2 == 0, 1, 4) + np.where(ieta > 0, 6, 0) + role).astype(np.int16)


@dataclass(frozen=True, eq=False)
class ReadoutGraph:
    """Who is read out with whom, as two bipartite layers: channel → module → box.

    Channels that share a module or a box meet in its node, so the edges grow with the channels,
    not with their square, and message passing is plain gather and scatter (exportable).

    ``module_of``: (channels,) node of each channel's RM; ``box_of``: (modules,) node of each
    module's RBX. Box nodes are side × 18 + RBX − 1, module nodes are box × 5 + RM (RM 0: unknown).
    """

    module_of: NDArray[np.int64]
    box_of: NDArray[np.int64]

    @property
    def channel_to_module(self) -> NDArray[np.int64]:
        """Edge index (2, channels) in PyG's form: row 0 channels, row 1 modules."""
        return np.stack([np.arange(len(self.module_of)), self.module_of])

    @property
    def module_to_box(self) -> NDArray[np.int64]:
        """Edge index (2, modules) in PyG's form: row 0 modules, row 1 boxes."""
        return np.stack([np.arange(len(self.box_of)), self.box_of])


MODULES_PER_BOX = 5
"""Module nodes per box: RM 1…4, and one for channels whose module is not known."""


def readout_graph(channels: ChannelTable) -> ReadoutGraph:
    """Readout graph of one sub-detector's channels (36 boxes, 180 module nodes)."""
    box = channels.side.astype(np.int64) * N_RBX + channels.rbx - 1
    return ReadoutGraph(
        module_of=box * MODULES_PER_BOX + channels.rm,
        box_of=np.repeat(np.arange(2 * N_RBX, dtype=np.int64), MODULES_PER_BOX),
    )
