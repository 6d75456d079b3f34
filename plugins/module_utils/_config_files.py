# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of configuration files, written together: compared, checked as a set, then put in place one by one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from typing import Container, Iterable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import last_words, run
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# User and password in a URL.
_USER = re.compile(r"://([^/\s]*)@")


class File(NamedTuple):
    """One file as it shall be."""

    path: str
    content: str
    validate: str | None


def current(path: str) -> str | None:
    """The text of a file, or None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise AirgapError(f"{path} is a directory, where a file shall be; move it away.") from error
    except OSError as error:
        raise AirgapError(f"{path} could not be read: {error.strerror}.") from error


def differing(files: list[File]) -> list[File]:
    """Those of the files whose text is not in place."""
    return [file for file in files if current(file.path) != file.content]


def check(files: list[File], changed: list[File], validate: str | None) -> None:
    """Hold the candidates against their checkers before any of them is put in place."""
    names = [os.path.basename(file.path) for file in files]
    if validate and len(set(names)) != len(names):
        raise AirgapError(f"validate needs files of different names, since it sees them in one directory: {names}.")
    with tempfile.TemporaryDirectory(prefix="airgap-") as stage:
        # The checker may be a container with another user.
        os.chmod(stage, 0o755)
        for file in changed:
            if file.validate:
                _run(file.validate, _put(stage, file), file.path)
        if validate:
            for file in files:
                _put(stage, file)
            _run(validate, stage, ", ".join(file.path for file in changed))


def make_parents(path: str) -> None:
    """The directories above a file, readable by all."""
    missing: list[str] = []
    parent = os.path.dirname(path)
    while parent and not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o755)
        except OSError as error:
            raise AirgapError(f"The directory {directory} could not be made: {error.strerror}.") from error
        os.chmod(directory, 0o755)


def difference(files: list[File], secret: Container[str] = ()) -> list[dict[str, str]]:
    """What --diff shows; of files at secret paths, that they change."""
    return [
        {
            "before_header": file.path,
            "after_header": file.path,
            "before": _shown(file.path, current(file.path) or "", "as it was", secret),
            "after": _shown(file.path, file.content, "as it shall be", secret),
        }
        for file in files
    ]


def without_secrets(message: str, texts: Iterable[str]) -> str:
    """A message in which no value of such texts stands, files of environment variables as systemd reads them."""
    lines = [line for text in texts for line in text.splitlines() if not line.startswith("#")]
    values = [line.partition("=")[2].strip().strip('"') for line in lines]
    values += [re.sub(r"\\(.)", r"\1", value) for value in values]
    values += [part for value in values for found in _USER.findall(value) for part in (found, found.partition(":")[2])]
    # Of one or two characters there is no secret to keep, and much of a message would go with them.
    for value in sorted({value for value in values if len(value) > 2}, key=len, reverse=True):
        message = message.replace(value, "********")
    return message


def _shown(path: str, text: str, which: str, secret: Container[str]) -> str:
    return f"(not shown, {which})\n" if text and path in secret else text


def _put(stage: str, file: File) -> str:
    path = os.path.join(stage, os.path.basename(file.path))
    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.write(file.content)
    os.chmod(path, 0o644)
    return path


def _run(validate: str, path: str, what: str) -> None:
    if "%s" not in validate:
        raise AirgapError(f"validate is {validate!r}; it must contain %s, which becomes the path to check.")
    argv = [part.replace("%s", path) for part in shlex.split(validate)]
    if shutil.which(argv[0]) is None:
        raise AirgapError(f"{what} could not be checked: {argv[0]} is not on this host.")
    result = run(argv)
    if result.rc != 0:
        raise AirgapError(
            f"{what} is not valid, so nothing was changed. {shlex.join(argv)} says:\n{last_words(result)}"
        )
