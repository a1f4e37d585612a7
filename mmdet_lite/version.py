"""The version of the package, read by ``setup.cfg`` and by users."""

__version__ = "0.1.0"
