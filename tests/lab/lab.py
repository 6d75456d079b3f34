# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line: build, up, down, status, paths. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from airgap_lab import cache, host_image, machine, paths, room, steps
from airgap_lab.console import LabError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.py", description="Builds and runs the lab.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build what is missing or out of date")
    build.add_argument("steps", nargs="*", metavar="step", help=", ".join(steps.STEPS) + "; default: all")
    up = verbs.add_parser("up", help="start a room; what runs already is kept")
    up.add_argument("--hosts", type=int, default=1, help="how many GPU hosts (default: 1)")
    up.add_argument(
        "--release",
        default=host_image.RELEASE,
        choices=host_image.RELEASES,
        help="Debian of the GPU hosts (default: trixie)",
    )
    up.add_argument("--drive", type=Path, help="folder that the bastion sees as the drive (default: in the cache)")
    down = verbs.add_parser("down", help="remove a room: containers, volumes and network")
    status = verbs.add_parser("status", help="what is built and what runs")
    where = verbs.add_parser("paths", help="everything playbooks need to know, as JSON")
    for verb in (up, down, where):
        verb.add_argument("--name", default="demo", help="the room's name (default: demo)")
    status.set_defaults(name="demo")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    try:
        if arguments.verb == "status":
            paths.status()
            return 0
        if arguments.verb == "paths":
            print(json.dumps(paths.describe(room.Room(arguments.name)), indent=1, sort_keys=True))
            return 0
        with cache.locked("machine"):
            machine.prepare()
        if arguments.verb == "build":
            steps.build(arguments.steps)
            return 0
        here = room.Room(arguments.name)
        if arguments.verb == "up":
            steps.build(["host"])
            host_image.build(arguments.release)
        with cache.locked("room-" + here.name):
            if arguments.verb == "up":
                room.up(here, arguments.hosts, (arguments.drive or here.drive()).resolve(), arguments.release)
            else:
                room.down(here)
    except LabError as problem:
        print(f"lab: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
