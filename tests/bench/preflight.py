# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook preflight for a site of many hosts: how many tasks each of them costs, and how long all of it takes.

The hosts are this machine, each with an nvidia-smi of its own (tests/staging/preflight_room.py), so the seconds are those of two
cores that play 40 hosts; the tasks are the same as over SSH.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".cache" / "collections"), str(ROOT / "tests" / "staging")]


class Cost(NamedTuple):
    """What the recap says: the most tasks of a host, without those that run once for all, and these."""

    most: int
    once: int
    seconds: float


def measure(hosts: int = 40) -> Cost:
    """Run it for a site whose hosts have two instances each."""
    # Not a package: the tests find it beside them.
    preflight_room = importlib.import_module("preflight_room")
    from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import placement_models as models

    with tempfile.TemporaryDirectory(prefix="airgap-bench-") as folder:
        room = preflight_room.Room(Path(folder))
        room.model("small", models.LLAMA_8B)
        room.site["airgap_instances"] = [preflight_room.CHAT, {**preflight_room.CHAT, "name": "other"}]
        for number in range(hosts):
            room.host(f"gpu{number:02}")
        start = time.monotonic()
        ended = room.run("--forks", "10")
        seconds = time.monotonic() - start
    recap = re.findall(r"^gpu\d+\s*: ok=(\d+) .* skipped=(\d+)", ended.stdout, re.MULTILINE)
    if ended.returncode != 0 or len(recap) != hosts:
        sys.exit(f"bench: the preflight did not end well:\n{ended.stdout}{ended.stderr}")
    counts = sorted(int(done) + int(skipped) for done, skipped in recap)
    # What runs once is counted for one host.
    return Cost(counts[-2], counts[-1] - counts[-2], seconds)


if __name__ == "__main__":
    cost = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
    print(f"preflight: {cost.most} tasks a host (aim 5), {cost.once} for all of them together, {cost.seconds:.1f} s")
