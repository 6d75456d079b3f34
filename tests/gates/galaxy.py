"""Build the collection's tarball and let galaxy-importer, the gate of a Galaxy server, read it."""

# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import subprocess
import sys

from tree import copy_tree


def main() -> int:
    """Build, import, and fail on what the importer calls an error."""
    collection = copy_tree("galaxy")
    output = collection.parents[2]
    build = ["ansible-galaxy", "collection", "build", "--output-path", str(output), str(collection)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    tarball = next(output.glob("airgap-inference-*.tar.gz"))
    imported = subprocess.run(
        [sys.executable, "-m", "galaxy_importer.main", str(tarball)],
        # The importer writes its result into the current directory.
        cwd=output,
        # The importer's ansible-lint looks for collections one directory too deep, and misses every playbook that
        # another imports; the gate ansible-lint asks for more and finds them. ansible-test is a gate as well.
        env={**os.environ, "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false", "GALAXY_IMPORTER_RUN_ANSIBLE_TEST": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(imported.stdout)
    # It exits with 0 on much that it reports.
    complaints = re.search(r"^(ERROR|WARNING)|\bError\b", imported.stdout, re.MULTILINE)
    return int(bool(imported.returncode or complaints))


if __name__ == "__main__":
    sys.exit(main())
