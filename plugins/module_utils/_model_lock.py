# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a moving name meant when it was first staged, the commit of a branch or the digest of an image; and one run at a time.

The lock file is small JSON, sorted, and can stand in version control: {"hf://org/name@main": "<commit>"}.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import Iterator

from ansible_collections.airgap.inference.plugins.module_utils._digest import write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


class Lock:
    """Sources and what they are locked to. Without a path nothing is remembered."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._entries: dict[str, str] = {}
        try:
            with open(path or os.devnull, "rb") as handle:
                text = handle.read()
        except FileNotFoundError:
            return
        try:
            entries = json.loads(text.decode("utf-8") or "{}")
            if not all(isinstance(value, str) for value in entries.values()):
                raise ValueError("it is not an object of texts")
        except (ValueError, AttributeError) as error:
            raise AirgapError(
                f"The lock file {path} cannot be read: {error}. Restore it, or remove it to resolve every branch anew."
            ) from error
        self._entries = entries

    def get(self, source: str) -> str | None:
        """What the source is locked to."""
        return self._entries.get(source)

    def drop(self, source: str) -> None:
        """Let the source be resolved anew."""
        self._entries.pop(source, None)

    def set(self, source: str, meaning: str) -> None:
        """Hold the source to what it means now."""
        self._entries[source] = meaning

    def save(self) -> None:
        """Write what has changed."""
        if self._path:
            write_if_changed(self._path, (json.dumps(self._entries, indent=1, sort_keys=True) + "\n").encode())


@contextlib.contextmanager
def alone(directory: str, doing: str) -> Iterator[None]:
    """Refuse a second run in the same directory: both would write into the same files."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, ".lock"), "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AirgapError(
                f"Another run {doing} into {directory}; wait for it, or give this one a cache of its own."
            ) from error
        yield
