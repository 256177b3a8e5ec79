"""What a file holds of a run, and the same as arrays and back."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcal_root_ad.harvest.gathering import LumisectionCounts
from hcal_root_ad.harvest.harvester import FileContent
from hcal_root_ad.lumi_maps import Source
from hcal_root_ad.watch.received import FORMAT, Arrival, Received, Stamp, from_arrays, received_by_run, to_arrays

from .conftest import DEFINITION, RUN, DqmFolder, digis, read, section

STAMP = Stamp(7, 8)


def there_and_back(received: Received, folder: Path) -> Received:
    stored = io.BytesIO()
    np.savez_compressed(stored, **to_arrays(received, folder))
    stored.seek(0)
    with np.load(stored, allow_pickle=False) as arrays:
        return from_arrays(arrays, folder, {repr(DEFINITION): DEFINITION})


def told(one: LumisectionCounts) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(one).items()}


@pytest.mark.parametrize("snapshot", [False, True])
def test_arrays_hold_all_of_it(dqm: DqmFolder, snapshot: bool) -> None:
    dqm.leave(12, snapshot=snapshot)
    content, source = read(dqm.name(12, snapshot=snapshot))
    content = replace(content, events_versus_ls={RUN: {12: 999, 13: 5}}, notes=("a note", "µ"))
    (received,) = received_by_run(content, source, STAMP, seen=1.5)
    back = there_and_back(received, dqm.path)
    assert (back.run, back.stamp, back.seen, back.source) == (RUN, STAMP, 1.5, source)
    assert back.arrival == received.arrival == Arrival(12, 12, 1.5, growing=snapshot)
    now, before = back.content, content
    assert (now.path, now.definition, now.notes) == (before.path, before.definition, before.notes)
    assert now.events_versus_ls == before.events_versus_ls
    assert [told(one) for one in now.sections] == [told(one) for one in before.sections]
    assert [(told(one.section), one.path, one.lumisection, one.naming) for one in now.totals] == [
        (told(one.section), one.path, one.lumisection, one.naming) for one in before.totals
    ]


def test_lumisections_without_maps_keep_their_place(tmp_path: Path) -> None:
    sections = (LumisectionCounts(RUN, 3), section(RUN, 4, digis(RUN, 4), 10), LumisectionCounts(RUN, 7, first=5))
    content = FileContent(tmp_path / "a.root", DEFINITION, sections)
    (received,) = received_by_run(content, Source("a.root", 1, "0"), STAMP, 0.0)
    assert received.arrival == Arrival(3, 7, 0.0)
    back = there_and_back(received, tmp_path)
    assert [told(one) for one in back.content.sections] == [told(one) for one in sections]


def test_a_file_of_two_runs_belongs_to_both(tmp_path: Path) -> None:
    sections = tuple(section(run, ls, digis(run, ls), 10) for run, ls in ((RUN, 9), (RUN + 1, 1), (RUN, 10)))
    versus_ls = {RUN: {9: 10, 10: 10}, RUN + 1: {1: 10}}
    content = FileContent(tmp_path / "a.root", DEFINITION, sections, events_versus_ls=versus_ls)
    first, second = received_by_run(content, Source("a.root", 1, "0"), STAMP, 0.0)
    assert [(one.run, one.arrival) for one in (first, second)] == [
        (RUN, Arrival(9, 10, 0.0)),
        (RUN + 1, Arrival(1, 1, 0.0)),
    ]
    assert second.content.events_versus_ls == {RUN + 1: {1: 10}}


def test_arrays_of_another_making_are_refused(dqm: DqmFolder) -> None:
    dqm.leave(12)
    (received,) = received_by_run(*read(dqm.name(12)), STAMP, 0.0)
    arrays = dict(to_arrays(received, dqm.path))
    with pytest.raises(ValueError, match="definition that is no more"):
        from_arrays(arrays, dqm.path, {})
    arrays["head"] = np.array(str(arrays["head"]).replace(f'"format": {FORMAT}', '"format": 0'))
    with pytest.raises(ValueError, match=f"format 0, not {FORMAT}"):
        from_arrays(arrays, dqm.path, {repr(DEFINITION): DEFINITION})
