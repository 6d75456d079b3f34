# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a role's templates as a play does, with the role's own defaults and variables, and nothing undefined."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]


def render(role: str, templates: list[str], variables: dict[str, Any], into: Path) -> dict[str, str]:
    """The texts of a role's templates by name."""
    directory = REPOSITORY / "roles" / role
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(directory / "defaults/main.yml"), str(directory / "vars/main.yml")],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "dest": str(into / name),
                    "mode": "0644",
                    "content": f"{{{{ lookup('ansible.builtin.template', '{directory}/templates/{name}.j2') }}}}",
                }
            }
            for name in templates
        ],
    }
    into.mkdir(parents=True, exist_ok=True)
    (into / "play.yml").write_text(json.dumps([play]))
    (into / "variables.json").write_text(json.dumps({"role_path": str(directory), **variables}))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"),
            *("-e", f"@{into / 'variables.json'}", str(into / "play.yml")),
        ],
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_HOME": str(into / "ansible")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (into / name).read_text() for name in templates}
