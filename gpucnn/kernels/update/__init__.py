"""The updates of optimizers over one flat buffer."""
