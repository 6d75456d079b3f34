# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-sent events, put together again from however the network cut them."""

from __future__ import annotations

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

MAX_EVENT = 1024 * 1024


class EventStream:
    """Feed bytes in, take the data of complete events out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that this chunk completes."""
        events = []
        # A carriage return at the end may be half of a line's end: it waits for what follows.
        text = self._rest + chunk
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                events.append(b"\n".join(self._data).decode("utf-8", "replace"))
                self._data, self._size = [], 0
        if self._size + len(self._rest) > MAX_EVENT:
            raise AirgapError(f"one event of the stream is larger than {MAX_EVENT} bytes")
        return events

    def _take(self, line: bytes) -> None:
        name, _colon, value = line.partition(b":")
        if name == b"data":
            self._data.append(value[1:] if value.startswith(b" ") else value)
            self._size += len(value)
