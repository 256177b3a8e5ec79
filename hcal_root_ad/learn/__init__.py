"""Learn: the reference, the network on top of it, and the calibration of both."""
