"""Check arguments that come from configs, by name."""

import difflib
import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any

from .errors import ConfigError


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is not a whole number of at least so many.

    Args:
        name: of the argument, for the message.
        value: what was given; a bool or a float is no count.
        least: the smallest that makes sense.

    Raises:
        ConfigError: it is something else.
    """
    if type(value) is not int or value < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ConfigError(f"{name} must be {kind}, but got {value!r}")


def require_number(
    name: str, value: Any, least: float = 0.0, most: float = float("inf")
) -> None:
    """Refuse what is not a finite number of a range, which a bool is not.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: the smallest that makes sense.
        most: the largest.

    Raises:
        ConfigError: it is something else.
    """
    is_number = type(value) in (int, float) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        to = f" to {most:g}" if most < float("inf") else " on"
        raise ConfigError(
            f"{name} must be a number from {least:g}{to}, but got {value!r}"
        )


def require_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, but got {value!r}")


def require_dict(name: str, value: Any) -> None:
    """Refuse what is no dict.

    Raises:
        ConfigError: it is something else; None says that it is missing.
    """
    if value is None:
        raise ConfigError(f"{name} is missing")
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be a dict, but got {value!r}")


def require_known(owner: type, given: Collection[str], where: str) -> None:
    """Refuse arguments that a class does not have.

    Args:
        owner: the class.
        given: names of the arguments, besides ``type``.
        where: the part of a config that has them.

    Raises:
        ConfigError: one is unknown; the message says which is meant.
    """
    known = arguments_of(owner)
    for name in given:
        if name == "type" or name in known:
            continue
        meant = difflib.get_close_matches(str(name), known, 1)
        hint = f"did you mean {meant[0]}?" if meant else f"it has {', '.join(known)}"
        raise ConfigError(f"{where}: {owner.__name__} has no argument {name}; {hint}")


def arguments_of(owner: type) -> Mapping[str, inspect.Parameter]:
    """Arguments of a class by name, through the classes that it hands them on to."""
    arguments: dict[str, inspect.Parameter] = {}
    for cls in owner.__mro__:
        if "__init__" not in vars(cls):
            continue
        signature = inspect.signature(vars(cls)["__init__"])
        parameters = list(signature.parameters.values())[1:]
        hands_on = False
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                hands_on = True
            else:
                arguments.setdefault(parameter.name, parameter)
        if not hands_on:
            break
    return arguments
