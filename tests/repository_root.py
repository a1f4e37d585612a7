"""Where the repository lies, for tests that need it while they are collected."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
