"""The HCAL studies of 2018 by their own trained weights, on real lumisections."""
