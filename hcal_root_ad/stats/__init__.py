"""Statistics that know nothing of HCAL."""
