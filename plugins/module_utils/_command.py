# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program and says clearly what went wrong when it could not."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


class Result(NamedTuple):
    """What a program left behind."""

    rc: int
    stdout: bytes
    stderr: str


def run(
    argv: list[str],
    *,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    cwd: str | None = None,
) -> Result:
    """Run without a shell, in a plain locale, and return whatever the exit status was."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, env=environment, cwd=cwd, check=False)
    except FileNotFoundError as error:
        raise AirgapError(
            f"The program {argv[0]} is not on this machine; install it, or put it on the PATH."
        ) from error
    except OSError as error:
        raise AirgapError(f"The program {argv[0]} could not be started: {error.strerror or error}.") from error
    return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def require(
    argv: list[str],
    doing: str,
    *,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    cwd: str | None = None,
) -> bytes:
    """Run and return the standard output; a failure is told with the program's own last words."""
    result = run(argv, stdin=stdin, env=env, cwd=cwd)
    if result.rc != 0:
        raise AirgapError(f"{doing}: {os.path.basename(argv[0])} failed ({result.rc}): {last_words(result)}")
    return result.stdout


def last_words(result: Result, lines: int = 12) -> str:
    """The end of what a program said; the reason stands there."""
    said = result.stderr.strip() or result.stdout.decode("utf-8", "replace").strip() or "it said nothing."
    return "\n".join(said.splitlines()[-lines:])
