# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gpu_host with NVIDIA's real packages, from a bundle's repository, on a host without any network.

The GPUs on the bus are simulated and the kernel is this machine's: what is shown is all that comes before the module is loaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from drivers_room import TOOLS, Room, debian
from test_rehearse_packages import newest_kernel

REPOSITORY = Path(__file__).resolve().parents[2]
LAB = "driver"
CONTAINER = f"airgap-{LAB}-gpu1"
PACKAGES = "/srv/packages"
HARDWARE = "/etc/airgap-lab/gpus.json"

pytestmark = [
    pytest.mark.driver,
    pytest.mark.skipif(
        not all(map(shutil.which, (*TOOLS, "docker"))), reason="needs mmdebstrap, apt-ftparchive, Docker"
    ),
]


@dataclass
class Played:
    """How a playbook ended."""

    status: int
    output: str

    def changed(self) -> int:
        """The tasks that changed something."""
        found = re.search(r"^gpu1 .* changed=(\d+)", self.output, re.M)
        assert found, self.output
        return int(found[1])


class GpuHost:
    """A host of the lab with the bundle's packages in a directory, and nothing else to install from."""

    def __init__(self, release: str, directory: Path) -> None:
        self.release = release
        self.directory = directory
        self.room: Room = debian(release, directory / "packages")
        self.kernel = newest_kernel(self.room)

    def up(self) -> None:
        """A fresh host; one that a broken test left is removed."""
        self.down()
        lab("up", "--name", LAB, "--release", self.release)
        # These packages bring their own lines for modprobe. And DKMS would build for the running kernel too, against the lab's headers,
        # which only the lab's packages can.
        self.shell("rm /usr/lib/modprobe.d/airgap-lab.conf")
        described = json.loads(self.shell(f"cat {HARDWARE}"))
        described["faults"]["headers_missing"] = True
        written = ["docker", "exec", "--interactive", CONTAINER, "sh", "-c", f"cat > {HARDWARE} && airgap-lab-hardware"]
        subprocess.run(written, input=json.dumps(described), text=True, check=True)

    def down(self) -> None:
        lab("down", "--name", LAB)

    def carry(self, *packages: str) -> None:
        """What a bundle for this system holds, as the depot would offer it."""
        collected = self.room.collect(*packages, kernels=[self.kernel])
        assert "failed" not in collected, collected["msg"]
        self.shell(f"rm -rf {PACKAGES}")
        subprocess.run(["docker", "cp", str(self.room.repository), f"{CONTAINER}:{PACKAGES}"], check=True)

    def shell(self, command: str) -> str:
        """What a command on the host prints; its status does not matter."""
        asked = ["docker", "exec", CONTAINER, "sh", "-c", command]
        return subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout

    def play(self, *arguments: str, **variables: object) -> Played:
        """Run the role alone."""
        repository = {"url": f"file:{PACKAGES}", "key": next(self.room.repository.glob("*.asc")).read_text()}
        play = {
            "hosts": "all",
            "gather_subset": ["!all"],
            "vars": {"gpu_host_repository": repository, "gpu_host_kernel": self.kernel, **variables},
            "roles": ["airgap.inference.gpu_host"],
        }
        playbook = self.directory / "play.yml"
        playbook.write_text(yaml.safe_dump([play]))
        return self._ansible("ansible-playbook", str(playbook), *arguments)

    def ask(self, module: str) -> Played:
        """Run one module."""
        return self._ansible("ansible", "all", "-m", f"airgap.inference.{module}")

    def _ansible(self, program: str, *arguments: str) -> Played:
        inventory = self.directory / "hosts.yml"
        known = {"ansible_connection": "community.docker.docker", "ansible_docker_host": CONTAINER}
        hosts = {"gpu1": {**known, "ansible_python_interpreter": "/usr/bin/python3", "ansible_user": "root"}}
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"}
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(REPOSITORY / ".cache/collections")
        ended = subprocess.run(
            [str(Path(sys.executable).with_name(program)), "-i", str(inventory), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        assert "Traceback" not in ended.stdout, ended.stdout
        return Played(ended.returncode, ended.stdout)


def lab(*arguments: str) -> None:
    subprocess.run([sys.executable, str(REPOSITORY / "tests/lab/lab.py"), *arguments], check=True)


@pytest.fixture(name="bookworm")
def fixture_bookworm(tmp_path: Path) -> GpuHost:
    host = GpuHost("bookworm", tmp_path)
    host.up()
    yield host
    host.down()


@pytest.fixture(name="trixie")
def fixture_trixie(tmp_path: Path) -> GpuHost:
    host = GpuHost("trixie", tmp_path)
    host.up()
    yield host
    host.down()


def role_packages(host: GpuHost) -> list[str]:
    """What the role installs there by itself."""
    data = yaml.safe_load((REPOSITORY / "roles/gpu_host/vars" / VARIABLES[host.release]).read_text())
    source = data["__gpu_host_drivers"]["distribution"]
    return [*source["modules"][source["default_modules"]], *source["libraries"], *source["services"]]


VARIABLES = {"bookworm": "Debian-bookworm.yml", "trixie": "Debian.yml"}


def test_debian_12_gets_its_driver_built_held_and_explained(bookworm: GpuHost) -> None:
    packages = role_packages(bookworm)
    bookworm.carry(*packages)
    before = bookworm.shell("dpkg-query -W")

    predicted = bookworm.play("--check", "--diff")
    assert predicted.status == 0, predicted.output
    assert "nvidia-kernel-dkms" in predicted.output and f"linux-headers-{bookworm.kernel}" in predicted.output
    assert bookworm.shell("dpkg-query -W") == before

    first = bookworm.play()
    # All that a host can do that runs another kernel than the one its driver is for.
    assert first.status != 0
    assert bookworm.kernel in first.output and "gpu_host_reboot" in first.output, first.output
    built = bookworm.shell(f"find /lib/modules/{bookworm.kernel} -name 'nvidia*.ko*'")
    assert "nvidia-current.ko" in built or "nvidia.ko" in built, first.output
    assert bookworm.shell(f"modinfo -k {bookworm.kernel} -F version nvidia-current").strip().startswith("5")
    held = bookworm.shell("apt-mark showhold").split()
    assert {"nvidia-kernel-dkms", "nvidia-smi"} <= set(held)
    assert "nvidia-persistenced" in bookworm.shell("dpkg-query -W -f '${Package}\\n'").split()

    second = bookworm.play()
    assert second.changed() == 0, second.output

    why = bookworm.ask("gpu_info")
    assert why.status != 0
    assert "nvidia-smi (exit status 9)" in why.output and "the driver's kernel module is not loaded" in why.output


def test_a_driver_that_does_not_build_leaves_the_host_as_it_was(trixie: GpuHost) -> None:
    """Debian 13's open driver against Debian 13's kernel, on the day this was written."""
    trixie.carry("nvidia-open-kernel-dkms", "nvidia-smi", "nvidia-persistenced", "libcuda1")
    packages = trixie.shell("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'")
    ended = trixie.play(gpu_host_kernel_modules="open")
    if "has to be restarted" in ended.output:
        pytest.skip("Debian 13's nvidia-open-kernel-dkms builds again")
    assert ended.status != 0
    assert re.search(r"nvidia\S*/\S+\.[ch]:\d+:\d+: error: ", ended.output), ended.output
    assert trixie.kernel in ended.output
    assert trixie.shell("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'") == packages
    assert trixie.shell("ls /var/lib/dkms 2>&1 | grep -v cannot").strip() == ""
