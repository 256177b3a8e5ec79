"""Checks of the environment that need a network: ``make audit``."""
