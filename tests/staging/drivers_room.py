# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor's apt source with small drivers that DKMS really builds, in seconds: one that compiles and one that does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils._openpgp import SigningKey
from ansible_collections.airgap.inference.tests.unit.plugins.modules.test_bundle import run
from test_packages_apt import target

TOOLS = ("mmdebstrap", "dpkg-deb", "apt-ftparchive", "gpg")
RELEASE = "bookworm"

_GOOD = '#include <linux/module.h>\nint lab;\nMODULE_LICENSE("GPL");\n'
_BAD = _GOOD.replace("int lab;", "int lab = no_such_symbol;")
_MAKEFILE = "obj-m := {name}.o\nall:\n\t$(MAKE) -C /lib/modules/$(KERNELRELEASE)/build M=$(CURDIR) modules\n"
_DKMS = (
    'PACKAGE_NAME="{name}"\nPACKAGE_VERSION="1.0"\nBUILT_MODULE_NAME[0]="{name}"\nDEST_MODULE_LOCATION[0]="/updates/dkms"\n'
    'MAKE[0]="make KERNELRELEASE=${{kernelver}}"\nAUTOINSTALL="yes"\n'
)
_BUILD = (
    '#!/bin/sh\nset -e\n[ "$1" != configure ] || /usr/lib/dkms/common.postinst {name} 1.0 /usr/share/{name} \'\' "$2"\n'
)
# Every line is what a rehearsal must not let a package do; the number says which it could.
_NOSY = """\
#!/bin/sh
[ "$1" = configure ] || exit 0
[ "$(grep -c : /proc/net/dev)" -le 1 ] || exit 101
mount -t tmpfs nosy /mnt 2>/dev/null && exit 102
[ $((0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status) >> 16 & 1)) = 0 ] || exit 103
[ "$(ls /dev | grep -cE '^(sd|vd|nvme|kmsg|mem)')" = 0 ] || exit 104
touch /airgap/nosy 2>/dev/null && exit 105
[ "$(/usr/sbin/policy-rc.d nosy start; echo $?)" = 101 ] || exit 106
exit 0
"""


def packages(directory: Path, breaks: str) -> None:
    """Build the vendor's packages."""
    for name, source in (("lab-dkms", _GOOD), ("lab-open-dkms", _BAD)):
        module = name[: -len("-dkms")].replace("-", "_")
        files = {
            f"usr/src/{module}-1.0/{module}.c": source,
            f"usr/src/{module}-1.0/Makefile": _MAKEFILE.format(name=module),
            f"usr/src/{module}-1.0/dkms.conf": _DKMS.format(name=module),
        }
        _package(directory, name, "dkms", files, _BUILD.format(name=module))
    _package(directory, "lab-nosy", "", {}, _NOSY)
    _package(directory, "lab-broken", "", {}, f"#!/bin/sh\necho the lab breaks here >&2\n{breaks}\n")


def _package(directory: Path, name: str, depends: str, files: dict[str, str], postinst: str) -> None:
    with tempfile.TemporaryDirectory() as build:
        control = {"Package": name, "Version": "1.0-1", "Architecture": "all", "Maintainer": "lab <lab@example.org>"}
        lines = [
            f"{field}: {value}" for field, value in {**control, "Depends": depends, "Description": "x"}.items() if value
        ]
        texts = {**files, "DEBIAN/control": "\n".join([*lines, ""]), "DEBIAN/postinst": postinst}
        for path, text in texts.items():
            file = Path(build, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if text.startswith("#!") else 0o644)
        Path(build).chmod(0o755)
        _quietly(["dpkg-deb", "--root-owner-group", "--build", build, str(directory / f"{name}_1.0-1_all.deb")])


def publish(directory: Path, breaks: str = "exit 3") -> dict[str, str]:
    """A flat, signed source of the vendor's packages; returns it in deb822 fields."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    packages(directory, breaks)
    (directory / "Packages").write_bytes(_quietly(["apt-ftparchive", "packages", "."], cwd=directory))
    release = _quietly(["apt-ftparchive", "release", "."], cwd=directory)
    (directory / "Release").write_bytes(release)
    key = SigningKey(str(directory.parent / "vendor.key"), "vendor")
    (directory / "key.asc").write_bytes(key.public())
    (directory / "InRelease").write_bytes(key.clearsign(str(directory / "Release")))
    return {"uris": f"file:{directory}", "suites": "./", "signed_by": str(directory / "key.asc")}


class Room:
    """A bundle's packages of one target, collected and rehearsed in a cache that outlives the test."""

    def __init__(self, cache: Path, repository: Path, system: dict[str, Any]) -> None:
        self.cache = cache
        self.repository = repository
        self.system = system

    def collect(self, *names: str, kernels: list[str] | None = None) -> dict[str, Any]:
        self.system["kernels"] = kernels or []
        return run(
            "bundle_packages",
            path=str(self.repository),
            target=self.system,
            packages={"gpu_host_packages": list(names)},
            cache=str(self.cache),
            signing_key=str(self.cache / "packages.asc"),
            digests=str(self.cache / "digests.json"),
        )

    def rehearse(self, *names: str, **arguments: Any) -> dict[str, Any]:
        flavours = [("lab-open-dkms", "lab-dkms"), ("nvidia-open-kernel-dkms", "nvidia-kernel-dkms")]
        given = {
            "path": str(self.repository),
            "target": self.system,
            "groups": [{"name": "hosts", "packages": list(names), "kernels": True}],
            "flavours": [{"package": one, "instead": [other]} for one, other in flavours],
            "cache": str(self.cache),
        }
        return run("bundle_rehearse_packages", **{**given, **arguments})

    def forget(self) -> None:
        """So that it is shown anew."""
        (self.cache / "state/rehearsed-packages.json").unlink(missing_ok=True)

    def left(self) -> list[str]:
        """What rehearsals left in the cache besides what they keep, and what they left mounted."""
        kept = {"system", "system.json", "indexes", "choices.asc"}
        (room,) = (self.cache / "roots").iterdir()
        mounted = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.cache) in line]
        return [path.name for path in room.iterdir() if path.name not in kept] + mounted


def lab_cache() -> Path:
    """Below the lab's cache, as tests/lab finds it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("AIRGAP_CACHE") or Path(base) / "airgap-inference") / "staging-tests"


def debian(release: str, repository: Path, *further: dict[str, str]) -> Room:
    system = target(release)
    system["sources"] += further
    return Room(lab_cache() / f"drivers-{release}-{len(further)}", repository, system)


def _quietly(command: list[str], cwd: Path | None = None) -> bytes:
    # The same bytes each time, as a version promises.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1"}
    done = subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=environment)
    assert done.returncode == 0, f"{command}: {done.stdout!r}{done.stderr!r}"
    return done.stdout
