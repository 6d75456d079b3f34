# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The room's keys: ssh from the bastion to the GPU hosts, and the staging side's seal for bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from airgap_lab import cache
from airgap_lab.console import run

if TYPE_CHECKING:
    from airgap_lab.room import Room

IDENTITY = "staging@lab"
ALLOWED_SIGNERS = "/etc/airgap/allowed_signers"
USER = "ops"


def ssh_key(room: Room) -> Path:
    return _key(room.folder / "keys" / "ops", "ops@" + room.name)


def signing_key(room: Room) -> Path:
    return _key(room.folder / "keys" / "staging", IDENTITY)


def _key(path: Path, comment: str) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        half = path.with_name(path.name + ".part")
        for leftover in (half, half.with_name(half.name + ".pub")):
            cache.remove(leftover)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(half)])
        half.with_name(half.name + ".pub").rename(path.with_name(path.name + ".pub"))
        half.rename(path)
    return path


def _public(path: Path) -> str:
    return path.with_name(path.name + ".pub").read_text(encoding="utf-8").strip()


def install(room: Room) -> None:
    """Let the bastion's root into every GPU host, knowing each by its host key."""
    known = []
    private = ssh_key(room)
    for host in room.hosts():
        if host == "bastion":
            continue
        words = room.execute(host, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()
        known.append(f"{host},{room.address(host)} {words[0]} {words[1]}")
        _write(room, host, "/home/ops/.ssh/authorized_keys", _public(private), "0600", USER)
    _write(room, "bastion", "/root/.ssh/id_ed25519", private.read_text(encoding="utf-8").strip(), "0600", "root")
    _write(room, "bastion", "/root/.ssh/known_hosts", "\n".join(known), "0600", "root")
    room.execute("bastion", "install", "-d", "-m", "0755", str(Path(ALLOWED_SIGNERS).parent))
    _write(room, "bastion", ALLOWED_SIGNERS, f"{IDENTITY} {_public(signing_key(room))}", "0644", "root")


def _write(room: Room, host: str, path: str, content: str, mode: str, owner: str) -> None:
    room.execute(host, "install", "-m", mode, "-o", owner, "/dev/stdin", path, text_input=content + "\n")
