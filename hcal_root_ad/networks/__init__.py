"""Torch modules: GraphSTAD in readable blocks."""
