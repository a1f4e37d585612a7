"""Loading of checkpoints: what is allowed in a file, and what fits a model."""
