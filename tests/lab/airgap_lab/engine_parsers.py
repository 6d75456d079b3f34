# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines' own parsers: vLLM's and llama.cpp's in the lab's images, SGLang's from its wheel, in vLLM's image, which has what it imports."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from airgap_lab import cache, engine_image, llama_image, registry, wheels
from airgap_lab.console import run

SGLANG = "0.5.23"
# With what vLLM's image lacks of what SGLang's parser imports.
SGLANG_PACKAGES = (f"sglang=={SGLANG}", "orjson==3.13.0")
ASK = cache.HERE / "ask_parser.py"

# Where a flag's description begins: after two blanks or more, which do not follow a comma.
_DESCRIPTION = re.compile(r"(?<![,\s])\s{2,}")
_REMOVED = "the argument has been removed"


class Answer(NamedTuple):
    version: str
    source: str
    flags: list[str]
    #: For each command line what the parser says to it, or nothing.
    refused: list[str]


def ask(engine: str, command_lines: Sequence[Sequence[str]] = ()) -> Answer:
    """The command lines are without the program and its subcommand."""
    return {"vllm": _vllm, "sglang": _sglang, "llama-cpp": _llama}[engine](command_lines)


def packages() -> Path:
    """SGLang as it comes from the index, unpacked; nothing that it depends on, and nothing that runs a model."""
    return cache.build("sglang", cache.key(*SGLANG_PACKAGES), "SGLang's packages", _unpack)


def _unpack(half: Path) -> None:
    wheels.download(SGLANG_PACKAGES, half, "sglang", dependencies=False)
    for wheel in half.glob("*.whl"):
        run(["python3", "-m", "zipfile", "--extract", str(wheel), str(half)])
        wheel.unlink()


def _vllm(command_lines: Sequence[Sequence[str]]) -> Answer:
    source = f"vllm.entrypoints.launchers.cli_args of {engine_image.IMAGE}"
    return _python("vllm", source, [], command_lines)


def _sglang(command_lines: Sequence[Sequence[str]]) -> Answer:
    there = ["--volume", f"{packages()}:/packages:ro", "--env", "PYTHONPATH=/packages"]
    return _python("sglang", f"sglang.srt.server_args of the wheel sglang {SGLANG}", there, command_lines)


def _python(engine: str, source: str, options: Sequence[str], command_lines: Sequence[Sequence[str]]) -> Answer:
    with _loaded(engine_image.IMAGE) as image:
        command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--volume", f"{ASK}:/ask.py:ro"]
        command += ["--env", "PYTHONDONTWRITEBYTECODE=1", *options, "--entrypoint", "python3", image, "/ask.py", engine]
        said = json.loads(run(command, text_input=json.dumps(list(command_lines))).splitlines()[-1])
    # A build's own mark is no part of the version: 0.32.0+cpu.
    return Answer(said["version"].partition("+")[0], source, said["flags"], said["refused"])


def _llama(command_lines: Sequence[Sequence[str]]) -> Answer:
    with _loaded(llama_image.IMAGE) as image:
        program = ["docker", "run", "--rm", "--network", "none", "--entrypoint", llama_image.PROGRAM, image]
        described = subprocess.run([*program, "--version"], check=True, capture_output=True, text=True)
        found = re.search(r"version: (\S+)", described.stdout + described.stderr)
        flags = help_flags(run([*program, "--help"]))
        refused = []
        for command_line in command_lines:
            # It reads the words in their order, and at this one it has read all of them and ends.
            done = subprocess.run([*program, *command_line, "--version"], check=False, capture_output=True, text=True)
            refused.append("" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[-1])
    version = found.group(1) if found else ""
    return Answer(version, f"llama-server --help of {llama_image.IMAGE} ({version})", flags, refused)


def help_flags(text: str) -> list[str]:
    """Every long flag of llama-server's help, but for those that say that they are no more."""
    flags: set[str] = set()
    for block in re.split(r"\n(?=-)", text):
        head = _DESCRIPTION.split(block, 1)[0]
        if _REMOVED not in " ".join(block.split()):
            flags.update(re.findall(r"(?:^|\s)(--[a-z0-9][a-z0-9.-]*)", head))
    return sorted(flags - {"--help", "--usage"})


@contextlib.contextmanager
def _loaded(image: str) -> Iterator[str]:
    """An image of the lab's registry in the machine's Docker, for as long as it is needed."""
    repository, _colon, tag = image.partition("/")[2].rpartition(":")
    name = f"{registry.address()}/{repository}:{tag}"
    had = bool(run(["docker", "images", "--quiet", name]).strip())
    run(["docker", "pull", "--quiet", name])
    try:
        yield name
    finally:
        if not had:
            run(["docker", "rmi", name])
