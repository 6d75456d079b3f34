# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the way in the running lab of `make demo`, and print each figure beside its aim.

Figures depend on the machine, so they are printed as ratios to their aims and never asserted. The demo's lab must
be up: the registry, the model and the hosts are the ones that it made.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

import bundle
import gateway
import import_local
import model_directory
import preflight
import site_description

PLAYBOOK = ("/opt/airgap/bin/ansible-playbook", "-i", "/media/airgap/site")
REGISTRY_CONFIGURATION = """
version: 0.1
storage: {filesystem: {rootdirectory: /srv/bench-registry}}
http: {addr: "127.0.0.1:5999"}
"""


def on(container: str, *command: str, text: str = "") -> str:
    """Run a command in a container of the lab and return what it printed."""
    ended = subprocess.run(
        ["docker", "exec", "-i", container, *command], input=text, check=True, stdout=subprocess.PIPE, text=True
    )
    return ended.stdout


def row(figure: str, measured: float, aim: float, unit: str, note: str = "") -> None:
    """Print one figure; a ratio of at most 1 meets the aim."""
    print(f"{figure:<58} {measured:8.2f} {unit:<7} aim {aim:6.2f}   {measured / aim:5.2f} of the aim   {note}")


def demo(lab: site_description.Lab) -> None:
    """The demo, as its last run recorded it."""
    seconds: dict[str, float] = json.loads((lab.directory / "demo-timings.json").read_text())
    steps = ", ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items())
    row("demo, its last run (30 with nothing cached)", sum(seconds.values()) / 60, 10, "min", steps)


def registry(lab: site_description.Lab) -> None:
    """The engine's image into an empty registry of the bastion, and once more."""
    bastion = lab.bastion
    host = lab.described["room"]["hosts"]["gpu1"]["container"]
    raw = sum(
        int(size) for size in on(host, "sh", "-c", "docker image inspect -f '{{.Size}}' $(docker image ls -q)").split()
    )
    on(
        bastion,
        "sh",
        "-c",
        "mkdir -p /srv/bench-registry && cat > /run/bench-registry.yml",
        text=REGISTRY_CONFIGURATION,
    )
    on(bastion, "systemd-run", "--unit=bench-registry", "docker-registry", "serve", "/run/bench-registry.yml")
    try:
        time.sleep(1)
        module = (
            "/opt/airgap/bin/ansible",
            "-i",
            "/media/airgap/site",
            "bastion",
            "-m",
            "airgap.inference.depot_images",
        )
        arguments = ("-a", "bundle=/media/airgap/bundle registry=127.0.0.1:5999")
        spent = []
        for _turn in range(2):
            start = time.monotonic()
            on(bastion, *module, *arguments)
            spent.append(time.monotonic() - start)
        start = time.monotonic()
        on(bastion, *module[:5], "ansible.builtin.ping")
        ansible = time.monotonic() - start
    finally:
        on(bastion, "systemctl", "stop", "bench-registry")
        on(bastion, "rm", "-rf", "/srv/bench-registry")
    gigabytes = raw / 1e9
    row(
        "images into the registry, per raw GB", (spent[0] - ansible) / gigabytes, 1.5, "s/GB", f"{gigabytes:.1f} GB raw"
    )
    row(
        "the same images once more, per image",
        max(0.0, spent[1] - ansible) / 2,
        0.1,
        "s",
        f"less {ansible:.1f} s of Ansible",
    )


def second_deploy(lab: site_description.Lab) -> None:
    """A deploy that has nothing to do."""
    start = time.monotonic()
    output = on(lab.bastion, *PLAYBOOK, "airgap.inference.deploy")
    spent = time.monotonic() - start
    recap = re.search(r"^gpu1\s.*ok=(\d+)\s+changed=(\d+).*skipped=(\d+)", output, re.MULTILINE)
    if recap is None:
        sys.exit(f"bench: the deploy printed no recap of gpu1:\n{output}")
    tasks, changed, skipped = recap.groups()
    row("second deploy, one host", spent, 90, "s", f"{tasks} tasks on the host, {skipped} skipped, changed={changed}")


def the_bundle() -> None:
    """Hashing, a difference, and an import beside a plain copy: of bundles that are made for it, in the temporary directory."""
    one, every, cores = bundle.hashing(2 * 10**9)
    row("hashing, seconds a GB with one core", 1e9 / one, 1 / 1.5, "s/GB", f"{cores} cores: {every / 1e9:.2f} GB/s")
    whole, carried, files = bundle.difference(2 * 10**9)
    row(
        "a small model (1 MiB) more: what travels", carried / 2**20, 1.0, "MiB", f"of {whole} bytes: {len(files)} files"
    )
    _copied, settled, spent = import_local.measure(3 * 10**9, 3, 3, None)
    row(
        "import of 3 GB from a cold source, by cp and its sync",
        spent / settled,
        1.3,
        "",
        f"{spent:.1f} s, {settled:.1f} s",
    )


def the_model() -> None:
    """A large model's directory, described."""
    seconds, cold = model_directory.measure()
    row(
        "a model of 1,000 files and 700 GB described",
        seconds,
        model_directory.AIM,
        "s",
        "cold" if cold else "contents cold",
    )


def the_preflight() -> None:
    """Forty hosts that this machine plays."""
    cost = preflight.measure(40)
    row(
        "preflight of 40 hosts, tasks a host",
        cost.most,
        5,
        "tasks",
        f"{cost.once} more for all of them, {cost.seconds:.0f} s",
    )


def the_gateway() -> None:
    """The gateway beside its engine asked directly, and a minute of 200 streams."""
    for figure in gateway.figures(gateway.measure()):
        row(*figure)


def main() -> None:
    """Print every figure."""
    lab = site_description.Lab.named("demo")
    demo(lab)
    registry(lab)
    second_deploy(lab)
    the_bundle()
    the_model()
    the_preflight()
    the_gateway()


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f"bench: {error.filename} is not there; run `make demo` first, the figures are taken in its lab")
    except KeyError as error:
        sys.exit(f"bench: the demo's lab is not up ({error} is missing); run `make demo` first")
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: `{' '.join(error.cmd)}` ended with status {error.returncode}")
