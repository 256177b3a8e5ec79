"""Why rows of the table miss their target, as far as it was measured."""

from __future__ import annotations

REASONS = {
    "reading-memory": (
        "the baskets of a longer file are larger, and each is unpacked whole: at 1,000 LS 33 of the 39 MB that Python "
        "and numpy hold are room for them"
    ),
    "judging-cost-1": (
        "the fit of the common part takes some 30 % and the scan of every window of every series some 55 %, both in "
        "numpy; a scan compiled by numba was tried, and cost each process 0.35 to 0.55 s of import and 0.75 s at its "
        "first call"
    ),
    "judging-cost-2": (
        "numpy's calls are short (a block of some 100 channels, which stays in the cache), and between them "
        "threads wait for each other; `certify` gives each processor a process instead"
    ),
    "judging-one": (
        "some 20,000 calls of functions, whatever the number of LS: each level, length and unit is a small array "
        "of its own"
    ),
    "judging-late": (
        "the common part is fitted for the late LS alone, but every channel is scanned again: its level outside of a "
        "window and the scatter of all others are those of the whole run, to which the verdict must be equal"
    ),
    "judging-production-HE": (
        "the judgement looks at every unit of both sub-detectors in windows of all lengths, see [profile](profile.md)"
    ),
    "watch-memory": (
        "counts, states and common part of the run are kept, 13 kB per LS, for a late LS has the whole run judged again"
    ),
    "run-long": "judging takes most of it, see `judging-cost-2`",
    "run-memory": (
        "of 10,000 LS the judgement alone takes 1.0 GB for a moment, while the 800 channels that tell how healthy ones "
        "scatter are in memory for the whole run, and 0.65 GB after it"
    ),
    "certify-rate": "[profile](profile.md), step by step: judging takes most of it",
    "start-up": "Python itself takes a third of it",
}
