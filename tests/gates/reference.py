"""Generate docs/reference, the reference of modules and roles, from their documentation and argument specs.

Usage: tests/gates/reference.py [--check]   (--check compares and writes nothing)
"""

# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

from tree import CACHE, ROOT

REFERENCE = ROOT / "docs" / "reference"


def generate(target: Path) -> bool:
    """Write the reference into an empty directory, or say what stops it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    command = ["antsibull-docs", f"--config-file={ROOT / '.config' / 'antsibull-docs.cfg'}", "collection"]
    command += [
        "--use-current",
        "--squash-hierarchy",
        "--output-format=simplified-rst",
        "--no-add-antsibull-docs-version",
    ]
    command += ["--fail-on-error", f"--dest-dir={target}", "airgap.inference"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout, end="")
    return done.returncode == 0


def stale(fresh: Path) -> list[str]:
    """Name the files that differ between a fresh reference and the one in the tree."""
    names = {path.name for directory in (fresh, REFERENCE) if directory.is_dir() for path in directory.iterdir()}
    _same, different, absent = filecmp.cmpfiles(fresh, REFERENCE, names, shallow=False)
    return sorted([*different, *absent])


def main() -> int:
    """Generate or compare."""
    fresh = CACHE / "reference"
    if not generate(fresh):
        return 1
    names = stale(fresh)
    if "--check" not in sys.argv[1:]:
        if names:
            shutil.rmtree(REFERENCE, ignore_errors=True)
            shutil.copytree(fresh, REFERENCE)
        return 0
    if names:
        print("docs/reference is not up to date; run `make docs` and commit: " + ", ".join(names))
    return int(bool(names))


if __name__ == "__main__":
    sys.exit(main())
