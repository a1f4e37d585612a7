"""Data sets that the package can make by itself."""
