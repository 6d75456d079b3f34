# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site for the playbook preflight on one machine: a depot that is a directory, and hosts that are this machine with GPUs of their own.

A host's GPUs are what the nvidia-smi shows that its Python finds first: a program that answers with a recorded report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _manifest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import smi_simulator

COLLECTION = Path(_manifest.__file__).parents[2]
PLAYBOOK = COLLECTION / "playbooks" / "preflight.yml"
REPORT = COLLECTION / "tests/unit/plugins/module_utils/fixtures/nvidia_smi/h100-580.xml"
IMAGE = "docker.io/vllm/vllm-openai:v0.32.0"
CHAT: dict[str, Any] = {"name": "chat", "engine": "vllm", "image": IMAGE, "model": "small", "gpus": 1}


class Room:
    """The files of the site below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.depot = root / "depot"
        self.hosts: dict[str, dict[str, Any]] = {}
        self.depot_variables: dict[str, Any] = {}
        self.site: dict[str, Any] = {"airgap_site": "room", "airgap_instances": [CHAT], "gateway_image": IMAGE}
        self._models: dict[str, dict[str, Any]] = {}
        self.images = [
            {"name": IMAGE, "repository": "docker.io/vllm/vllm-openai", "digest": "sha256:" + "a" * 64, "size": 1000}
        ]

    def model(self, name: str, config: dict[str, Any], revision: str = "r1", size: int = 1000) -> Path:
        """A model at the depot: its configuration, and weights that are a hole behind a header. Its size is what the manifest says."""
        directory = self.depot / "models" / name / revision
        directory.mkdir(parents=True)
        models.write(directory, config, models.llama_tensors(config))
        self._models[name] = {
            "revision": revision,
            "digest": "b" * 64,
            "source": f"/srv/{name}",
            "size": size,
            "files": 2,
        }
        return directory

    def host(self, name: str, *, gpus: bool = True, driverless: bool = False, **variables: Any) -> None:
        """A host that is this machine, with two H100 and their driver, with the two and no driver, or with none."""
        python = self.root / "hosts" / name / "python"
        python.parent.mkdir(parents=True)
        if gpus and not driverless:
            smi_simulator.Simulator(python.parent, REPORT)
        # Its own bus too, in a name space of its own: the machine has no GPUs, or others.
        bus = python.parent / "bus"
        for address in ("0000:1b:00.0", "0000:43:00.0") if gpus or driverless else ():
            (bus / address).mkdir(parents=True)
            for name_, value in (("vendor", "0x10de"), ("class", "0x030200"), ("device", "0x2330")):
                (bus / address / name_).write_text(f"{value}\n", encoding="ascii")
        bus.mkdir(exist_ok=True)
        python.write_text(
            "#!/bin/sh\n"
            f'exec unshare --mount sh -c \'mount --bind "$0" /sys/bus/pci/devices && PATH="{python.parent}:$PATH" exec "$@"\' '
            f'"{bus}" {sys.executable} "$@"\n',
            encoding="utf-8",
        )
        python.chmod(0o755)
        self.hosts[name] = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": str(python),
            "model_store_directory": str(self.root / "hosts" / name / "models"),
            **variables,
        }

    def unreachable(self, name: str) -> None:
        """Nothing listens at port 1."""
        self.hosts[name] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": 1,
            "ansible_ssh_common_args": "-o ConnectTimeout=2",
        }

    def write(self) -> Path:
        """Manifest and inventory."""
        os_release = _os_target()
        artifacts: dict[str, Any] = {
            "packages": [
                {
                    **os_release,
                    "directory": "packages/room",
                    "suite": "airgap",
                    "component": "main",
                    "key": "packages/room/key.asc",
                    "packages": [],
                }
            ],
            "images": self.images,
            "models": [
                {"name": name, **model, "directory": f"models/{name}/{model['revision']}"}
                for name, model in self._models.items()
            ],
            "controller": {"python": ["3.13"], "requirements": [], "collections": []},
        }
        (self.depot / "packages/room").mkdir(parents=True, exist_ok=True)
        (self.depot / "packages/room/key.asc").write_text("KEY\n", encoding="ascii")
        manifest = _manifest.Manifest("room", "2026-11-21T00:00:00Z", "airgap.inference 0.1.0", [], artifacts)
        (self.depot / _manifest.MANIFEST).write_bytes(_manifest.render(manifest))
        depot = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "base_depot_directory": str(self.depot),
            **self.depot_variables,
        }
        inventory = {
            "all": {
                "vars": self.site,
                "children": {"airgap_depot": {"hosts": {"bastion": depot}}, "airgap_hosts": {"hosts": self.hosts}},
            }
        }
        path = self.root / "hosts.yml"
        path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        return path

    def run(self, *arguments: str, playbook: Path = PLAYBOOK) -> subprocess.CompletedProcess[str]:
        """The playbook, as a person calls it."""
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(self.write()),
            str(playbook),
            *arguments,
        ]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION.parents[2]),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_HOST_KEY_CHECKING": "0",
            "PWD": str(self.root),
        }
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def document(self) -> dict[str, Any]:
        """The report for programs."""
        document: dict[str, Any] = json.loads((self.root / "preflight.json").read_text(encoding="utf-8"))
        return document


def _os_target() -> dict[str, str]:
    """This machine, as a target of a bundle."""
    pairs = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines())
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    return {
        "distribution": {"debian": "Debian", "ubuntu": "Ubuntu"}.get(pairs["ID"], pairs["ID"]),
        "release": pairs.get("VERSION_CODENAME", pairs.get("VERSION_ID", "")).strip('"'),
        "architecture": architecture,
    }
