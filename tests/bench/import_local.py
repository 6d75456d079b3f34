# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the import of a local bundle, mostly a model, against a plain copy of the same bytes.

Both begin with nothing of the bundle in memory and end on the disk: the copy is followed by a sync of its file system,
which the import does as well. The best of some turns counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTIONS = REPOSITORY / ".cache/collections"
MODULE = """
import os, runpy
from ansible.module_utils import basic
# The profile by which ansible-core reads arguments has a name of its own since 2.19.
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.airgap.inference.plugins.modules." + os.environ["BENCH_MODULE"], run_name="__main__")
"""
MODEL = "models/bench/0123456789abcdef"


def run(module: str, **arguments: object) -> dict[str, object]:
    """Run a module as Ansible does, in a process of its own."""
    given = {"ANSIBLE_MODULE_ARGS": {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **arguments}}
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS), "BENCH_MODULE": module}
    command = [sys.executable, "-c", MODULE]
    ended = subprocess.run(
        command, input=json.dumps(given), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, object] = json.loads(ended.stdout)
    return result


def make(directory: Path, size: int, files: int) -> tuple[Path, Path]:
    """A sealed bundle with one model of so many bytes; and who may sign it."""
    bundle, key, allowed = directory / "bundle", directory / "key", directory / "allowed_signers"
    (bundle / MODEL).mkdir(parents=True)
    lines, listed = [], []
    for number in range(files):
        path = f"model-{number + 1:05d}-of-{files:05d}.safetensors"
        digest = hashlib.sha256()
        with open(bundle / MODEL / path, "wb") as handle:
            for _chunk in range(size // files // 2**20):
                block = os.urandom(2**20)
                digest.update(block)
                handle.write(block)
            length = handle.tell()
        lines.append(f"{digest.hexdigest()}  {path}\n")
        listed.append({"path": f"{MODEL}/{path}", "size": length, "sha256": digest.hexdigest()})
    sums = "".join(lines).encode()
    (bundle / f"{MODEL}.sha256").write_bytes(sums)
    digest_of_sums = hashlib.sha256(sums).hexdigest()
    listed.append({"path": f"{MODEL}.sha256", "size": len(sums), "sha256": digest_of_sums})
    model = {
        **{"name": "bench", "revision": "0123456789abcdef", "digest": digest_of_sums, "source": "bench"},
        **{"directory": MODEL, "size": size, "files": files},
    }
    manifest = {
        **{"format": 1, "site": "bench", "created": "2026-01-01T00:00:00Z", "created_by": "bench", "files": listed},
        "artifacts": {"packages": [], "images": [], "models": [model], "controller": {}},
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "airgap-bundle", "-f", str(key), str(bundle / "manifest.json")]
    subprocess.run(sign, check=True)
    allowed.write_text(f"bench {key.with_suffix('.pub').read_text()}")
    allowed.chmod(0o644)
    return bundle, allowed


def settle(directory: Path) -> None:
    """Everything of this file system is on the disk."""
    subprocess.run(["sync", "--file-system", str(directory)], check=True)


def forget(bundle: Path) -> None:
    """Out of the memory: a drive that was just mounted is read from the drive."""
    for path in bundle.rglob("*"):
        if path.is_file():
            with open(path, "rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain_copy(bundle: Path, target: Path) -> tuple[float, float]:
    """Seconds of cp -r, and of cp -r with the sync."""
    settle(target)
    forget(bundle)
    began = time.monotonic()
    subprocess.run(["cp", "-r", str(bundle), str(target / "copy")], check=True)
    copied = time.monotonic() - began
    settle(target)
    spent = time.monotonic() - began
    shutil.rmtree(target / "copy")
    return copied, spent


def imported(bundle: Path, allowed: Path, target: Path) -> float:
    """Seconds of taking and publishing."""
    settle(target)
    forget(bundle)
    depot = str(target / "depot")
    began = time.monotonic()
    taken = run("depot_receive", bundle=str(bundle), directory=depot, allowed_signers=str(allowed))
    for kind in ("packages", "models", "manifest"):
        run("depot_publish", bundle=str(taken["bundle"]), directory=depot, allowed_signers=str(allowed), kind=kind)
    spent = time.monotonic() - began
    shutil.rmtree(depot)
    return spent


def measure(size: int, files: int, turns: int, directory: Path | None) -> tuple[float, float, float]:
    """The best seconds of cp -r, of cp -r with its sync, and of the import."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="airgap-bench-") as name:
        place = Path(name)
        place.chmod(0o755)
        bundle, allowed = make(place, size, files)
        copies, imports = [], []
        for _turn in range(turns):
            copies.append(plain_copy(bundle, place))
            imports.append(imported(bundle, allowed, place))
        return min(copied for copied, _spent in copies), min(spent for _copied, spent in copies), min(imports)


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="a directory of the file system to measure")
    given = parser.parse_args()
    copied, settled, spent = measure(int(given.gigabytes * 1e9), given.files, given.turns, given.directory)
    print(
        f"{given.gigabytes:.1f} GB in {given.files} files: cp -r {copied:.2f} s, with its sync {settled:.2f} s, "
        f"import {spent:.2f} s: {spent / settled:.2f} times the copy (aim 1.30)"
    )


if __name__ == "__main__":
    main()
