# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this bundle what was sealed? The seal first, then names and sizes, then every byte."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _digest, _manifest, _signature, _transfer
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

# Far above any real one; a drive's file of any size must not fill the memory.
_MANIFEST_LIMIT = 512 * 1024 * 1024
_SIGNATURE_LIMIT = 64 * 1024


class Sealed(NamedTuple):
    """A manifest whose signature holds, and the bytes of both."""

    manifest: _manifest.Manifest
    signer: str
    data: bytes
    signature: bytes

    @property
    def sha256(self) -> str:
        """By this a manifest is known."""
        return _digest.sha256_bytes(self.data)


class Drive(NamedTuple):
    """What a directory has of a bundle, by names and sizes: all of it, or some of its volumes."""

    problems: list[_manifest.Problem]
    files: list[_manifest.File]
    parts: list[_manifest.Part]
    absent: list[_manifest.Volume]


class Checked(NamedTuple):
    """A bundle whose seal holds, and what is wrong with its files (nothing, one hopes)."""

    manifest: _manifest.Manifest
    signer: str
    problems: list[_manifest.Problem]
    drive: Drive


def read_sealed(root: str, allowed_signers: str) -> Sealed:
    """Read the manifest. The bytes that were verified are the bytes that are parsed: the file is read once."""
    data = _read(root, _manifest.MANIFEST, _MANIFEST_LIMIT)
    path = os.path.join(root, _manifest.SIGNATURE)
    signature = _read(root, _manifest.SIGNATURE, _SIGNATURE_LIMIT) if os.path.lexists(path) else b""
    signer = _signature.verify(data, path, allowed_signers)
    return Sealed(_manifest.parse(data), signer, data, signature)


def look(root: str, manifest: _manifest.Manifest) -> Drive:
    """Compare names and sizes. A volume of which nothing is here is another drive's; half a volume is a fault."""
    try:
        tree = _digest.scan(root)
    except OSError as error:
        raise AirgapError(f"The bundle at {root} cannot be read: {error}.") from error
    files = {file.path: file for file in manifest.files}
    parts = {part.file: part for volume in manifest.volumes for part in volume.parts}
    sizes = {**{path: file.size for path, file in files.items()}, **{path: part.size for path, part in parts.items()}}
    problems = [
        _manifest.Problem(_manifest.printable(path), f"is {kind}; a bundle holds regular files only")
        for path, kind in tree.strange.items()
    ]
    for path, size in tree.files.items():
        if path not in sizes:
            if path not in (_manifest.MANIFEST, _manifest.SIGNATURE):
                problems.append(
                    _manifest.Problem(_manifest.printable(path), "is in the bundle but not in its manifest")
                )
        elif size != sizes[path]:
            problems.append(_manifest.Problem(path, f"has {size} bytes, the manifest says {sizes[path]}"))
    absent = []
    for name, expected in _expected(manifest):
        missing = [path for path in expected if path not in tree.files and path not in tree.strange]
        if name and len(missing) == len(expected):
            absent.append(name)
        else:
            where = f"is missing from {name}" if name else "is missing"
            problems += [_manifest.Problem(path, where) for path in missing]
    faulty = {problem.path for problem in problems}
    return Drive(
        sorted(problems),
        [file for path, file in files.items() if path in tree.files and path not in faulty],
        [part for path, part in parts.items() if path in tree.files and path not in faulty],
        [volume for volume in manifest.volumes if volume.name in absent],
    )


def check(
    root: str,
    allowed_signers: str,
    workers: int | None = None,
    content: bool = True,
) -> Checked:
    """Check a bundle. A seal that does not hold is an error; faults of files are listed, all of them."""
    sealed = read_sealed(root, allowed_signers)
    drive = look(root, sealed.manifest)
    problems = list(drive.problems)
    if content:
        expected = [(file.path, file.size, file.sha256) for file in drive.files]
        expected += [(part.file, part.size, part.sha256) for part in drive.parts]

        # The largest come first, so that no core waits at the end for one big file.
        expected.sort(key=lambda item: item[1], reverse=True)
        with Progress("files of the bundle compared", sum(size for _path, size, _sha256 in expected)) as progress:

            def one(item: tuple[str, int, str]) -> _manifest.Problem | None:
                progress.at(item[0])
                return differs(root, *item, progress.add)

            with ThreadPoolExecutor(max_workers=max(1, workers or _digest.default_workers())) as pool:
                problems += [problem for problem in pool.map(one, expected) if problem]
    return Checked(sealed.manifest, sealed.signer, sorted(problems), drive)


def base_facts(manifest: _manifest.Manifest) -> dict[str, Any]:
    """What is left to the bundle that this one builds on."""
    if manifest.base is None:
        return {}
    left = [file for file in manifest.files if file.base]
    return {**manifest.base._asdict(), "files": len(left), "bytes": sum(file.size for file in left)}


def differs(root: str, path: str, size: int, sha256: str, advance: Callable[[int], None]) -> _manifest.Problem | None:
    """Read a file of the drive: what is wrong with it, or None."""
    try:
        found = _transfer.transfer([_transfer.Piece(os.path.join(root, path), size)], None, 0, 0, advance)
    except _transfer.Unreadable as error:
        return _manifest.Problem(path, str(error))
    return None if found == sha256 else wrong(path, found, sha256)


def wrong(path: str, found: str, sha256: str) -> _manifest.Problem:
    """A file whose content is not what was sealed."""
    return _manifest.Problem(path, f"has the SHA-256 {found}, the manifest says {sha256}")


def refusal(
    root: str, problems: list[_manifest.Problem], limit: int = 20, outcome: str = "nothing was taken from it"
) -> str:
    """One message that names what is wrong, so long as that is readable."""
    lines = [
        f"The bundle at {root} is not what was sealed ({len(problems)} {'problem' if len(problems) == 1 else 'problems'}); {outcome}."
    ]
    lines += [f"  {problem.path}: {problem.problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  … and {len(problems) - limit} more.")
    lines.append("Carry these files again from the connected side, or remove what does not belong.")
    return "\n".join(lines)


def _expected(manifest: _manifest.Manifest) -> list[tuple[str, list[str]]]:
    """What must be here together: everything that travels, or volume by volume."""
    if not manifest.volumes:
        return [("", [file.path for file in manifest.travelling()])]
    return [(volume.name, [*volume.files, *(part.file for part in volume.parts)]) for volume in manifest.volumes]


def _read(root: str, name: str, limit: int) -> bytes:
    path = os.path.join(root, name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as handle:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                raise AirgapError(f"{path} is not a regular file of at most {limit} bytes. This is not a bundle.")
            return handle.read(limit)
    except OSError as error:
        raise AirgapError(
            f"There is no bundle at {root}: {name} cannot be read ({error.strerror or error}). Is the drive mounted there?"
        ) from error
