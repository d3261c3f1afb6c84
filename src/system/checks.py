"""Checks of settings: each raises PoseError with the key, what is expected, and the value.

A key is 'SECTION.NAME' of a configuration of two levels.
"""
from typing import Any, Sequence

from .errors import PoseError


def value_of(config: Any, key: str) -> Any:
    """Return the value of a key."""
    section, name = key.split('.')
    return config[section][name]


def choice(config: Any, key: str, choices: Sequence) -> None:
    """Check that the value is one of `choices`."""
    if value_of(config, key) not in choices:
        raise PoseError(f'{key} should be one of {", ".join(map(str, choices))}, is {value_of(config, key)!r}')


def positive(config: Any, *keys: str) -> None:
    """Check that the values are above zero."""
    for key in keys:
        if not value_of(config, key) > 0:
            raise PoseError(f'{key} should be positive, is {value_of(config, key)}')


def not_negative(config: Any, *keys: str) -> None:
    """Check that the values are not below zero."""
    for key in keys:
        if not value_of(config, key) >= 0:
            raise PoseError(f'{key} should be zero or more, is {value_of(config, key)}')


def share(config: Any, *keys: str) -> None:
    """Check that the values are from 0 to 1."""
    for key in keys:
        if not 0 <= value_of(config, key) <= 1:
            raise PoseError(f'{key} should be between 0 and 1, is {value_of(config, key)}')


def counts(config: Any, *keys: str) -> None:
    """Check that lists hold nothing below 1."""
    for key in keys:
        if any(value < 1 for value in value_of(config, key)):
            raise PoseError(f'{key} should hold numbers from 1 on, is {value_of(config, key)}')


def length(config: Any, key: str, number: int, what: str) -> None:
    """Check that a list has `number` values; `what` says what they are for."""
    if len(value_of(config, key)) != number:
        raise PoseError(f'{key} should have {number} values, {what}, has {value_of(config, key)}')
