# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second engine's image: Debian's llama-server for CPUs, laid out as the public image is."""

from __future__ import annotations

from airgap_lab.debian import Recipe
from airgap_lab.public_images import PublicImage

IMAGE = "ghcr.io/ggml-org/llama.cpp:server"
# The first release that has the program; its C library is too new for the one before.
RELEASE = "forky"
INCLUDE = ("llama.cpp-tools", "curl")
# As in https://github.com/ggml-org/llama.cpp/blob/master/.devops/cpu.Dockerfile
PROGRAM = "/app/llama-server"
SETTINGS = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LLAMA_ARG_HOST=0.0.0.0"],
    "Entrypoint": [PROGRAM],
}
HOOKS = (
    'mkdir "$1/app" && ln -s /usr/bin/llama-server "$1' + PROGRAM + '"',
    f'chroot "$1" {PROGRAM} --version',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
)
PUBLIC = PublicImage("llama", IMAGE, Recipe(RELEASE, INCLUDE, HOOKS, unreleased=True), SETTINGS)


def build() -> None:
    PUBLIC.build({})
