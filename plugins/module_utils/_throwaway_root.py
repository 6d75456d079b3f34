# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of an empty system in which anything may be installed, because they are thrown away.

Every command runs in namespaces of its own: what is mounted for it is mounted for it alone and is gone when it ends,
however it ends. It sees no network, and it has the rights that a container has.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
import time
from types import TracebackType
from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._command import Result, last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

PROGRAMS = ("mmdebstrap", "unshare", "setpriv")
# Where commands see the directory that is lent to them.
LENT = "/airgap"

_CAPABILITIES = (
    "chown,dac_override,dac_read_search,fowner,fsetid,kill,mknod,net_bind_service,"
    "setfcap,setgid,setpcap,setuid,sys_chroot,audit_write"
)
_WITHOUT = "Or set bundle_rehearse_packages to false; the manifest then says that they were not rehearsed."
# Should this process be killed, so is the command.
_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_ISOLATED = (*_WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--")
# The working directory is the copy; $1 is the system, $2 what is lent, $3 whether to try an overlay, the rest is the command.
# Where an overlay cannot be mounted (a cache that is an overlay itself), or does not let dpkg rename directories (in an ordinary
# user's namespace), the system is copied.
_ENTER = rf"""
set -eu
system=$1 lent=$2 overlay=$3
shift 3
if [ ! -e root/etc ]; then
    {{ [ "$overlay" = yes ] && mount -t overlay airgap -o "lowerdir=$system,upperdir=upper,workdir=work" root 2>/dev/null; }} \
        || cp -a --reflink=auto "$system/." root
fi
mount -t proc proc root/proc
mount -t tmpfs -o mode=0755 dev root/dev
for device in full null random tty urandom zero; do
    : > "root/dev/$device"
    mount --bind "/dev/$device" "root/dev/$device"
done
mkdir root/dev/pts root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
ln -s pts/ptmx root/dev/ptmx
ln -s /proc/self/fd root/dev/fd
ln -s fd/0 root/dev/stdin
ln -s fd/1 root/dev/stdout
ln -s fd/2 root/dev/stderr
mkdir -p root{LENT}
mount --bind -o ro "$lent" root{LENT}
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive \
    setpriv --bounding-set=-all,+{_CAPABILITIES.replace(",", ",+")} --inh-caps=-all chroot root "$@"
"""
# What the system has from the start: no service is started, no boot image is made, and what is lent is the only source.
_FILES = {
    "usr/sbin/policy-rc.d": "#!/bin/sh\n# Nothing is started here.\nexit 101\n",
    "etc/initramfs-tools/update-initramfs.conf": "# Nothing is booted here.\nupdate_initramfs=no\n",
    "etc/apt/apt.conf.d/airgap": 'APT::Sandbox::User "root";\n',
}


def refusal(architecture: str) -> str | None:
    """Why this machine cannot run a system of this architecture, or None."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return None if machine == architecture else f"this machine is {machine} and cannot run {architecture}"


def require_machine() -> None:
    """The machine can make such roots, and this user may."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        raise AirgapError(
            f"Rehearsing packages needs {', '.join(lacking)} on this machine (on Debian and Ubuntu: apt-get install mmdebstrap "
            f"util-linux). {_WITHOUT}"
        )
    tried = run([*_as_root(), *_ISOLATED, "true"])
    if tried.rc != 0:
        remedy = (
            "Run the playbook stage as root, or give the user namespaces with subordinate ids (on Debian and Ubuntu: apt-get install "
            "uidmap, and a line for the user in /etc/subuid and /etc/subgid)."
            if os.geteuid()
            else "In a container, it needs the capability SYS_ADMIN."
        )
        raise AirgapError(
            f"Packages are rehearsed in a root of their own, which cannot be made here: {last_words(tried)}. {remedy} {_WITHOUT}"
        )


def _as_root() -> list[str]:
    """An ordinary user is root in a namespace of his own."""
    return ["unshare", "--user", "--map-root-user", "--map-auto", "--"] if os.geteuid() else []


def system(
    directory: str,
    label: str,
    sources: str,
    configuration: str,
    architecture: str,
    days: float,
    files: Mapping[str, str],
) -> str:
    """The empty system, made from these sources and kept in the directory until it is older than so many days.

    Sources and configuration are files for apt; further files are put into the system.
    """
    with open(sources, encoding="utf-8") as handle:
        wanted = {"sources": handle.read(), "architecture": architecture, "files": {**_FILES, **files}}
    path, note = os.path.join(directory, "system"), os.path.join(directory, "system.json")
    if os.path.isdir(path) and _is_fresh(note, wanted, days):
        return path
    half = os.path.join(directory, "system.part")
    remove(half)
    os.makedirs(directory, exist_ok=True)
    with open(configuration, encoding="utf-8") as handle:
        options = [f"--aptopt={line.strip()}" for line in handle if line.startswith("Acquire::")]
    made = run(
        # In a mount namespace of its own: not even a killed mmdebstrap leaves a mount behind.
        [*_as_root(), *_WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
         "mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=directory", f"--architectures={architecture}",
         *options, '--aptopt=APT::Sandbox::User "root"', "--customize-hook=rm -rf \"$1\"/etc/apt/sources.list \"$1\"/etc/apt/sources.list.d/* "
         "\"$1\"/etc/apt/apt.conf.d/99mmdebstrap \"$1\"/var/lib/apt/lists/*", "", half, sources]
    )  # fmt: skip
    if made.rc != 0:
        remove(half)
        raise AirgapError(
            f"No empty root of {label} could be made from its sources; mmdebstrap's reason:\n{last_words(made)}"
        )
    for name, text in {**_FILES, **files}.items():
        os.makedirs(os.path.join(half, os.path.dirname(name)), exist_ok=True)
        write_if_changed(os.path.join(half, name), text.encode(), mode=0o755 if text.startswith("#!") else 0o644)
    remove(path)
    os.rename(half, path)
    write_if_changed(note, json.dumps({**wanted, "made": time.time()}).encode())
    return path


class Copy:
    """A copy of the system for as long as the context lasts, with a directory lent to it."""

    def __init__(self, base: str, lent: str, directory: str) -> None:
        self._base = base
        self._lent = lent
        self._directory = directory

    def __enter__(self) -> Copy:
        self.path = tempfile.mkdtemp(prefix="copy-", dir=self._directory)
        for name in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.path, name), 0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        remove(self.path)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", seconds: float = 0) -> Result:
        """Run in the copy; after so many seconds it is killed, and its exit status is 137."""
        limit = [*_WITH_US, "timeout", "--signal=KILL", f"{max(1, seconds):.0f}"] if seconds else []
        command = [
            *limit,
            *_as_root(),
            *_ISOLATED,
            "sh",
            "-c",
            _ENTER,
            "enter",
            self._base,
            self._lent,
            "no" if os.geteuid() else "yes",
            *argv,
        ]
        return run(command, stdin=stdin, cwd=self.path)

    def read(self, path: str) -> str:
        """The text of a file of the copy; empty where there is none."""
        return self.run(["cat", path]).stdout.decode("utf-8", "replace")


def sweep(directory: str) -> None:
    """Remove what killed runs left behind."""
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            if name.startswith("copy-") or name == "system.part":
                remove(os.path.join(directory, name))


def remove(path: str) -> None:
    """Remove a root with all that is in it, unless something is mounted there: that may be the machine's own."""
    if not os.path.lexists(path):
        return
    mounted = mounts_below(path)
    if mounted:
        raise AirgapError(
            f"{mounted[0]} is a mount point, so {path} is not removed. Unmount it (umount {mounted[0]}) and try again."
        )
    result = run([*_as_root(), "rm", "-rf", "--one-file-system", "--", path])
    if result.rc != 0:
        raise AirgapError(f"{path} cannot be removed: {last_words(result)}")


def mounts_below(path: str, mountinfo: str = "/proc/self/mountinfo") -> list[str]:
    """The mount points at a path and below it."""
    real = os.path.realpath(path)
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as handle:
        # The kernel writes blanks, tabs and line ends as octal numbers.
        points = [
            re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), line.split(" ")[4]) for line in handle
        ]
    return [point for point in points if point == real or point.startswith(real.rstrip("/") + "/")]


def _is_fresh(note: str, wanted: dict[str, Any], days: float) -> bool:
    try:
        with open(note, encoding="utf-8") as handle:
            noted = json.load(handle)
        return (
            all(noted[name] == value for name, value in wanted.items())
            and 0 <= time.time() - noted["made"] < days * 86400
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
