"""Harvest: DQM files of every kind to digi counts per channel and lumisection, and the events per lumisection."""
