"""Runs: what one is asked, where it is kept, how it goes on. Its public names are in `gpucnn.training`."""
