# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file by which containers name GPUs (CDI), held against what the NVIDIA container toolkit would write now."""

from __future__ import annotations

import glob
import os
import re
import shlex
from typing import Iterable

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

KIND = "nvidia.com/gpu"
# Where Docker and the toolkit look; the later one wins (github.com/cncf-tags/container-device-interface, SPEC.md).
DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
# Both names are those of the toolkit's own nvidia-cdi-refresh.service, so that it and this collection write one file.
OUTPUT = "/var/run/cdi/nvidia.yaml"
ENVIRONMENT = "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"
OUTPUT_VARIABLE = "NVIDIA_CTK_CDI_OUTPUT_FILE_PATH"

_NAME = re.compile(r'^\s*(?:- )?"?name"?: "?([^",\n]+?)"?,?\s*$', re.MULTILINE)
_KIND = re.compile(r'^\s*"?kind"?: "?' + re.escape(KIND) + r'"?,?\s*$', re.MULTILINE)


def settings(text: str) -> dict[str, str]:
    """The variables of a file that systemd reads as EnvironmentFile=."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, assigned, value = line.strip().partition("=")
        if not assigned or name.startswith(("#", ";")):
            continue
        try:
            found[name.strip()] = " ".join(shlex.split(value))
        except ValueError as error:
            raise AirgapError(f"{ENVIRONMENT} has a line that cannot be read ({error}): {line.strip()}") from error
    return found


def toolkit_settings() -> dict[str, str]:
    """What the host tells nvidia-cdi-refresh.service."""
    try:
        with open(ENVIRONMENT, encoding="utf-8") as file:
            return settings(file.read())
    except FileNotFoundError:
        return {}


def output(variables: dict[str, str]) -> str:
    """The file that the toolkit's own service writes."""
    return variables.get(OUTPUT_VARIABLE) or OUTPUT


def create_nodes(variables: dict[str, str]) -> list[str]:
    """Make the driver's control nodes that are missing, and name them; a description made without them lacks them.

    As nvidia-cdi-refresh.service does from 1.20 on. Not every host needs it, and old versions cannot do all of it.
    """
    before = set(glob.glob("/dev/nvidia*"))
    command = ["nvidia-ctk", "system", "create-device-nodes", "--control-devices", "--load-kernel-modules"]
    run(command, env=variables)
    return sorted(set(glob.glob("/dev/nvidia*")) - before)


def generate(variables: dict[str, str], path: str) -> str:
    """Describe the GPUs as they are now, into a file of one's own."""
    result = run(["nvidia-ctk", "cdi", "generate", f"--output={path}"], env={**variables, OUTPUT_VARIABLE: path})
    if result.rc != 0:
        raise AirgapError(
            f"The NVIDIA container toolkit cannot describe the GPUs of this host (nvidia-ctk ended with {result.rc}): "
            f"{last_words(result)}\nIt asks the driver: 'nvidia-smi -L' shows whether that answers, and with which GPUs."
        )
    with open(path, encoding="utf-8") as file:
        return file.read()


def devices(text: str) -> list[str]:
    """The devices that a description names, as containers ask for them."""
    return [f"{KIND}={name}" for name in _NAME.findall(text)]


def refusal(text: str) -> str | None:
    """Why no container could get a GPU by this description, or None."""
    names = [name for name in _NAME.findall(text) if name != "all"]
    if names:
        return None
    return (
        "The NVIDIA container toolkit describes no GPU of this host. 'nvidia-smi -L' shows what the driver has: where MIG is on, "
        "a GPU without instances cannot be used; state gpu_host_mig, or switch MIG off."
    )


def others(path: str, directories: Iterable[str] = DIRECTORIES) -> dict[str, str]:
    """Other files that describe devices of the same kind: path and text."""
    found = {}
    for directory in directories:
        for other in sorted(glob.glob(f"{directory}/*.yaml") + glob.glob(f"{directory}/*.json")):
            if os.path.realpath(other) == os.path.realpath(path):
                continue
            with open(other, encoding="utf-8", errors="replace") as file:
                text = file.read()
            if _KIND.search(text):
                found[other] = text
    return found


def remarks(path: str, text: str, other_files: dict[str, str]) -> list[str]:
    """What is to be said of other files beside this description."""
    known = set(devices(text))
    said = []
    for other, content in other_files.items():
        stale = sorted(set(devices(content)) - known)
        if os.path.realpath(os.path.dirname(other)) == os.path.realpath(os.path.dirname(path)):
            said.append(
                f"{other} and {path} describe the same devices ({KIND}) in one directory, so Docker gives none of them. Remove {other}."
            )
        elif stale:
            said.append(
                f"{other} offers {', '.join(stale)}, which this host does not have (any more). Remove it; {path} describes the GPUs."
            )
    return said
