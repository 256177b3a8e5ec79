"""Harvest: DQM files of every kind to digi counts per channel and lumisection, and the events per lumisection."""

import hcal_root_ad.root_io  # noqa: F401 (before uproot is imported anywhere)
