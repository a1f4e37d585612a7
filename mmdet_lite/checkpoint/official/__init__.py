"""Checkpoints of the official Lite-DINO: their names, variants, and conversion."""
