"""Online: a folder that fills while a run is taken, judged lumisection by lumisection and published again each time."""
