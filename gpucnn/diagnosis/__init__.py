"""A training step looked at: every layer, two devices side by side, the memory that it takes."""
