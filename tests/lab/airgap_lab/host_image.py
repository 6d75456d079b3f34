# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a bare Debian 13 host: systemd, ssh, sudo and Python, and nothing of what the bundle brings."""

from __future__ import annotations

from airgap_lab import cache, debian, docker_engine
from airgap_lab.console import run, say, succeeds, timed
from airgap_lab.debian import Recipe

RELEASE = "trixie"
INCLUDE = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "procps",
    "iproute2",
    "netbase",
    "openssh-server",
    "openssh-client",
    "sudo",
    "python3",
)
REPOSITORY = "airgap-lab-host"
# Units that wait for hardware or a network manager that a container does not have.
MASKED = (
    "systemd-networkd-wait-online.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "getty.target",
)
FILES = cache.LAB / "host_files"
HOOKS = (
    'rm -f "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*',
    'cp --recursive --no-target-directory --no-preserve=mode,ownership "$LAB_FILES" "$1"',
    'chmod 0440 "$1/etc/sudoers.d/ops"',
    'chroot "$1" useradd --create-home --shell /bin/bash ops',
    'install -d -m 0700 -o 1000 -g 1000 "$1/home/ops/.ssh" && install -d -m 0700 "$1/root/.ssh"',
    'chroot "$1" systemctl mask ' + " ".join(MASKED),
    'chroot "$1" systemctl enable ssh.service',
    # Leave nothing that would be the same in every container.
    'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" && : > "$1/etc/machine-id"',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
)


RECIPE = Recipe(RELEASE, INCLUDE, HOOKS)


def name() -> str:
    return f"{REPOSITORY}:{cache.key(FILES, *RECIPE.inputs())}"


def build() -> None:
    docker_engine.ensure()
    image = name()
    if docker_engine.inspect("image", image):
        say("host image: up to date")
        return
    cache.free_space(2)
    archive = cache.root() / "tmp" / "host.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    cache.log("host").parent.mkdir(parents=True, exist_ok=True)
    cache.log("host").write_text("", encoding="utf-8")
    with timed(f"host image (Debian {RELEASE} by mmdebstrap)"):
        cache.remove(archive)
        debian.bootstrap(RECIPE, archive, "host", {"LAB_FILES": str(FILES)})
        run(
            [
                "docker",
                "import",
                "--change",
                'CMD ["/sbin/init"]',
                "--change",
                "ENV container=docker",
                str(archive),
                image,
            ],
            cache.log("host"),
        )
        run(["docker", "tag", image, REPOSITORY + ":latest"])
        cache.remove(archive)
    for old in run(["docker", "image", "ls", "--format", "{{.Tag}}", REPOSITORY]).split():
        if f"{REPOSITORY}:{old}" not in (image, REPOSITORY + ":latest"):
            # A running lab may still use an older one: then it stays.
            succeeds(["docker", "image", "rm", f"{REPOSITORY}:{old}"])
