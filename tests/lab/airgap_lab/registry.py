# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry that stands for the public ones: Distribution on the loopback, its images in the cache."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from airgap_lab import cache
from airgap_lab.console import LabError, run, say

# No repository of one has the name of another's.
STANDS_FOR = ("docker.io", "ghcr.io")


def address() -> str:
    return "127.0.0.1:" + os.environ.get("AIRGAP_LAB_REGISTRY_PORT", "5055")


def folder() -> Path:
    return cache.root() / "registry"


def registries_conf() -> Path:
    """Leads `skopeo --registries-conf` from the public registries' names to the lab's."""
    return folder() / "registries.conf"


def ensure() -> None:
    """Start the registry unless it answers."""
    with cache.locked("registry"):
        _ensure()


def _ensure() -> None:
    cache.write(
        registries_conf(),
        "".join(f'[[registry]]\nprefix = "{name}"\nlocation = "{address()}"\ninsecure = true\n' for name in STANDS_FOR),
    )
    if answers():
        return
    configuration = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder() / "data")}, "delete": {"enabled": True}},
        "http": {"addr": address()},
    }
    # JSON is YAML too.
    cache.write(_configuration(), json.dumps(configuration, indent=1))
    log = cache.log("registry")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        started = subprocess.Popen(
            ["docker-registry", "serve", str(_configuration())],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    cache.write(_pid_file(), str(started.pid))
    for _attempt in range(50):
        if answers():
            say(f"registry that stands for {' and '.join(STANDS_FOR)}: {address()}")
            return
        if started.poll() is not None:
            break
        time.sleep(0.2)
    raise LabError(f"docker-registry does not answer at {address()}; see {log} or set AIRGAP_LAB_REGISTRY_PORT")


def answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://{address()}/v2/", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop() -> None:
    """End the registry that this cache's lab started, and no other."""
    if not _pid_file().exists():
        return
    pid = int(_pid_file().read_text(encoding="utf-8"))
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if str(_configuration()).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
            for _attempt in range(50):
                if not answers():
                    break
                time.sleep(0.1)
            say("registry stopped")
    _pid_file().unlink()


def has(image: str, digest: str) -> bool:
    repository = image.partition("/")[2].rpartition(":")[0]
    question = urllib.request.Request(f"http://{address()}/v2/{repository}/manifests/{digest}", method="HEAD")
    question.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
    try:
        with urllib.request.urlopen(question, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def push(layout: Path, image: str, log: Path) -> None:
    """Put an image under the name that it has at the registry it stands for."""
    ensure()
    repository = image.partition("/")[2]
    run(
        [
            "skopeo",
            "copy",
            "--preserve-digests",
            "--dest-tls-verify=false",
            f"oci:{layout}",
            f"docker://{address()}/{repository}",
        ],
        log,
    )


def _configuration() -> Path:
    return folder() / "config.yml"


def _pid_file() -> Path:
    return folder() / "pid"
