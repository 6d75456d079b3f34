# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed apt repository of the lab's simulated GPU packages, under the real packages' names."""

from __future__ import annotations

import shutil
from pathlib import Path

from airgap_lab import cache
from airgap_lab.console import run

SOURCES = cache.LAB / "gpu_packages"
SUITE = "lab"
COMPONENT = "main"
INDEX = f"dists/{SUITE}/{COMPONENT}/binary-amd64"
# Files whose whole content is the version of the package that brings them: what the real ones have compiled in.
VERSION_FILES = {
    "nvidia-open-kernel-dkms": "usr/lib/airgap-lab/kernel-module-version",
    "nvidia-smi": "usr/lib/airgap-lab/library-version",
}


def key() -> str:
    return cache.key(SOURCES, Path(__file__))


def folder() -> Path:
    return cache.built("gpu-packages", key())


def source() -> dict[str, str]:
    """The repository as deb822 fields."""
    return {
        "uris": f"file:{folder()}",
        "suites": SUITE,
        "components": COMPONENT,
        "signed_by": str(folder() / "archive-key.gpg"),
    }


def build() -> None:
    cache.build("gpu-packages", key(), "simulated GPU packages", _make)


def _make(half: Path) -> None:
    (half / "pool").mkdir()
    for package in sorted(path for path in SOURCES.iterdir() if path.is_dir()):
        _package(package, half)
    log = cache.log("gpu-packages")
    (half / INDEX).mkdir(parents=True)
    packages = run(["sh", "-c", 'cd "$1" && apt-ftparchive packages pool', "sh", str(half)])
    cache.write(half / INDEX / "Packages", packages)
    run(["gzip", "--keep", "--no-name", str(half / INDEX / "Packages")], log)
    settings = [("Origin", "airgap-lab"), ("Label", "airgap-lab"), ("Suite", SUITE), ("Codename", SUITE)]
    settings += [("Components", COMPONENT), ("Architectures", "amd64")]
    options = [f"--option=APT::FTPArchive::Release::{name}={value}" for name, value in settings]
    release = half / "dists" / SUITE / "Release"
    cache.write(release, run(["apt-ftparchive", *options, "release", str(release.parent)]))
    _sign(release, half, log)


def _package(source_folder: Path, half: Path) -> None:
    control = (source_folder / "control").read_text(encoding="utf-8")
    fields = dict(line.split(": ", 1) for line in control.splitlines() if not line.startswith(" "))
    name, version = fields["Package"], fields["Version"]
    root = half / "tree"
    if (source_folder / "root").is_dir():
        shutil.copytree(source_folder / "root", root, ignore=shutil.ignore_patterns("__pycache__"))
    if name in VERSION_FILES:
        cache.write(root / VERSION_FILES[name], version.rpartition("-")[0] + "\n")
    scripts = [path for path in source_folder.iterdir() if path.name in ("postinst", "prerm")]
    cache.write(root / "DEBIAN" / "control", control)
    for script in scripts:
        shutil.copy(script, root / "DEBIAN" / script.name)
    for path in root.rglob("*"):
        executable = path.is_dir() or path.parent.name == "bin" or path.name in ("postinst", "prerm")
        path.chmod(0o755 if executable else 0o644)
    root.chmod(0o755)
    archive = half / "pool" / f"{name}_{version}_{fields['Architecture']}.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", str(root), str(archive)], cache.log("gpu-packages"))
    cache.remove(root)


def _sign(release: Path, half: Path, log: Path) -> None:
    """With a key that lives as long as this build: another build has another key."""
    home = half / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
    run([*gpg, "--quick-generate-key", "airgap lab packages", "ed25519", "sign", "never"], log)
    run([*gpg, "--output", str(release.with_name("InRelease")), "--clear-sign", str(release)], log)
    run([*gpg, "--output", f"{release}.gpg", "--armor", "--detach-sign", str(release)], log)
    run([*gpg, "--output", str(half / "archive-key.gpg"), "--export"], log)
    run([*gpg, "--output", str(half / "archive-key.asc"), "--armor", "--export"], log)
    run(["gpgconf", "--homedir", str(home), "--kill", "all"], log)
    cache.remove(home)
