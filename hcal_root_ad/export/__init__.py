"""Bundles as ONNX files: reference, network, evidence and thresholds of one lumisection, memory in and out."""
