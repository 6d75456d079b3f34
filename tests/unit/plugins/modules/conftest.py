# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run here in one process, where each would find the warnings of those before it."""

from __future__ import annotations

import pytest
from ansible.module_utils.common import warnings


@pytest.fixture(autouse=True)
def fixture_no_warnings_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ansible has no public way to forget them.
    monkeypatch.setattr(warnings, "_global_warnings", {}, raising=False)
