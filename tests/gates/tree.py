"""A copy of the collection as Git knows it, in the path that ansible-test and the build of the tarball want."""

# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"


def copy_tree(name: str) -> Path:
    """Copy what Git tracks or would track (no ignored files) to .cache/<name>, always afresh, and return the collection's path."""
    parent = CACHE / name
    collection = parent / "ansible_collections" / "airgap" / "inference"
    shutil.rmtree(parent, ignore_errors=True)
    # As root in a checkout of another user, Git would refuse to list files.
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    for name_bytes in listing.stdout.split(b"\0"):
        source = ROOT / os.fsdecode(name_bytes)
        if name_bytes and (source.is_symlink() or source.is_file()):
            target = collection / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # Without a repository of its own, ansible-test finds the one above, where .cache is ignored, and nothing to test.
    subprocess.run(["git", "init", "--quiet", str(collection)], check=True)
    return collection
