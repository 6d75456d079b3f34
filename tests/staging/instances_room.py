# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A staging machine with a bundle whose instances are rehearsed: by the role's own tasks, the real Compose and Docker."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
LAB = [sys.executable, str(REPOSITORY / "tests/lab/lab.py")]
RESULT = "result.json"

STAND_IN = "docker.io/example/stand-in:v1"
STAND_IN_ENGINE: dict[str, Any] = {
    "name": "stand-in",
    "container": {
        "model_directory": "/model",
        "socket_directory": "/run/engine",
        "cache_directory": "/cache",
        "shm_size": "64mb",
        "tmpfs": ["/tmp:mode=1777,size=16m"],
    },
    "command": ["python3", "-c", (REPOSITORY / "tests/staging/stand_in_engine.py").read_text(), "{socket}", "{model}"],
    "environment": {"PYTHONUNBUFFERED": "1"},
    "health": "/health",
    "tasks": {
        "generate": {
            "api": [],
            "probe": {"path": "/v1/completions", "body": {"model": "{model}", "prompt": "Hello"}, "expects": "text"},
        }
    },
}


class Run(NamedTuple):
    """What a playbook said, and what its module returned."""

    status: int
    output: str
    result: dict[str, Any]


def described() -> dict[str, Any]:
    """The lab, with what these tests take from it built."""
    subprocess.run([*LAB, "build", "host", "models", "engine", "compose"], check=True)
    answer = subprocess.run([*LAB, "paths"], check=True, stdout=subprocess.PIPE)
    lab: dict[str, Any] = json.loads(answer.stdout)
    return lab


class Room:
    """One bundle, one cache directory. The paths are short: an engine's socket lies below the cache."""

    def __init__(self, root: Path, lab: dict[str, Any]) -> None:
        self.root, self.lab = root, lab
        self.bundle, self.cache = root / "bundle", root / "cache"
        self.images: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.bundle.mkdir()

    def add_image(self, source: str, name: str, *options: str) -> None:
        """Copy an image into the bundle's layout, as bundle_images does."""
        layout = self.bundle / "images"
        command = ["skopeo", *options, "copy", "--quiet", source, f"oci:{layout}:{name}"]
        subprocess.run(command, check=True)
        entries = json.loads((layout / "index.json").read_text())["manifests"]
        digest = next(
            entry["digest"] for entry in entries if entry["annotations"]["org.opencontainers.image.ref.name"] == name
        )
        self.images.append({"name": name, "repository": name.rpartition(":")[0], "digest": digest, "size": 0})

    def add_model(self, name: str, source: Path, *without: str) -> None:
        revision = hashlib.sha256(f"{name} {without}".encode()).hexdigest()
        target = self.bundle / "models" / name / revision[:16]
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without))
        for path in target.iterdir():
            path.chmod(0o644)
        self.models.append({"name": name, "revision": revision[:16], "digest": revision, "size": 0})

    def tree(self) -> dict[str, int]:
        """All files of the bundle, with the time of their last change."""
        return {str(path): path.lstat().st_mtime_ns for path in self.bundle.rglob("*")}

    def rehearse(self, *instances: dict[str, Any], engines: list[dict[str, Any]] | None = None, **more: Any) -> Run:
        """Run the role's tasks as stage does, from the description to the rehearsal."""
        result = self.root / RESULT
        result.unlink(missing_ok=True)
        variables: dict[str, Any] = {
            "ansible_python_interpreter": sys.executable,
            "bundle_directory": str(self.bundle),
            "bundle_cache_directory": str(self.cache),
            "bundle_compose_command": self.lab["compose_command"],
            "bundle_instances": list(instances),
            "bundle_models": [{"name": model["name"], "source": "/none"} for model in self.models],
            "bundle_extra_images": [image["name"] for image in self.images],
            "bundle_gateway_image": STAND_IN,
            "bundle_targets": [],
            "bundle_rehearsal_keep_images": True,
            "__bundle_collected_images": {"artifacts": self.images},
            "__bundle_collected_models": {"artifacts": self.models},
        }
        # Stronger than a role's own variables, as the engines are.
        if engines is not None:
            variables["__inference_engines"] = engines
        check = more.pop("check", False)
        variables.update(more)
        tasks: list[dict[str, Any]] = [
            {"ansible.builtin.include_role": {"name": "airgap.inference.bundle", "tasks_from": name}}
            for name in ("instances.yml", "rehearse_instances.yml")
        ]
        content = "{{ __bundle_rehearsed_instances | to_json }}"
        tasks.append(
            {"ansible.builtin.copy": {"dest": str(result), "content": content, "mode": "0600"}, "check_mode": False}
        )
        (self.root / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        (self.root / "variables.json").write_text(json.dumps(variables))
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", "localhost,", "-c", "local", "-e", f"@{self.root / 'variables.json'}"),
                *(["--check"] if check else []),
                str(self.root / "play.yml"),
            ],
            env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_HOME": str(self.root / "ansible")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback (most recent call last)" not in done.stdout + done.stderr, done.stdout + done.stderr
        returned = json.loads(result.read_text()) if result.exists() else {}
        # As a person reads it: the message is wrapped by nobody.
        return Run(done.returncode, done.stdout + done.stderr, returned)

    def containers(self) -> list[str]:
        listed = subprocess.run(
            ["docker", "ps", "--all", "--format", "{{.Names}}"], check=True, stdout=subprocess.PIPE, text=True
        )
        return [name for name in listed.stdout.split() if name.startswith("airgap-rehearsal_")]

    def loaded(self) -> list[str]:
        """The images in Docker that were loaded for this cache directory."""
        mark = hashlib.sha256(os.path.realpath(self.cache).encode()).hexdigest()[:8]
        listed = subprocess.run(
            ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"airgap-rehearsal/{mark}"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return listed.stdout.split()

    def close(self) -> None:
        for tag in self.loaded():
            subprocess.run(["docker", "rmi", tag], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.root)
