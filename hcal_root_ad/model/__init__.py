"""The model of the detector: reference, common part, and the network that learns shapes."""
