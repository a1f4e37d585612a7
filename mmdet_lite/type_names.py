"""The classes that configs ask for, however they are written, and their names."""

from typing import Any

from mmengine.registry import Registry

# Where a name means what it means without its package.
_PACKAGES = ("mmengine", "mmcv", "mmdet", "mmdet_lite")


def type_name(config: Any) -> str:
    """Bare name of what a config builds.

    ``"ResNet"``, ``"mmdet.ResNet"``, ``"mmdet.models.backbones.resnet.ResNet"`` of a
    dumped config and the class itself of a new-style one are all ``ResNet``. What is of
    a package besides mmengine, mmcv, mmdet and this one keeps that package's name, as
    ``mmpretrain.ResNet``, so that it is not taken for one of theirs.

    Args:
        config: dict with the key ``type``; anything else, or one without it, has the
            name ``""``.

    Returns:
        str: the name.
    """
    kind = config.get("type") if isinstance(config, dict) else None
    if kind is None:
        return ""
    if not isinstance(kind, str):
        kind = f"{getattr(kind, '__module__', '')}.{getattr(kind, '__name__', kind)}"
    package, _, rest = kind.partition(".")
    if not rest:
        return kind
    name = rest.rpartition(".")[2]
    return name if package in _PACKAGES else f"{package}.{name}"


def class_of(config: Any, registry: Registry) -> Any:
    """The class that a config builds.

    Args:
        config: dict with the key ``type``.
        registry: which knows the class if it is given by name.

    Returns:
        None where there is no such class.
    """
    kind = config.get("type")
    return registry.get(kind) if isinstance(kind, str) else kind
