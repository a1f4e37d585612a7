"""Measure operators and models: time, memory, and what is matrix multiplication."""
