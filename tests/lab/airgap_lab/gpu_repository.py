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
# The driver's packages, the newest last. The older one is there to be upgraded from, and to be asked for by its version.
VERSIONS = ("580.95.05", "580.105.08")
PLACE = "@VERSION@"


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
        for version in VERSIONS if PLACE in (package / "control").read_text(encoding="utf-8") else VERSIONS[-1:]:
            _package(package, version, half)
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


def _package(source_folder: Path, driver: str, half: Path) -> None:
    """One version of a package: the driver's version stands where its files have a place for it, in names as well."""
    root = half / "tree"
    if (source_folder / "root").is_dir():
        shutil.copytree(source_folder / "root", root, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("control", "postinst", "prerm"):
        if (source_folder / script).exists():
            (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
            shutil.copy(source_folder / script, root / "DEBIAN" / script)
    # The deepest first: a folder's own name changes last.
    for path in sorted(root.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if path.is_file():
            path.write_text(path.read_text(encoding="utf-8").replace(PLACE, driver), encoding="utf-8")
        executable = path.is_dir() or path.parent.name in ("bin", "sbin") or path.name in ("postinst", "prerm")
        path.chmod(0o755 if executable else 0o644)
        if PLACE in path.name:
            path.rename(path.with_name(path.name.replace(PLACE, driver)))
    root.chmod(0o755)
    control = (root / "DEBIAN" / "control").read_text(encoding="utf-8")
    fields = dict(line.split(": ", 1) for line in control.splitlines() if not line.startswith(" "))
    archive = half / "pool" / f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.deb"
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
