# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of a model's configuration: bounded, of the right kind, and named in the error when they are not."""

from __future__ import annotations

from typing import Any, Iterable

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

LARGEST_NUMBER = 2**40
# No model has as many layers; a list is made for each.
LARGEST_LAYERS = 10_000


def whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none, though Python counts with them."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(part: dict[str, Any], keys: Iterable[str], path: str) -> int | None:
    """The first of these values that is stated: a whole number that a model can have."""
    for key in keys:
        value = part.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise AirgapError(f"{path}: {key} is {shown(value)}; one whole number is needed")
        if not 0 <= value <= LARGEST_NUMBER:
            raise AirgapError(f"{path}: {key} is {value}, which no model can have")
        if value:
            return value
    return None


def factor(part: dict[str, Any], key: str, path: str) -> float | None:
    """A number by which something is multiplied; a null is none."""
    value = part.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LARGEST_NUMBER:
        raise AirgapError(f"{path}: {key} is {shown(value)}; a number above 0 is needed")
    return value


def text(part: dict[str, Any], key: str) -> str | None:
    """A name, where the value is one."""
    value = part.get(key)
    return value[:200] if isinstance(value, str) and value else None


def table(part: dict[str, Any], key: str, path: str) -> dict[str, Any] | None:
    """An object inside the configuration."""
    value = part.get(key)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise AirgapError(f"{path}: {key} is {shown(value)}; an object is needed")
    return value


def names(part: dict[str, Any], key: str, path: str) -> list[str] | None:
    """A list of names."""
    value = part.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise AirgapError(f"{path}: {key} is {shown(value)}; a list of names is needed")
    return value


def numbers(part: dict[str, Any], key: str, path: str) -> list[int] | None:
    """A list of whole numbers."""
    value = part.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
        raise AirgapError(f"{path}: {key} is {shown(value)}; a list of whole numbers is needed")
    return value


def shown(value: Any) -> str:
    """A value for a message, however long it is."""
    if isinstance(value, (dict, list)) and len(value) > 20:
        return f"a {type(value).__name__} of {len(value)} entries"
    return repr(value)[:100]
