# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How roots are made."""

from __future__ import annotations

from pathlib import Path

import pytest
from airgap_lab import debian
from airgap_lab.debian import Recipe

LISTED = "Debian|http://mirror.example.org/debian/\nDebian-Security|http://mirror.example.org/debian-security/\n"


@pytest.fixture(autouse=True)
def _mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "run", lambda _command: LISTED)


def test_a_release_brings_its_updates() -> None:
    command = Recipe("trixie", ("nginx",), ("true",)).command(Path("root.tar"))
    suites = [line.split()[3] for line in command if line.startswith("deb ")]
    assert suites == ["trixie", "trixie-updates", "trixie-security"]
    assert command[command.index("root.tar") - 1] == "trixie"
    assert not [word for word in command if "Valid-Until" in word]


def test_one_that_is_not_released_has_one_suite_and_may_be_old() -> None:
    recipe = Recipe("forky", ("llama.cpp-tools",), (), unreleased=True)
    command = recipe.command(Path("root.tar"))
    assert [line.split()[3] for line in command if line.startswith("deb ")] == ["forky"]
    assert '--aptopt=Acquire::Check-Valid-Until "false"' in command
    assert recipe.inputs() != Recipe("forky", ("llama.cpp-tools",), ()).inputs()
