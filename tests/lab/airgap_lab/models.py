# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's models: small, real in every file, written by the libraries that write such files."""

from __future__ import annotations

from pathlib import Path

from airgap_lab import cache
from airgap_lab.console import run

# The first two in the versions that the engine image has too.
REQUIREMENTS = ("torch==2.13.0", "transformers==5.19.0", "numpy", "gguf==0.19.0", "peft==0.21.2")
WRITER = cache.HERE / "write_models.py"
NAMES = (
    "tiny",
    "tiny-broken",
    "heads-10-5",
    "tiny-gguf",
    "tiny-gguf-broken",
    "tiny-embed",
    "tiny-rerank",
    "tiny-adapter",
)


def key() -> str:
    return cache.key(WRITER, WRITER.with_name("write_gguf.py"), WRITER.with_name("write_ranker.py"), *REQUIREMENTS)


def folder() -> Path:
    return cache.built("models", key())


def build() -> None:
    cache.build("models", key(), "models", _make)


def _make(half: Path) -> None:
    """The environment is large and used once, so it goes again."""
    cache.free_space(3)
    environment = cache.root() / "tmp" / "models-venv"
    cache.remove(environment)
    log = cache.log("models")
    run(["python3", "-m", "venv", str(environment)], log)
    python = str(environment / "bin" / "python3")
    run([python, "-m", "pip", "install", "--no-compile", *REQUIREMENTS], log)
    run([python, "-m", f"airgap_lab.{WRITER.stem}", str(half)], log, {"PYTHONPATH": str(cache.LAB)})
    cache.remove(environment)
