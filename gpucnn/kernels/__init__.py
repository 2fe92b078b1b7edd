"""The hot loops, from arrays to arrays: no tensors, no layers, no gradients' bookkeeping.

Each operation is a folder, with a file for each way to compute it. Begin with its `plain.py`, which takes arrays of NumPy
and of CuPy alike; `README.md` beside this file says how a way is chosen.
"""
