"""An ONNX file as a layer that trains."""
