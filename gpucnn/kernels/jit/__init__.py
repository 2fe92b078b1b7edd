"""Compiled loops for the CPU, float32: the extra `fast`, which brings llvmlite."""
