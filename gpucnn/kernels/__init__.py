"""The hot loops, from arrays to arrays: no tensors, no layers, no gradients' bookkeeping.

One operation a file. Each is written once, on the array module of its arguments, so NumPy and CuPy arrays pass through
the same lines; a faster way for one backend stands beside it in the same file.
"""
