# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command that the README shows is run: by the continuous integration, or by the demo that it calls."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import demo

REPOSITORY = Path(__file__).resolve().parents[3]


def shown() -> list[str]:
    """The lines of the README's console blocks."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def run() -> set[str]:
    """The commands that run: those of ``.ci/run``, and the demo's with the paths of a real site."""
    integration = (REPOSITORY / ".ci/run").read_text().splitlines()
    on_the_way = [demo.stage("/media/airgap/site"), *(command for _name, _said, command in demo.BEYOND_THE_GAP)]
    return {line.strip() for line in integration} | {shlex.join(command) for command in on_the_way}


def test_every_command_of_the_readme_is_run() -> None:
    commands = shown()
    assert len(commands) >= 8
    assert [command for command in commands if command not in run()] == []
