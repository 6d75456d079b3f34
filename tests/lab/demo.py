# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way once, on one machine: stage, carry, bootstrap, import, preflight, deploy, verify, ask.

The connected side is this machine. The isolated side is two containers on a network with no way out: from the
moment the drive is mounted in the bastion, every command runs there, as an engineer would type it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import site_description

REPOSITORY = site_description.REPOSITORY
NAME = "demo"
QUESTION = "Which way did this answer come?"

PLAYBOOK = ("/opt/airgap/bin/ansible-playbook", "-i", "/media/airgap/site")
CURL = ("curl", "--cacert", "/srv/airgap/ca.pem", "--header", "@/etc/airgap/client.header")

# What an engineer types beyond the gap, in this order; the README shows these very lines.
BEYOND_THE_GAP: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "bootstrap",
        "the drive is in the bastion: its controller comes from the bundle alone",
        ("sh", "/media/airgap/bundle/bootstrap"),
    ),
    (
        "import",
        "check the seal and every file, publish packages, images and models",
        (*PLAYBOOK, "airgap.inference.import"),
    ),
    (
        "preflight",
        "see whether it can work, before anything is changed",
        (*PLAYBOOK, "airgap.inference.preflight"),
    ),
    (
        "deploy",
        "converge the GPU host over SSH: driver, runtime, model, engine, gateway",
        (*PLAYBOOK, "airgap.inference.deploy"),
    ),
    ("verify", "prove it from a client's seat", (*PLAYBOOK, "airgap.inference.verify")),
    ("models", "what a client may ask for", (*CURL, "https://gpu1/v1/models")),
)


def stage(site: str) -> tuple[str, ...]:
    """The one command of the connected side."""
    return ("ansible-playbook", "-i", site, "airgap.inference.stage")


class Way:
    """The steps of the demo, counted and timed."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, said: str) -> Iterator[None]:
        """Say what begins, and how long it took."""
        print(f"\n\033[1m[{len(self.seconds) + 1}/{self.total}] {name}: {said}\033[0m", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        print(f"      {name} took {self.seconds[name]:.0f} s", flush=True)


def on_this_machine(*command: str, **environment: str) -> None:
    """Run a command here; its failure ends the demo."""
    print(f"      $ {shlex.join(command)}", flush=True)
    subprocess.run(command, check=True, cwd=REPOSITORY, env={**os.environ, **environment})


def on_the_bastion(container: str, *command: str) -> None:
    """Run a command on the bastion, beyond the gap; its failure ends the demo."""
    print(f"      bastion$ {shlex.join(command)}", flush=True)
    subprocess.run(["docker", "exec", container, *command], check=True)


def question(bastion: str) -> list[str]:
    """A curl command line that asks from the bastion; the key is read from a file, it stands in no command line."""
    body = {"model": "tiny", "max_tokens": 24, "messages": [{"role": "user", "content": QUESTION}]}
    return [
        *("docker", "exec", bastion, *CURL, "--silent", "--show-error", "--fail-with-body"),
        *("--header", "Content-Type: application/json", "--data", json.dumps(body)),
        "https://gpu1/v1/chat/completions",
    ]


def main() -> None:
    """Go the whole way."""
    way = Way(3 + len(BEYOND_THE_GAP))
    lab_command = (sys.executable, "tests/lab/lab.py")
    with way.step("lab", "images, packages, models and hosts that stand for a site (built once, then cached)"):
        on_this_machine(*lab_command, "build")
        on_this_machine(*lab_command, "up", "--name", NAME)
        lab = site_description.Lab.named(NAME)
        site_description.write_site(lab, lab.drive / "site")
    with way.step("stage", "on the connected side: resolve, fetch and seal the bundle"):
        program, *arguments = stage(str(lab.drive / "site"))
        on_this_machine(str(Path(sys.executable).with_name(program)), *arguments)
    for name, said, command in BEYOND_THE_GAP:
        with way.step(name, said):
            on_the_bastion(lab.bastion, *command)
    with way.step("ask", "a question from the client's seat"):
        ask = question(lab.bastion)
        answer = json.loads(subprocess.run(ask, check=True, stdout=subprocess.PIPE).stdout)
    (lab.directory / "demo-timings.json").write_text(json.dumps(way.seconds, indent=2) + "\n")

    content = answer["choices"][0]["message"]["content"]
    print(f"\nAsked:    {QUESTION}")
    print(f"Answered: {content!r}   (random weights: the way is real, the words are not)")
    print("Address:  https://gpu1/v1, in the lab's room")
    print(f"All of it took {sum(way.seconds.values()) / 60:.1f} minutes. Ask again:\n\n  {shlex.join(ask)}\n")
    print("The lab keeps running. `make demo` again changes nothing; `make demo-down` ends it.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        command = shlex.join(map(str, error.cmd))
        sys.exit(f"\nThe demo stops here: `{command}` ended with status {error.returncode}; its words are above.")
