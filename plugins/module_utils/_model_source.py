# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model on its way into the bundle: copied once, hashed while it is copied, named by its content or by its commit."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._digest import (
    Record,
    copy_with_sha256,
    default_workers,
    scan,
    sha256_bytes,
    sha256_file,
    write_if_changed,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import name_fault, path_fault, printable
from ansible_collections.airgap.inference.plugins.module_utils._model_files import licence
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress, directory_size

INCOMING = ".incoming"
# What tools leave beside a model: no part of it, and often larger than it.
NOT_THE_MODEL = (".git", ".cache")
# As much of a card as holds its front matter.
CARD = 256 * 1024


class Entry(NamedTuple):
    """One file of a model: where it is on this machine, and what is known of it.

    A file that is still at its hub has no path and no time; its commit vouches for it.
    """

    size: int
    mtime: float | None = None
    sha256: str = ""
    path: str = ""


class Source(NamedTuple):
    """What a model is made of."""

    name: str
    source: str
    entries: dict[str, Entry]
    # The commit of a hub. A directory has none: its content names it.
    commit: str = ""
    # Whether patterns chose: then the commit alone does not name the content.
    chosen: bool = False

    def revision(self, digest: str) -> str:
        """The name of its directory."""
        if not self.commit:
            return digest[:16]
        return f"{self.commit}-{digest[:8]}" if self.chosen else self.commit

    def size(self) -> int:
        """The bytes of all files."""
        return sum(entry.size for entry in self.entries.values())


class Model(NamedTuple):
    """A model as the bundle holds it."""

    name: str
    source: str
    revision: str
    digest: str
    size: int
    files: int
    licence: str
    # Files that are whole models: an engine that takes these must be told which.
    gguf: list[str]

    def artifact(self) -> dict[str, object]:
        """What the manifest says about it."""
        return {**self._asdict(), "directory": f"models/{self.name}/{self.revision}"}


def check_name(name: str) -> None:
    """Refuse a name that could not stand in a path."""
    fault = name_fault(name)
    if fault:
        raise AirgapError(f"The model name '{printable(name)}' {fault}; use letters, digits, '.', '_' and '-'.")


def read_directory(name: str, source: str, beside: str = "") -> dict[str, Entry]:
    """The files of a model directory. What could not be carried faithfully is refused by name.

    Links may lead to the directory beside, if one is named.
    """
    if "://" in source:
        raise AirgapError(
            f"The source {printable(source)} of the model {name} is neither a directory nor of a kind that is known: "
            "hf://organisation/name@revision, or nim://image."
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
                    files[path] = _entry(name, source, path, beside)
    if not files:
        raise AirgapError(f"The source {source} of the model {name} has no files.")
    return files


def held(models: str, source: Source) -> Model | None:
    """The model in the bundle when it was made from exactly these files, by sizes and times as rsync compares them."""
    directory = os.path.join(models, source.name)
    for revision in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        try:
            with open(os.path.join(directory, f"{revision}.sha256"), "rb") as handle:
                text = handle.read()
        except OSError:
            continue
        listed = {line[66:]: line[:64] for line in text.decode("utf-8", "replace").splitlines()}
        if (
            source.revision(sha256_bytes(text)) == revision
            and listed.keys() == source.entries.keys()
            and all(_same(os.path.join(directory, revision, path), entry) for path, entry in source.entries.items())
            and all(entry.sha256 in ("", listed[path]) for path, entry in source.entries.items())
        ):
            return _model(models, source, text)
    return None


def take(models: str, source: Source, record: Record) -> Model:
    """Bring a model into the bundle. What an earlier try has brought whole is not copied again."""
    incoming = os.path.join(models, source.name, INCOMING)
    os.makedirs(incoming, exist_ok=True)
    entries = source.entries
    missing = {path: entry for path, entry in entries.items() if not _same(os.path.join(incoming, path), entry)}

    def one(path: str) -> tuple[str, str]:
        target, entry = os.path.join(incoming, path), entries[path]
        if path not in missing:
            digest = record.known(target) or sha256_file(target)
            if entry.sha256 in ("", digest):
                return path, digest
        return path, _bring(entry, target)

    with Progress(
        f"{source.name} into the bundle", source.size(), measure=lambda: directory_size(incoming)
    ) as progress:
        linked = _link(missing, incoming)
        needed = sum(entry.size for path, entry in missing.items() if path not in linked)
        free = shutil.disk_usage(incoming).free
        if needed > free:
            raise AirgapError(f"The model {source.name} needs {needed} bytes more at {models}; {free} are free.")
        with ThreadPoolExecutor(max_workers=default_workers()) as pool:
            rest = sorted(entries.keys() - linked.keys(), key=lambda path: entries[path].size, reverse=True)
            progress.at(source.name)
            digests = {**linked, **dict(pool.map(one, rest))}
    tree = scan(incoming)
    for path in [*tree.files, *tree.strange]:
        if path not in entries:
            os.unlink(os.path.join(incoming, path))
    text = digest_list(digests)
    final = os.path.join(models, source.name, source.revision(sha256_bytes(text)))
    if os.path.isdir(final):
        shutil.rmtree(final)
    write_if_changed(f"{final}.sha256", text)
    os.rename(incoming, final)
    record.note(f"{final}.sha256", sha256_bytes(text))
    for path, digest in digests.items():
        record.note(os.path.join(final, path), digest)
    return _model(models, source, text)


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


def _model(models: str, source: Source, text: bytes) -> Model:
    digest = sha256_bytes(text)
    revision = source.revision(digest)

    def read(path: str) -> bytes:
        with open(os.path.join(models, source.name, revision, path), "rb") as handle:
            return handle.read(CARD)

    papers = licence(source.entries, read)
    gguf = sorted(path for path in source.entries if path.endswith(".gguf"))
    return Model(source.name, source.source, revision, digest, source.size(), len(source.entries), papers, gguf)


def _entry(name: str, source: str, path: str, beside: str) -> Entry:
    full = os.path.join(source, path)
    fault = path_fault(path)
    if fault:
        raise AirgapError(f"The model {name} has a file that cannot be carried: {printable(path)} {fault}.")
    if os.path.islink(full) and not _leads_inside(source, full, beside):
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
    return Entry(status.st_size, status.st_mtime, path=full)


def _leads_inside(source: str, link: str, beside: str) -> bool:
    """A hub's cache keeps files in blobs/ and links to them from snapshots/<commit>/; both belong to the model."""
    real = os.path.realpath(source)
    roots = [real, os.path.realpath(beside)] if beside else [real]
    if os.path.basename(os.path.dirname(real)) == "snapshots":
        roots.append(os.path.join(os.path.dirname(os.path.dirname(real)), "blobs"))
    target = os.path.realpath(link)
    return any(os.path.commonpath([root, target]) == root for root in roots)


def _same(path: str, entry: Entry) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        return False
    # File systems of drives keep times to two seconds.
    return entry.mtime is None or abs(status.st_mtime - entry.mtime) <= 2


def _link(missing: dict[str, Entry], incoming: str) -> dict[str, str]:
    """Files whose digest is known, and which can be had without copying: those of the cache on the same file system."""
    linked: dict[str, str] = {}
    for path, entry in missing.items():
        target = os.path.join(incoming, path)
        if entry.sha256:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            try:
                os.link(entry.path, target)
            except OSError:
                # Another file system, or one without links: the drive itself. It is copied.
                return linked
            linked[path] = entry.sha256
    return linked


def _bring(entry: Entry, target: str) -> str:
    digest, size = copy_with_sha256(entry.path, target)
    if size != entry.size:
        raise AirgapError(f"{entry.path} changed while it was read; run this again when the source is at rest.")
    if entry.sha256 not in ("", digest):
        os.unlink(target)
        os.unlink(entry.path)
        raise AirgapError(
            f"{entry.path} is not what was fetched: its SHA-256 is {digest}, it was {entry.sha256}. "
            "It was removed; run this again to fetch it anew, and look after that disk."
        )
    if entry.mtime is not None:
        os.utime(target, (entry.mtime, entry.mtime))
    return digest
