"""Count the FLOPs and parameters of a detector."""
