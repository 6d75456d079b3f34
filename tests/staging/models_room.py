# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs bundle_models as Ansible does, with an environment of its own: no token, proxy or CA of whoever tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_FOREIGN = re.compile(r"(HF_|HUGGING|NGC_|NIM_|SSL_CERT|REQUESTS_CA|CURL_CA|TRANSFORMERS_)|.*_proxy\Z", re.IGNORECASE)
_MODULE = "ansible_collections.airgap.inference.plugins.modules.bundle_models"


class Room:
    """A bundle, a cache and a lock below one directory."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.root = root
        self.models = root / "bundle/models"
        self.cache = root / "cache"
        self.lock = self.cache / "state/models.lock.json"
        self.environment = environment
        self.without: tuple[str, ...] = ()

    def run(self, *models: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        """What the module answers."""
        process = self.start(*models, **arguments)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        result: dict[str, Any] = json.loads(out)
        result["said"] = out + err
        assert process.returncode == (1 if result.get("failed") else 0), out
        return result

    def start(self, *models: dict[str, Any], **arguments: Any) -> subprocess.Popen[str]:
        """The module at work."""
        wanted = {
            "path": str(self.models),
            "cache": str(self.cache),
            "lock": str(self.lock),
            "digests": str(self.cache / "state/digests.json"),
            "models": list(models),
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
            **arguments,
        }
        program = (
            "from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; import runpy, sys; "
            f"sys.path[:] = {sys.path!r}; sys.modules.update(dict.fromkeys({self.without!r})); "
            f"runpy.run_module({_MODULE!r}, run_name='__main__')"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.clean_environment(),
        )
        assert process.stdin
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": wanted}))
        process.stdin.close()
        process.stdin = None
        return process

    def clean_environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        return {**mine, **self.environment}

    def directory(self, result: dict[str, Any], number: int = 0) -> Path:
        """Where a model lies."""
        return self.models.parent / str(result["artifacts"][number]["directory"])

    def holds(self, word: str) -> list[str]:
        """Files below the room in which the word stands."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return [str(path) for path in files if word.encode() in path.read_bytes()]


def refusal(result: dict[str, Any]) -> str:
    """What the module says when it must not do it."""
    assert result.get("failed"), result
    return str(result["msg"])


def command_lines() -> list[str]:
    """Of all processes, as anybody on this machine can see them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            # It has ended meanwhile.
            continue
    return lines
