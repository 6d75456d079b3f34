# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps what it built, and when that is still good."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from airgap_lab.console import LabError, run, say, timed

HERE = Path(__file__).resolve().parent
LAB = HERE.parent


def root() -> Path:
    """$AIRGAP_CACHE, else the user's cache folder."""
    explicit = os.environ.get("AIRGAP_CACHE")
    if explicit:
        return Path(explicit).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).resolve() / "airgap-inference"


def log(step: str) -> Path:
    return root() / "logs" / (step + ".log")


def key(*inputs: str | Path) -> str:
    """A short hash of everything that decides a result: strings, files and whole folders."""
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, str):
            _feed(digest, "text", item.encode())
        elif item.is_dir():
            for path in sorted(p for p in item.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
                _feed(digest, path.relative_to(item).as_posix(), path.read_bytes())
        else:
            _feed(digest, item.name, item.read_bytes())
    return digest.hexdigest()[:16]


def _feed(digest: hashlib._Hash, name: str, content: bytes) -> None:
    digest.update(f"{name} {len(content)}\n".encode())
    digest.update(content)


def built(step: str, step_key: str) -> Path:
    return root() / step / step_key


def build(step: str, step_key: str, what: str, make: Callable[[Path], None]) -> Path:
    """Make a step's folder once for each key. A half-made one never gets the final name."""
    target = built(step, step_key)
    if target.is_dir():
        say(f"{what}: up to date")
        return target
    half = target.with_name(step_key + ".part")
    remove(half)
    half.mkdir(parents=True)
    log(step).parent.mkdir(parents=True, exist_ok=True)
    log(step).write_text("", encoding="utf-8")
    with timed(what):
        make(half)
        half.rename(target)
    for other in target.parent.iterdir():
        if other != target:
            remove(other)
    return target


def remove(path: Path) -> None:
    """Stays on one file system: a mount that was forgotten under the path survives."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        run(["rm", "-rf", "--one-file-system", str(path)])


def write(path: Path, content: str, mode: int = 0o644) -> None:
    """Replace a small file whole, with its final mode from the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    with contextlib.suppress(FileNotFoundError):
        half.unlink()
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        stream.write(content)
    half.rename(path)


@contextlib.contextmanager
def locked(what: str) -> Iterator[None]:
    """One lab command at a time changes a thing; another waits and says so."""
    path = root() / "locks" / what
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another lab command is at work on {what}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def free_space(needed_gib: float) -> None:
    root().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root()).free / 2**30
    if free < needed_gib:
        raise LabError(
            f"{root()} has {free:.1f} GiB free, this step needs {needed_gib:.1f} GiB; free some or set AIRGAP_CACHE"
        )
