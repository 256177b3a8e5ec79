"""What an output was made of, and making it again: its provenance read, its verb run again, both outputs compared."""
