# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step that takes as long as it is told to, with a program at its side, and ends in the way that it is told to."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress


def work(seconds: int, mark: str | None) -> None:
    """50 MB each tenth of a second, in name."""
    program = subprocess.Popen(["sleep", "600"])
    try:
        with Progress("slow step", seconds * 500_000_000) as progress:
            for number in range(seconds * 10):
                progress.at(f"file-{number}")
                time.sleep(0.1)
                progress.add(50_000_000)
    finally:
        program.kill()
        if mark:
            with open(mark, "a", encoding="ascii") as handle:
                handle.write("put away\n")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "seconds": {"type": "int", "default": 0},
            "end": {"type": "str", "choices": ["well", "fail", "crash", "killed"], "default": "well"},
            "mark": {"type": "path"},
            "secret": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    module.warn("a warning")
    work(params["seconds"], params["mark"])
    if params["end"] == "crash":
        raise RuntimeError("crashed")
    if params["end"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if params["end"] == "fail":
        module.fail_json(msg="failed as asked", reasons=["a", {"b": None}])
    text = "ä€\n\x00\u2028" + "long" * 5000 + (params["secret"] or "")
    diff = {"before": "a\n", "after": "b\n"}
    module.exit_json(changed=not module.check_mode, text=text, user=getpass.getuser(), diff=diff)


if __name__ == "__main__":
    main()
