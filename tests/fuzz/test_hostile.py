"""Hostile well-formed files: none is believed where it lies, and the campaign notices one that is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz import hostile
from benchmarks.fuzz.hostile import FIND, LEFT_OUT, REFUSED, RIGHT, judge, main, outcomes
from benchmarks.fuzz.hostile_files import KINDS, Hostile, elements, true_maps, write_dqmio
from hcal_root_ad.harvest.read import read_lumi_maps
from hcal_root_ad.lumi_maps import LumiMaps

pytest.importorskip("ROOT")


def test_no_lie_is_believed() -> None:
    found = list(outcomes(len(KINDS), seed=1))
    assert [one.kind for one in found] == [kind.__name__ for kind in KINDS]
    assert [one.words for one in found if one.result == FIND] == []


def test_what_is_wrong_is_a_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    truth = {ls: (true_maps(draw, 400), 400) for ls in (1, 2)}
    write_dqmio(tmp_path / "n.root", [(ls, elements(maps)) for ls, (maps, _) in truth.items()])
    assert judge(tmp_path, Hostile("sound", truth)) == (RIGHT, "")
    assert judge(tmp_path, Hostile("one more", truth | {3: truth[1]})) == (LEFT_OUT, "")
    assert judge(tmp_path, Hostile("one less", {1: truth[1]})) == (FIND, "one less: LS 2 is assessed")
    (sound,) = read_lumi_maps(tmp_path)

    def believed(changed: LumiMaps) -> tuple[str, str]:
        monkeypatch.setattr(hostile, "read_lumi_maps", lambda *_, **__: (changed,))
        return judge(tmp_path, Hostile("x", truth))

    counts = sound.counts.copy()
    counts[1, 5] += 1
    assert believed(replace(sound, counts=counts)) == (FIND, "x: LS 2 has other counts")
    assert believed(replace(sound, events=np.array([400, 410]))) == (FIND, "x: LS 2 has 410 events, not 400")

    def broken(*_: object, **__: object) -> None:
        raise KeyError("depth1")

    monkeypatch.setattr(hostile, "read_lumi_maps", broken)
    assert judge(tmp_path, Hostile("x", truth)) == (FIND, "x: KeyError: 'depth1'")


def test_a_process_that_dies_or_takes_too_much_is_a_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "judge", lambda *_: os._exit(3))
    (died,) = outcomes(1)
    assert (died.result, "the process died" in died.words) == (FIND, True)
    monkeypatch.setattr(hostile, "judge", lambda *_: (REFUSED, "no"))
    monkeypatch.setattr(hostile, "MOST", -1)
    (much,) = outcomes(1)
    assert (much.result, " took " in much.words) == (FIND, True)


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "judge", lambda *_: (REFUSED, "no"))
    assert main(["-o", str(tmp_path), "--files", "2"]) == 0
    page = (tmp_path / "hostile.md").read_text()
    assert "| lying index | 1 | 0 | 0 | 1 | 0 |" in page
    assert "| datasets | 0 | 0 | 0 | 0 | 0 |" in page
