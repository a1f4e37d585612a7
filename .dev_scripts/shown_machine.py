"""The machine whose measurements the pages show."""

MACHINE = "amd-epyc-avx512bf16"
"""As :func:`mmdet_lite.benchmark.environment.machine_slug` names it."""


def measurement_of(kind: str) -> str:
    """Where its measurement of a kind lies, relative to ``docs``."""
    return f"measurements/{kind}-{MACHINE}.json"
