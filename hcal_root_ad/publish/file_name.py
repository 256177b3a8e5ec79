"""Names under which the DQM GUIs take a file, for one run.

Rules: ``dqmgui_prod`` ``src/cpp/DQM/index.cc`` and ``bin/visDQMReceiveDaemon``, ``dqmgui`` ``python/importing``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hcal_root_ad.detector import era_of_run
from hcal_root_ad.errors import OutputError

_OFFLINE = re.compile(r"DQM_V\d+_R(?P<run>\d+)(?P<dataset>(?:__[-A-Za-z0-9_]+){3})\.root")
_ONLINE = re.compile(r"DQM_V\d+(?:_[A-Za-z0-9]+)?_R(?P<run>\d+)\.root")
_RELVAL = re.compile(r"/RelVal[^/]+/CMSSW(?:_[0-9]+)+(?:_pre[0-9]+)?[-_].*")
_LUMISECTION_SUFFIX = re.compile(r"_L\d{9}$")
_LAST_TEST_RUN = 10_000
ONLINE_TAG = "HcalAD"
"""Subsystem tag of online files: letters and digits, as the classic GUI demands."""


def offline_name(run: int, source: str = "", mark: str = "HcalAD") -> str:
    """``DQM_V0001_R<run>__<primary>__<processed>__DQMIO.root``, the dataset taken from the source's name if it has one.

    The processing string is marked, so that an upload never takes the place of the dataset's own file.
    """
    primary, processed, tier = _dataset_parts(source) or (mark, f"{_era(run)}-HcalRootAd-v1", "DQMIO")
    if primary != mark and mark not in processed:
        stem, version = re.fullmatch(r"(.*?)(-v\d+)?", processed).groups(default="")  # type: ignore[union-attr]
        processed = f"{stem}_{mark}{version}"
    return _valid(f"DQM_V0001_R{run:09d}__{primary}__{processed}__{tier}.root")


def online_name(run: int, tag: str = ONLINE_TAG) -> str:
    """``DQM_V0001_<tag>_R<run>.root``.

    >>> online_name(370101)
    'DQM_V0001_HcalAD_R000370101.root'
    """
    return _valid(f"DQM_V0001_{tag}_R{run:09d}.root")


def with_version(name: str, version: int) -> str:
    """The name with another version: the classic GUI shows the highest of a run.

    >>> with_version("DQM_V0001_HcalAD_R000370101.root", 12)
    'DQM_V0012_HcalAD_R000370101.root'
    """
    return re.sub(r"^DQM_V\d+_", f"DQM_V{version:04d}_", name)


def dataset_of_name(name: str) -> str:
    """The dataset that a GUI files a name under.

    >>> dataset_of_name("DQM_V0001_R000370101__ZeroBias__Run2023C-v1__DQMIO.root")
    '/ZeroBias/Run2023C-v1/DQMIO'
    >>> dataset_of_name("DQM_V0002_HcalAD_R000370101.root")
    '/Global/Online/ALL'
    """
    match = _OFFLINE.fullmatch(name)
    return match["dataset"].replace("__", "/") if match else "/Global/Online/ALL"


def run_of_name(name: str) -> int | None:
    """The run that a GUI reads from a file name, or None where neither form fits."""
    match = _OFFLINE.fullmatch(name) or _ONLINE.fullmatch(name)
    return int(match["run"]) if match else None


def name_complaints(name: str) -> Iterator[str]:
    """What the GUIs and the upload would refuse in a file name, one sentence each."""
    offline, online = _OFFLINE.fullmatch(name), _ONLINE.fullmatch(name)
    match = offline or online
    if match is None:
        yield (
            f"The file name {name!r} is neither DQM_V0001_R#########__primary__processed__tier.root"
            " nor DQM_V0001_Tag_R#########.root with a tag of letters and digits."
        )
        return
    if not re.match(r"DQM_V(?!0000)\d{4}_", name):
        yield f"The file name {name!r} has a version that is none of 0001 to 9999; an upload must have 0001."
    if len(match["run"]) != 9:
        yield f"The file name {name!r} has a run of {len(match['run'])} digits; the newer GUI reads exactly nine."
    if online and int(match["run"]) <= _LAST_TEST_RUN:
        yield f"The file name {name!r} is of run {int(match['run'])}; the online GUI takes runs above {_LAST_TEST_RUN}."
    if offline:
        dataset = offline["dataset"].replace("__", "/")
        if "CMSSW" in dataset and not _RELVAL.fullmatch(dataset):
            yield f"The dataset {dataset} has a CMSSW release in its name, which only RelVal datasets may have."


def _dataset_parts(source: str) -> tuple[str, str, str] | None:
    match = _OFFLINE.fullmatch(source)
    if match is None:
        return None
    _, primary, processed, tier = match["dataset"].split("__", 3)
    return primary, processed, _LUMISECTION_SUFFIX.sub("", tier)


def _era(run: int) -> str:
    era = era_of_run(run)
    return era if era.startswith("Run") else f"Run{era}"


def _valid(name: str) -> str:
    if sentences := list(name_complaints(name)):
        raise OutputError(" ".join(sentences))
    return name
