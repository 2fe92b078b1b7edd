"""A trained model for others: ONNX, one NumPy file, weights under names of others."""
