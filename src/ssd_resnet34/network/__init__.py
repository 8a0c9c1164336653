"""The network: its layout as data, the torch module, the ONNX builder, cutting published graphs."""
