# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._sse import MAX_EVENT, EventStream
from hypothesis import given
from hypothesis import strategies as st


def test_lines_and_fields() -> None:
    stream = EventStream()
    assert stream.feed(b": comment\nevent: x\ndata: a\ndata:b\n\n\n\ndata\n\nid: 3\n\ndata:  c\r\n\r\n") == [
        "a\nb",
        "",
        " c",
    ]
    assert stream.feed(b"data: never finished") == []


def test_a_carriage_return_alone_ends_a_line() -> None:
    assert EventStream().feed(b"data: a\r\rdata: b\r\r\n") == ["a", "b"]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_cut_anywhere(sent: list[str], end: str, data: st.DataObject) -> None:
    whole = "".join(f"data: {text}{end}{end}" for text in sent).encode("utf-8")
    stream, received = EventStream(), []
    while whole:
        at = data.draw(st.integers(1, len(whole)))
        received += stream.feed(whole[:at])
        whole = whole[at:]
    assert received == sent


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_noise(pieces: list[bytes]) -> None:
    stream = EventStream()
    for piece in pieces:
        assert all(isinstance(text, str) for text in stream.feed(piece))


@pytest.mark.parametrize("piece", [b"x" * 4096, b"data: " + b"x" * 4096 + b"\n"])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    stream = EventStream()
    with pytest.raises(AirgapError, match="larger than"):
        for _time in range(MAX_EVENT // 4096 + 1):
            stream.feed(piece)
