"""Lumisections of a run as arrays that numpy saves without pickle: what a judgement that restarts begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcal_root_ad.detector import channel_table
from hcal_root_ad.lumi_maps import LumiMaps, Source


def packed(maps: LumiMaps, since: int) -> dict[str, NDArray[Any]]:
    """Lumisections of a run from a position on, as arrays."""
    small = np.uint16 if maps.counts[since:].max(initial=0) < 2**16 else np.int32
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(maps, name)[since:] for name in ("lumisections", "events", "event_source", "present")
    }
    arrays |= {f"missing_{name}": lacking[since:] for name, lacking in maps.missing.items()}
    arrays["counts"] = maps.counts[since:].astype(small)
    arrays["run"], arrays["era"] = np.array(maps.run), np.array(maps.channels.era.value)
    arrays["raw_id"], arrays["definition"] = maps.channels.raw_id, np.array(maps.definition)
    arrays["notes"] = np.array(maps.notes, dtype=np.str_)
    for name in ("name", "size", "sha256"):
        arrays[f"source_{name}"] = np.array([getattr(source, name) for source in maps.sources])
    return arrays


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> LumiMaps:
    """The maps that :func:`packed` was given."""
    table = channel_table(str(arrays["era"]))
    sources = zip(*(arrays[f"source_{name}"].tolist() for name in ("name", "size", "sha256")), strict=True)
    return LumiMaps(
        run=int(arrays["run"]),
        channels=table.take(table.rows_of_raw_ids(arrays["raw_id"])),
        lumisections=arrays["lumisections"],
        events=arrays["events"],
        event_source=arrays["event_source"],
        counts=arrays["counts"].astype(np.int32),
        present=arrays["present"],
        definition=str(arrays["definition"]),
        sources=tuple(Source(*source) for source in sources),
        notes=tuple(arrays["notes"].tolist()),
        missing={key.removeprefix("missing_"): arrays[key] for key in arrays if key.startswith("missing_")},
    )
