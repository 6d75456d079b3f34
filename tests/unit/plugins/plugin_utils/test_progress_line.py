# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that a person reads."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.plugin_utils import _progress_line

STATE = {
    "label": "import",
    "done": 12_300_000_000,
    "total": 140_200_000_000,
    "at": "models/llama",
    "rate": 512e6,
    "seconds": 24.0,
    "idle": 0.2,
}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "import on bastion: 12.3 of 140.2 GB (8 %), 512 MB/s, 4 min left, models/llama"),
        ({"at": ""}, "import on bastion: 12.3 of 140.2 GB (8 %), 512 MB/s, 4 min left"),
        ({"rate": 5.25e6}, "import on bastion: 12.3 of 140.2 GB (8 %), 5.2 MB/s, 6 h 46 min left, models/llama"),
        ({"done": 0, "rate": 0}, "import on bastion: 0.0 of 140.2 GB (0 %), models/llama"),
        ({"idle": 200}, "import on bastion: 12.3 of 140.2 GB (8 %), nothing new for 3 min, models/llama"),
        ({"done": 140_200_000_000}, "import on bastion: 140.2 of 140.2 GB (100 %), 512 MB/s, models/llama"),
        ({"done": 150_000_000_000}, "import on bastion: 150.0 of 140.2 GB (100 %), 512 MB/s, models/llama"),
        ({"total": 0}, "import on bastion: 12 GB, 512 MB/s, models/llama"),
        ({"total": 0, "done": 0, "seconds": 95}, "import on bastion: for 2 min, models/llama"),
        ({"done": 3, "total": 900, "rate": 2}, "import on bastion: 3 of 900 B (0 %), 2 B/s, 7 min left, models/llama"),
        ({"done": 3e6, "total": 9e6}, "import on bastion: 3 of 9 MB (33 %), 512 MB/s, 0 s left, models/llama"),
    ],
)
def test_line(change: dict[str, Any], line: str) -> None:
    assert _progress_line.format_line({**STATE, **change}, "bastion") == line


def test_a_quiet_line_does_not_say_what_is_at_work() -> None:
    assert "llama" not in _progress_line.format_line(STATE, "bastion", quiet=True)


def test_names_of_files_stay_one_short_line() -> None:
    line = _progress_line.format_line({**STATE, "at": "a" * 100 + "\x1b[31m\nb"}, "bastion")
    assert line.isprintable()
    assert line.endswith("a?[31m?b")
    assert len(line.rsplit(", ", 1)[1]) == 60


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_no_state(text: str) -> None:
    assert _progress_line.parse(text) is None


def test_a_strange_state_is_shown_without_error() -> None:
    assert _progress_line.format_line({"done": "x", "total": None}, "bastion") == " on bastion: for 0 s"


def test_lines_come_less_often_as_time_goes() -> None:
    assert [_progress_line.pause(elapsed) for elapsed in (0, 40, 100, 9999)] == [5, 5, 10, 30]
