# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a bare Debian host: systemd, ssh, sudo and Python, and nothing of what the bundle brings."""

from __future__ import annotations

from airgap_lab import cache, debian, docker_engine
from airgap_lab.console import run, say, succeeds, timed
from airgap_lab.debian import Recipe

RELEASE = "trixie"
# What a GPU host can run; the bastion has the first.
RELEASES = (RELEASE, "bookworm")
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
# The simulated machine under the host's system: it is there before anything is installed.
MACHINE = ("airgap-lab-machine.service", "airgap-lab-devices.service")
HOOKS = (
    'rm -f "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*',
    'cp --recursive --no-target-directory --no-preserve=mode,ownership "$LAB_FILES" "$1"',
    'find "$1/usr/local/lib/airgap-lab" -name __pycache__ -prune -exec rm -r "{}" +',
    'sed --in-place "s/@RELEASE@/$LAB_RELEASE/g" "$1/etc/apt/sources.list.d/debian.sources"',
    'chmod 0440 "$1/etc/sudoers.d/ops"',
    'chmod 0755 "$1/usr/local/sbin/airgap-lab-hardware"',
    'chroot "$1" useradd --create-home --shell /bin/bash ops',
    'install -d -m 0700 -o 1000 -g 1000 "$1/home/ops/.ssh" && install -d -m 0700 "$1/root/.ssh"',
    'chroot "$1" systemctl mask ' + " ".join(MASKED),
    'chroot "$1" systemctl enable ssh.service ' + " ".join(MACHINE),
    # Leave nothing that would be the same in every container.
    'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" && : > "$1/etc/machine-id"',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
)


def recipe(release: str) -> Recipe:
    return Recipe(release, INCLUDE, HOOKS)


def name(release: str = RELEASE) -> str:
    key = cache.key(FILES, *recipe(release).inputs())
    # The lab's own release keeps the plain name; others stand beside it.
    return f"{REPOSITORY}:{key}" if release == RELEASE else f"{REPOSITORY}-{release}:{key}"


def build(release: str = RELEASE) -> None:
    docker_engine.ensure()
    image = name(release)
    if docker_engine.inspect("image", image):
        say(f"host image (Debian {release}): up to date")
        return
    cache.free_space(2)
    archive = cache.root() / "tmp" / f"host-{release}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    step = "host" if release == RELEASE else f"host-{release}"
    cache.log(step).parent.mkdir(parents=True, exist_ok=True)
    cache.log(step).write_text("", encoding="utf-8")
    with timed(f"host image (Debian {release} by mmdebstrap)"):
        cache.remove(archive)
        environment = {"LAB_FILES": str(FILES), "LAB_RELEASE": release}
        debian.bootstrap(recipe(release), archive, step, environment)
        changes = ["--change", 'CMD ["/sbin/init"]', "--change", "ENV container=docker"]
        run(["docker", "import", *changes, str(archive), image], cache.log(step))
        repository = image.rpartition(":")[0]
        run(["docker", "tag", image, repository + ":latest"])
        cache.remove(archive)
    for old in run(["docker", "image", "ls", "--format", "{{.Tag}}", repository]).split():
        if f"{repository}:{old}" not in (image, repository + ":latest"):
            # A running lab may still use an older one: then it stays.
            succeeds(["docker", "image", "rm", f"{repository}:{old}"])
