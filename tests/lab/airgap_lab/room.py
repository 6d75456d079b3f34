# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One isolated room: an internal network, a bastion and GPU hosts, all named after the lab."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from airgap_lab import cache, docker_engine, gpus, host_image, keys, registry
from airgap_lab.console import LabError, run, say, timed

# What systemd and a nested Docker engine need; `--privileged` asks for more than some kernels grant.
CAPABILITIES = (
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
)
BASTION = "bastion"
DRIVE = "/media/airgap"


class Room:
    """Names and folders of one lab; what runs is asked of Docker, never remembered."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,19}", name):
            raise LabError(f"--name takes up to 20 lower-case letters and digits, a letter first; got {name!r}")
        self.name = name
        self.network = "airgap-" + name
        self.folder = cache.root() / "rooms" / name

    def container(self, host: str) -> str:
        return f"airgap-{self.name}-{host}"

    def docker_volume(self, host: str) -> str:
        return self.container(host) + "-docker"

    def hosts(self) -> list[str]:
        """The room's hosts that exist, the bastion first, then gpu1, gpu2 and so on."""
        label = "label=airgap-lab=" + self.name
        listed = run(["docker", "ps", "--all", "--filter", label, "--format", "{{.Names}}"]).split()
        names = [container[len(self.container("")) :] for container in listed]
        return sorted(names, key=lambda host: (host != BASTION, len(host), host))

    def running(self, host: str) -> bool:
        return bool(docker_engine.inspect("container", self.container(host)).get("State", {}).get("Running"))

    def address(self, host: str) -> str:
        networks = (
            docker_engine.inspect("container", self.container(host)).get("NetworkSettings", {}).get("Networks", {})
        )
        return str(networks.get(self.network, {}).get("IPAddress", ""))

    def drive(self) -> Path:
        """The folder of this machine that the bastion sees as the drive."""
        for mount in docker_engine.inspect("container", self.container(BASTION)).get("Mounts", []):
            if mount.get("Destination") == DRIVE:
                return Path(mount["Source"])
        return self.folder / "drive"

    def execute(self, host: str, *command: str, text_input: str = "") -> str:
        return run(["docker", "exec", "--interactive", self.container(host), *list(command)], text_input=text_input)


def up(room: Room, gpu_hosts: int, drive: Path, release: str = host_image.RELEASE) -> None:
    """The bastion and the GPU hosts; the release is that of the GPU hosts which are made now."""
    if BASTION in room.hosts() and room.drive() != drive:
        raise LabError(
            f"the bastion of {room.name!r} has {room.drive()} as its drive, not {drive}; run `lab.py down --name {room.name}` first"
        )
    with timed(f"room {room.name}"):
        drive.mkdir(parents=True, exist_ok=True)
        _network(room)
        names = [BASTION] + [f"gpu{number}" for number in range(1, gpu_hosts + 1)]
        for host in names:
            _host(room, host, drive, host_image.RELEASE if host == BASTION else release)
        for host in room.hosts():
            _wait(room, host)
        _names(room)
        keys.install(room)


def down(room: Room) -> None:
    docker_engine.ensure()
    if not room.hosts():
        say(f"room {room.name} has no hosts")
    for host in room.hosts():
        with timed("remove " + room.container(host)):
            run(["docker", "rm", "--force", "--volumes", room.container(host)])
            if docker_engine.inspect("volume", room.docker_volume(host)):
                run(["docker", "volume", "rm", room.docker_volume(host)])
    if docker_engine.inspect("network", room.network):
        run(["docker", "network", "rm", room.network])
    for name in ("hosts", "resolv.conf", "hardware"):
        cache.remove(room.folder / name)
    if not run(["docker", "ps", "--all", "--quiet", "--filter", "label=airgap-lab"]):
        registry.stop()
    say(f"room {room.name} is down; its keys and drive stay in {room.folder}")


def _network(room: Room) -> None:
    if docker_engine.inspect("network", room.network):
        return
    # Internal: no route out. And the bridge gets no address, so this machine's own services do not answer either.
    run(
        [
            "docker",
            "network",
            "create",
            "--internal",
            "--opt",
            "com.docker.network.bridge.inhibit_ipv4=true",
            "--label",
            "airgap-lab=" + room.name,
            room.network,
        ]
    )


def _host(room: Room, host: str, drive: Path, release: str) -> None:
    if host in room.hosts():
        _check_image(room, host)
        if not room.running(host):
            run(["docker", "start", room.container(host)])
        return
    # Both files are the room's own: Docker's name server would answer for names outside.
    for name, content in (("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "# no name server in this room\n")):
        if not (room.folder / name).exists():
            cache.write(room.folder / name, content)
    command = [
        "docker",
        "create",
        "--name",
        room.container(host),
        "--hostname",
        host,
        "--label",
        "airgap-lab=" + room.name,
        "--network",
        room.network,
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
        "--cgroupns",
        "host",
        "--volume",
        "/sys/fs/cgroup:/sys/fs/cgroup:rw",
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/tmp:exec",
        "--shm-size",
        "2g",
        "--volume",
        "%s:/etc/hosts" % (room.folder / "hosts"),
        "--volume",
        "%s:/etc/resolv.conf:ro" % (room.folder / "resolv.conf"),
        # Docker's name server is asked by nobody here, and could ask nobody.
        "--dns",
        "127.0.0.1",
        "--stop-signal",
        "SIGRTMIN+3",
        # `reboot` in a host ends its container with a signal; then it starts again, as a machine would.
        "--restart",
        "on-failure",
    ]
    command += ["--cap-add=" + capability for capability in CAPABILITIES]
    if host == BASTION:
        command += ["--volume", f"{drive}:{DRIVE}:ro"]
    else:
        command += ["--volume", f"{room.docker_volume(host)}:/var/lib/docker"]
        # What the simulated driver's devices are, see README.md.
        command += ["--device-cgroup-rule", "c 10:229 rwm"]
    run([*command, host_image.name(release)])
    if host != BASTION:
        # The machine has its hardware before it starts for the first time.
        described = room.folder / "hardware" / host / gpus.FOLDER.name
        cache.write(described / gpus.FILE.name, json.dumps(gpus.describe(host), indent=1) + "\n")
        run(["docker", "cp", str(described), f"{room.container(host)}:{gpus.FOLDER.parent}/"])
    run(["docker", "start", room.container(host)])


def _check_image(room: Room, host: str) -> None:
    """A host from an older image lacks what the lab now counts on."""
    made_from = docker_engine.inspect("container", room.container(host)).get("Config", {}).get("Image")
    if host != BASTION and made_from not in [host_image.name(release) for release in host_image.RELEASES]:
        raise LabError(
            f"{room.container(host)} was made from {made_from}, an older image of the lab; "
            f"run `lab.py down --name {room.name}` first"
        )


def _wait(room: Room, host: str) -> None:
    """Until systemd has started everything; a unit that failed is named."""
    asked = ["docker", "exec", room.container(host), "timeout", "60", "systemctl", "is-system-running", "--wait"]
    # In the first moments systemd has no bus to answer on.
    for _attempt in range(30):
        state = run(["sh", "-c", '"$@" 2>/dev/null || :', "sh", *asked]).strip()
        if state == "running":
            return
        if state == "degraded":
            break
        time.sleep(1)
    failed = room.execute(host, "systemctl", "list-units", "--failed", "--plain", "--no-legend").strip()
    raise LabError(f"{room.container(host)} did not start cleanly: {failed or state or 'systemd does not answer'}")


def _names(room: Room) -> None:
    lines = ["127.0.0.1 localhost"] + [f"{room.address(host)} {host}" for host in room.hosts()]
    # Written in place: the containers hold this very file.
    (room.folder / "hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")
