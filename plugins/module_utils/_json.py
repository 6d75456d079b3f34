# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON from files that others made: bounded in size, in its numbers and in its depth."""

from __future__ import annotations

import json
import os
import stat
from typing import Any, BinaryIO

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# No number in a model's description has more digits; Python needs quadratic time for long ones.
MAX_DIGITS = 32


def open_regular(path: str) -> BinaryIO:
    """Open a regular file; a pipe or a device under a model's name would hang the reader."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AirgapError(f"{path} cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AirgapError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_object(path: str, limit: int) -> dict[str, Any]:
    """The JSON object in a file of at most this many bytes."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise AirgapError(f"{path} holds {os.path.getsize(path)} bytes; such a file has no more than {limit}")
    return parse_object(data, path)


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, parse_int=_integer, parse_float=_float)
    except (ValueError, RecursionError) as error:
        raise AirgapError(
            f"{where} is not valid JSON ({error}). The file is damaged or was cut off: fetch it again"
        ) from error
    if not isinstance(value, dict):
        raise AirgapError(f"{where} holds a JSON {type(value).__name__} instead of an object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"the number {name} is not allowed")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is not allowed")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits[:1024])
    if value - value != 0:
        raise ValueError(f"the number {digits[:MAX_DIGITS]} is too large")
    return value
