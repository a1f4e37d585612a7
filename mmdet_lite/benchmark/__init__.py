"""Measure time, memory and accuracy, and keep what was measured."""
