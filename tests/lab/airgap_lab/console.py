# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees: one line when a step starts, one when it ends; the rest goes to a log."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class LabError(Exception):
    """Something a person can act on; shown without a traceback."""


def say(text: str) -> None:
    print("lab: " + text, flush=True)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    say(what + " ...")
    start = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - start:.1f} s")


def run(
    command: Sequence[str],
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    text_input: str | None = None,
) -> str:
    """Run a command and return what it wrote to standard output; with a log, everything goes there instead."""
    merged = dict(os.environ, **(environment or {}))
    if log is None:
        done = subprocess.run(list(command), env=merged, input=text_input, capture_output=True, text=True, check=False)
        output, tail = done.stdout, done.stderr
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write("$ " + " ".join(command) + "\n")
            stream.flush()
            done = subprocess.run(
                list(command),
                env=merged,
                input=text_input,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        output, tail = "", log.read_text(encoding="utf-8", errors="replace")
    if done.returncode != 0:
        lines = "\n".join("    " + line for line in tail.strip().splitlines()[-25:])
        where = "" if log is None else f" (all of it: {log})"
        raise LabError(f"`{' '.join(command)[:300]}` ended with code {done.returncode}{where}:\n{lines}")
    return output


def succeeds(command: Sequence[str]) -> bool:
    return (
        subprocess.run(list(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    )
