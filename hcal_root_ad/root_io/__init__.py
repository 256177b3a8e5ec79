"""Bytes of ROOT files: sources, records, keys and folders, histograms; nothing of HCAL."""
