"""Models as ONNX files: reference, network and threshold for one lumisection, memory in and out."""
