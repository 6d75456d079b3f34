# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model directory on its way into the bundle: copied once, hashed while it is copied, named by its content."""

from __future__ import annotations

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    copy_with_sha256,
    default_workers,
    scan,
    sha256_bytes,
    sha256_file,
    write_if_changed,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import name_fault, path_fault, printable

INCOMING = ".incoming"
# What tools leave beside a model: no part of it, and often larger than it.
NOT_THE_MODEL = (".git", ".cache")


class Entry(NamedTuple):
    """One file of a source."""

    size: int
    mtime: float


class Model(NamedTuple):
    """A model as the bundle holds it."""

    name: str
    source: str
    revision: str
    digest: str
    size: int
    files: int

    def artifact(self) -> dict[str, object]:
        """What the manifest says about it."""
        return {**self._asdict(), "directory": f"models/{self.name}/{self.revision}"}


def read_source(name: str, source: str) -> dict[str, Entry]:
    """The files of a model directory. What could not be carried faithfully is refused by name."""
    fault = name_fault(name)
    if fault:
        raise AirgapError(f"The model name '{printable(name)}' {fault}; use letters, digits, '.', '_' and '-'.")
    if "://" in source:
        raise AirgapError(
            f"The source {source} of the model {name} is not a directory. Download it to this machine and name the directory."
        )
    if not os.path.isabs(source) or not os.path.isdir(source):
        raise AirgapError(
            f"The source {source} of the model {name} is not there; name an absolute path of a directory on this machine."
        )
    files: dict[str, Entry] = {}
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(source, directory)) as entries:
            for entry in entries:
                path = f"{directory}/{entry.name}" if directory else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if path not in NOT_THE_MODEL:
                        pending.append(path)
                else:
                    files[path] = _entry(name, source, path)
    if not files:
        raise AirgapError(f"The source {source} of the model {name} has no files.")
    return files


def held(models: str, name: str, source: str, wanted: dict[str, Entry]) -> Model | None:
    """The model in the bundle when it was made from exactly these files, by sizes and times as rsync compares them."""
    directory = os.path.join(models, name)
    for revision in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        try:
            with open(os.path.join(directory, f"{revision}.sha256"), "rb") as handle:
                text = handle.read()
        except OSError:
            continue
        listed = {line[66:] for line in text.decode("utf-8").splitlines()}
        if listed == set(wanted) and all(
            _same(os.path.join(directory, revision, path), entry) for path, entry in wanted.items()
        ):
            return _model(name, source, text, wanted)
    return None


def take(models: str, name: str, source: str, wanted: dict[str, Entry]) -> Model:
    """Copy a model into the bundle. What an earlier try has brought whole is not copied again."""
    incoming = os.path.join(models, name, INCOMING)
    os.makedirs(incoming, exist_ok=True)
    missing = {path: entry for path, entry in wanted.items() if not _same(os.path.join(incoming, path), entry)}
    needed, free = sum(entry.size for entry in missing.values()), shutil.disk_usage(incoming).free
    if needed > free:
        raise AirgapError(f"The model {name} needs {needed} bytes more at {models}; {free} are free.")

    def one(path: str) -> tuple[str, str]:
        target = os.path.join(incoming, path)
        if path not in missing:
            return path, sha256_file(target)
        digest, size = copy_with_sha256(os.path.join(source, path), target)
        if size != wanted[path].size:
            raise AirgapError(f"{source}/{path} changed while it was read; run this again when the source is at rest.")
        os.utime(target, (wanted[path].mtime, wanted[path].mtime))
        return path, digest

    with ThreadPoolExecutor(max_workers=default_workers()) as pool:
        digests = dict(pool.map(one, sorted(wanted, key=lambda path: wanted[path].size, reverse=True)))
    tree = scan(incoming)
    for path in [*tree.files, *tree.strange]:
        if path not in wanted:
            os.unlink(os.path.join(incoming, path))
    text = digest_list(digests)
    model = _model(name, source, text, wanted)
    final = os.path.join(models, name, model.revision)
    if os.path.isdir(final):
        shutil.rmtree(final)
    write_if_changed(f"{final}.sha256", text)
    os.rename(incoming, final)
    return model


def digest_list(digests: dict[str, str]) -> bytes:
    """The lines of sha256sum, in the byte order of the paths; their own SHA-256 is the model's digest."""
    return b"".join(f"{digests[path]}  {path}\n".encode() for path in sorted(digests, key=lambda path: path.encode()))


def prune(models: str, kept: list[Model]) -> list[str]:
    """Remove models and revisions that are no longer listed; return what went."""
    if not os.path.isdir(models):
        return []
    names = {model.name for model in kept}
    revisions = {(model.name, item) for model in kept for item in (model.revision, f"{model.revision}.sha256")}
    gone = [name for name in os.listdir(models) if name not in names]
    for name in names:
        gone += [f"{name}/{item}" for item in os.listdir(os.path.join(models, name)) if (name, item) not in revisions]
    for path in gone:
        full = os.path.join(models, path)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        else:
            os.unlink(full)
    return sorted(gone)


def _model(name: str, source: str, text: bytes, wanted: dict[str, Entry]) -> Model:
    digest = sha256_bytes(text)
    return Model(name, source, digest[:16], digest, sum(entry.size for entry in wanted.values()), len(wanted))


def _entry(name: str, source: str, path: str) -> Entry:
    full = os.path.join(source, path)
    fault = path_fault(path)
    if fault:
        raise AirgapError(f"The model {name} has a file that cannot be carried: {printable(path)} {fault}.")
    if os.path.islink(full) and not _leads_inside(source, full):
        raise AirgapError(
            f"The model {name} has a link that leads out of {source}: {path} -> {os.readlink(full)}. Put the file itself there."
        )
    try:
        status = os.stat(full)
    except OSError as error:
        raise AirgapError(f"The model {name} has a file that cannot be read: {full}: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise AirgapError(
            f"The model {name} has something that is not a regular file: {path}. Remove it, or put the files themselves there."
        )
    return Entry(status.st_size, status.st_mtime)


def _leads_inside(source: str, link: str) -> bool:
    """A hub's cache keeps files in blobs/ and links to them from snapshots/<commit>/; both belong to the model."""
    real = os.path.realpath(source)
    roots = [real]
    if os.path.basename(os.path.dirname(real)) == "snapshots":
        roots.append(os.path.join(os.path.dirname(os.path.dirname(real)), "blobs"))
    target = os.path.realpath(link)
    return any(os.path.commonpath([root, target]) == root for root in roots)


def _same(path: str, entry: Entry) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    # File systems of drives keep times to two seconds.
    return stat.S_ISREG(status.st_mode) and status.st_size == entry.size and abs(status.st_mtime - entry.mtime) <= 2
