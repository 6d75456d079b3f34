# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks include the preflight of roles by its entry point's name: with .yml behind it Ansible knows no argument spec for it."""

from __future__ import annotations

import yaml
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY


def test_arguments_are_checked_before_anything_is_changed() -> None:
    first = yaml.safe_load((REPOSITORY / "playbooks/deploy.yml").read_text(encoding="utf-8"))[0]
    included = [
        task["ansible.builtin.include_role"] for task in first["tasks"] if "ansible.builtin.include_role" in task
    ]
    entered = [role["tasks_from"] for role in included if role["tasks_from"].startswith("preflight")]
    assert entered == ["preflight", "preflight"]
