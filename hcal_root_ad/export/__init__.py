"""Bundles as ONNX files: reference, network, scores and thresholds of one lumisection, its memory in and out."""
