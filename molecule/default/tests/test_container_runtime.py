# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker after a deploy: configured beside what the host says, and a container keeps its GPU whatever systemd does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from testinfra.host import Host

PROBE = "airgap-probe"
NODE = "/dev/nvidia0"


def run_probe(gpu_host: Host, name: str, *options: str) -> str:
    """A container of an image that the host has, which does nothing for ten minutes."""
    image = gpu_host.check_output("docker inspect --format '{{.Image}}' airgap-gateway")
    gpu_host.run("docker rm --force %s", name)
    gpu_host.check_output(
        f"docker run --detach --name {name} --user 0 --network none {' '.join(options)} --entrypoint sleep {image} 600"
    )
    return name


def inspect(gpu_host: Host, container: str) -> dict:
    """What Docker says of a container."""
    return json.loads(gpu_host.check_output("docker inspect %s", container))[0]


@pytest.fixture
def probe(gpu_host: Host) -> Iterator[str]:
    """A container with the first GPU."""
    yield run_probe(gpu_host, PROBE, "--device nvidia.com/gpu=0")
    gpu_host.check_output("docker rm --force %s", PROBE)


@pytest.fixture
def outsider(gpu_host: Host) -> Iterator[str]:
    """A container without one."""
    yield run_probe(gpu_host, f"{PROBE}-without")
    gpu_host.check_output("docker rm --force %s", f"{PROBE}-without")


def opens(gpu_host: Host, container: str, node: str = NODE) -> str:
    """What a process in the container is told when it opens a device; nothing when it may."""
    return gpu_host.run("docker exec %s sh -c %s", container, f": < {node}").stderr.strip()


def test_daemon_reload_takes_no_gpu_from_a_container(gpu_host: Host, probe: str) -> None:
    """With the runtime hook of `--gpus`, devices are added behind Docker's back, and lost when systemd writes its rules anew."""
    assert opens(gpu_host, probe) == ""
    gpu_host.check_output("systemctl daemon-reload")
    assert opens(gpu_host, probe) == ""
    # Where systemd manages the containers' cgroups, this makes it write the rules at once; a reload alone may wait for a reason.
    scope = f"docker-{inspect(gpu_host, probe)['Id']}.scope"
    if gpu_host.service(scope).is_running:
        gpu_host.check_output("systemctl set-property --runtime %s TasksMax=1000", scope)
    gpu_host.check_output("docker update --cpu-shares 512 %s", probe)
    assert opens(gpu_host, probe) == ""
    environment = gpu_host.check_output(f"cat /proc/{inspect(gpu_host, probe)['State']['Pid']}/environ")
    assert "AIRGAP_LAB_GPU_0=" in environment


def test_the_device_is_in_what_the_container_was_made_from(gpu_host: Host, probe: str) -> None:
    """From there Docker, the runtime and systemd take their rules, whenever they write them."""
    made_from = f"/run/containerd/io.containerd.runtime.v2.task/moby/{inspect(gpu_host, probe)['Id']}/config.json"
    rules = json.loads(gpu_host.check_output(f"cat {made_from}"))["linux"]["resources"]["devices"]
    major, minor = gpu_host.check_output("docker exec %s stat --format '%%t %%T' %s", probe, NODE).split()
    allowed = [(rule.get("major"), rule.get("minor")) for rule in rules if rule["allow"]]
    assert (int(major, 16), int(minor, 16)) in allowed


def test_no_other_container_can_open_the_device(gpu_host: Host, probe: str, outsider: str) -> None:
    """The kernel enforces who has a device; otherwise the test above would say nothing."""
    assert "No such file" in opens(gpu_host, outsider)
    number = gpu_host.check_output("docker exec %s stat --format '0x%%t 0x%%T' %s", probe, NODE)
    gpu_host.check_output(f"docker exec {outsider} mknod /nvidia0 c {number}")
    assert "not permitted" in opens(gpu_host, outsider, "/nvidia0")


def test_the_first_gpu_is_not_the_second(gpu_host: Host, probe: str) -> None:
    nodes = gpu_host.check_output("docker exec %s sh -c 'ls /dev/nvidia[0-9]*'", probe).split()
    assert nodes == [NODE]


def test_docker_comes_after_the_description_of_the_gpus(gpu_host: Host) -> None:
    assert "airgap-cdi.service" in gpu_host.check_output("systemctl show --property=After docker.service")
    assert gpu_host.run("systemctl start airgap-cdi.service").rc == 0
    # No release of the toolkit may close a circle with it.
    assert "cycle" not in gpu_host.run("systemd-analyze verify multi-user.target").stderr


def test_the_hosts_docker_runs_as_configured(gpu_host: Host) -> None:
    options = json.loads(gpu_host.file("/etc/docker/daemon.json").content_string)
    assert options["features"]["cdi"] is True
    info = json.loads(gpu_host.check_output("docker info --format json"))
    assert (info["LiveRestoreEnabled"], info["LoggingDriver"]) == (True, "json-file")


def test_the_toolkit_is_held(gpu_host: Host) -> None:
    assert "nvidia-container-toolkit-base" in gpu_host.check_output("apt-mark showhold").split()
