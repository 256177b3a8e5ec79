"""Checks that are no tests: of the environment (``make audit``), and of what the GUIs draw (``make gui-look``)."""
