# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes from a drive what the depot lacks of a sealed bundle: whole bundles, differences to a base, and volumes.

A file gets its name in the incoming area only after its digest was right, so what has its name there is never read
again. What the depot has already, by digest, is linked instead of copied. Nothing here is visible to hosts.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Callable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _check, _digest, _incoming, _manifest, _publish
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress
from ansible_collections.airgap.inference.plugins.module_utils._transfer import Piece, Unreadable, transfer

_SHOWN = 20
# More readers than this make no drive faster, and a spinning one slower.
_READERS = 4


Advance = Callable[[int], None]


class Job(NamedTuple):
    """A file to take, and where it may come from; the first source that is right wins."""

    file: _manifest.File
    take: bool
    depot: list[str]
    pieces: list[Piece]
    parts: list[tuple[_manifest.Part, Piece]]

    @property
    def size(self) -> int:
        """The bytes that will be read."""
        return sum(piece.size for _part, piece in self.parts) or self.file.size


class Plan(NamedTuple):
    """What is to do."""

    jobs: list[Job]
    nowhere: list[_manifest.File]
    there: int


class Missing(NamedTuple):
    """A volume that has not been here, or not all of it."""

    name: str
    files: int
    bytes: int


class Received(NamedTuple):
    """What the depot has of the bundle now."""

    copied: list[str]
    linked: int
    size: int
    there: int
    missing: list[Missing]
    unfinished: list[str]


class _Stopped(Exception):
    """Another thread has met the end of this run."""


class Receiver:
    """One run: what this drive has, into the depot's incoming area."""

    def __init__(self, root: str, depot: str, sealed: _check.Sealed) -> None:
        self._root = root
        self._depot = depot
        self._sealed = sealed
        self._manifest = sealed.manifest
        self._area = _incoming.Incoming(depot, sealed.sha256)
        self._stop = threading.Event()
        self._lost: list[_manifest.File] = []
        self._problems: list[_manifest.Problem] = []
        self._linked: list[str] = []
        self._copied: list[str] = []
        self._parts = {
            path: sorted((part for part in parts), key=lambda part: part.offset)
            for path, parts in _by_path(self._manifest).items()
        }

    @property
    def area(self) -> _incoming.Incoming:
        """Where the bundle gathers."""
        return self._area

    def receive(self, workers: int | None, check_mode: bool) -> Received:
        """Take what is here. In check mode it is read and compared, and nothing is written."""
        drive = _check.look(self._root, self._manifest)
        if drive.problems:
            raise AirgapError(_check.refusal(self._root, drive.problems))
        if self._area.doubtful() and not check_mode:
            self._area.doubt(self._manifest)
        plan = self._plan(drive)
        self._require_base(plan.nowhere)
        self._require_space(plan)
        if not check_mode:
            self._area.begin(self._sealed.data, self._sealed.signature)
            self._area.unsettle()
        self._run(plan.jobs, workers, check_mode)
        copied = set(self._copied)
        if self._problems:
            raise AirgapError(self._refusal())
        self._require_base(self._lost)
        if not check_mode:
            self._area.settle()
        return Received(
            sorted(self._copied),
            len(self._linked),
            sum(job.size for job in plan.jobs if job.file.path in copied or job.parts),
            plan.there,
            self._missing(plan),
            _incoming.unfinished(self._depot, self._area.name),
        )

    def _plan(self, drive: _check.Drive) -> Plan:
        wanted = _publish.wanted(self._manifest, self._depot)
        there = _publish.published(self._manifest, self._depot)
        there |= {path for path, file in wanted.items() if path not in there and self._area.has(file)}
        needed = {path: file for path, file in wanted.items() if path not in there}
        at_depot = _at_depot(self._depot, list(needed.values())) if needed else {}
        whole = {file.path for file in drive.files}
        here = {part.file for part in drive.parts}
        jobs, nowhere = [], []
        for path, file in needed.items():
            job = self._job(file, at_depot.get(path, []), path in whole, here)
            if job.depot or job.pieces or job.parts or self._is_whole(file) or self._is_split(file):
                jobs.append(job)
            else:
                nowhere.append(file)
        # Hosts never see the rest (the controller's files), but a drive that damages them is told of before the next one.
        if not os.path.exists(_publish.imported(self._depot, self._sealed.sha256)):
            jobs += [
                Job(file, False, [], [Piece(os.path.join(self._root, file.path), file.size)], [])
                for file in drive.files
                if file.path not in wanted
            ]
        return Plan(jobs, nowhere, len(there))

    def _job(self, file: _manifest.File, depot: list[str], whole: bool, here: set[str]) -> Job:
        if whole:
            return Job(file, True, depot, [Piece(os.path.join(self._root, file.path), file.size)], [])
        parts = self._parts.get(file.path, [])
        pieces = [(part, Piece(os.path.join(self._root, part.file), part.size)) for part in parts if part.file in here]
        if parts and len(pieces) == len(parts) and not os.path.lexists(self._area.split(file.path)):
            return Job(file, True, depot, [piece for _part, piece in pieces], [])
        undone = [(part, piece) for part, piece in pieces if not self._done(part)]
        return Job(file, True, depot, [], undone)

    def _done(self, part: _manifest.Part) -> bool:
        return os.path.exists(self._area.marker(part.path, part.offset, True))

    def _is_split(self, file: _manifest.File) -> bool:
        """All its parts are in the working area."""
        parts = self._parts.get(file.path)
        return bool(parts) and all(self._done(part) for part in parts or [])

    def _is_whole(self, file: _manifest.File) -> bool:
        """All its bytes are in the working area, not compared yet or not any more."""
        return _incoming.size_of(self._area.part(file.path)) == file.size

    def _require_base(self, files: list[_manifest.File]) -> None:
        missing = sorted(file for file in files if file.base)
        base = self._manifest.base
        if not missing or base is None:
            return
        lines = [
            f"The bundle at {self._root} builds on the bundle of {base.created} (manifest {base.manifest}), and {len(missing)} of that "
            f"bundle's files are not at this depot ({size_text(sum(file.size for file in missing))}):"
        ]
        lines += [f"  {file.path} ({size_text(file.size)})" for file in missing[:_SHOWN]]
        if len(missing) > _SHOWN:
            lines.append(f"  … and {len(missing) - _SHOWN} more.")
        known = [f"{manifest.created} ({sha256})" for sha256, manifest in _publish.manifests(self._depot).items()]
        lines.append(f"Imported at {self._depot}: {', '.join(known) or 'nothing yet'}.")
        lines.append(
            "Nothing was published. Import that bundle first, then this one; or stage this one again, with bundle_base "
            "naming a manifest that was imported here, or without bundle_base."
        )
        raise AirgapError("\n".join(lines))

    def _require_space(self, plan: Plan) -> None:
        """All of the bundle must fit before any of it can be published, the volumes that are still to come as well."""
        needed = sum(volume.bytes for volume in self._missing(plan))
        for job in plan.jobs:
            if job.take and not job.depot and (job.pieces or job.parts):
                needed += max(0, job.size - (_incoming.size_of(self._area.part(job.file.path)) or 0))
        place = self._area.root
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        status = os.statvfs(place)
        free = status.f_bavail * status.f_frsize
        if needed > free:
            others = _incoming.unfinished(self._depot, self._area.name)
            hint = f" Imports that were never finished are in {', '.join(others)}." if others else ""
            raise AirgapError(
                f"{self._depot} has {size_text(free)} free, but {size_text(needed)} of this bundle are still to be copied there. "
                f"Nothing was copied. Make room there, or mount a larger file system.{hint}"
            )

    def _run(self, jobs: list[Job], workers: int | None, check_mode: bool) -> None:
        threads = workers or min(_READERS, _digest.default_workers() + 1)
        # The largest come first, so that no core waits at the end for one big file.
        order = sorted(jobs, key=lambda job: job.size, reverse=True)
        label = "files of the bundle compared" if check_mode else "files of the bundle taken"
        with Progress(label, sum(job.size for job in jobs)) as progress:

            def advance(count: int) -> None:
                if self._stop.is_set():
                    raise _Stopped
                progress.add(count)

            def one(job: Job) -> None:
                if not self._stop.is_set():
                    progress.at(job.file.path)
                    self._do(job, advance, check_mode)

            with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
                futures: list[Future[None]] = [pool.submit(one, job) for job in order]
                try:
                    for future in as_completed(futures):
                        future.result()
                except BaseException:
                    self._stop.set()
                    raise

    def _do(self, job: Job, advance: Advance, check_mode: bool) -> None:
        try:
            if any(self._link(job.file, source, advance, check_mode) for source in job.depot):
                self._linked.append(job.file.path)
            elif check_mode or not job.take:
                self._compare(job, advance)
            elif not self._whole(job, advance) and not self._split(job, advance):
                self._lost.append(job.file)
        except Unreadable as error:
            self._problems.append(_manifest.Problem(os.path.relpath(error.source, self._root), str(error)))
        except OSError as error:
            raise AirgapError(
                f"{job.file.path} of the bundle at {self._root} could not be taken to {self._area.root}: {error.strerror or error}. "
                "What was taken is kept; run this again when the cause is gone."
            ) from error

    def _link(self, file: _manifest.File, source: str, advance: Advance, check_mode: bool) -> bool:
        """Take a file from the depot itself. What rotted there since is not taken for good."""
        in_registry = source == _publish.blob(self._depot, file.sha256)
        if not in_registry:
            try:
                if transfer([Piece(source, file.size)], None, 0, 0, advance) != file.sha256:
                    return False
            except Unreadable:
                return False
        if check_mode:
            return True
        if in_registry:
            # The registry compared it when it came, and skopeo does so when it reads it.
            target = self._area.path(file.path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(target):
                os.unlink(target)
            os.symlink(source, target)
            advance(file.size)
            return True
        work = self._area.part(file.path)
        if os.path.lexists(work):
            os.unlink(work)
        if not _publish.try_link(source, work) and self._write(work, [Piece(source, file.size)], 0, 0) != file.sha256:
            os.unlink(work)
            return False
        self._area.place(work, file.path)
        return True

    def _compare(self, job: Job, advance: Advance) -> None:
        """Read and compare only."""
        good = True
        for part, piece in job.parts:
            good = self._judge(part.file, transfer([piece], None, 0, 0, advance), part.sha256) and good
        if job.pieces:
            good = self._judge(job.file.path, transfer(job.pieces, None, 0, 0, advance), job.file.sha256)
        if good and job.take:
            self._copied.append(job.file.path)

    def _judge(self, path: str, found: str, sha256: str) -> bool:
        if found != sha256:
            self._problems.append(_check.wrong(path, found, sha256))
        return found == sha256

    def _whole(self, job: Job, advance: Advance) -> bool:
        """Copy a file from its beginning, or from where an earlier run stopped; False when that is not possible now."""
        file, work = job.file, self._area.part(job.file.path)
        resumed = _incoming.size_of(work) or 0
        if not job.pieces and not self._is_whole(file):
            return False
        if resumed > file.size:
            os.unlink(work)
            resumed = 0
        found = self._write(work, job.pieces, 0, resumed, advance)
        if found != file.sha256 and resumed:
            os.unlink(work)
            if not job.pieces:
                return False
            found = self._write(work, job.pieces, 0, 0)
        if found == file.sha256:
            self._area.place(work, file.path)
            self._copied.append(file.path)
            return True
        os.unlink(work)
        self._name_damage(job, found)
        return True

    def _name_damage(self, job: Job, found: str) -> None:
        """Of a file that came in parts, say which part is wrong."""
        parts = self._parts.get(job.file.path, [])
        before = len(self._problems)
        if len(job.pieces) == len(parts):
            for part, piece in zip(parts, job.pieces):
                if piece.source == os.path.join(self._root, part.file):
                    self._judge(part.file, transfer([piece], None, 0, 0), part.sha256)
        if len(self._problems) == before:
            self._problems.append(_check.wrong(job.file.path, found, job.file.sha256))

    def _split(self, job: Job, advance: Advance) -> bool:
        """Copy parts to their places, each compared by itself; compare the whole when the last one came."""
        file, work = job.file, self._area.split(job.file.path)
        for part, piece in job.parts:
            doing = self._area.marker(part.path, part.offset, False)
            resumed = min(_incoming.size_of(doing) or 0, part.size)
            found = self._write(work, [piece], part.offset, resumed, advance, doing)
            if found != part.sha256 and resumed:
                found = self._write(work, [piece], part.offset, 0, marker=doing)
            if self._judge(part.file, found, part.sha256):
                os.replace(doing, self._area.marker(part.path, part.offset, True))
                self._copied.append(part.file)
            else:
                os.unlink(doing)
        if not self._is_split(file):
            return bool(job.parts)
        found = self._write(work, [], 0, file.size)
        for part in self._parts[file.path]:
            os.unlink(self._area.marker(part.path, part.offset, True))
        if found == file.sha256:
            self._area.place(work, file.path)
            self._copied.append(file.path)
        else:
            os.unlink(work)
            self._problems.append(_check.wrong(file.path, found, file.sha256))
        return True

    def _write(
        self,
        work: str,
        pieces: list[Piece],
        start: int,
        resumed: int,
        advance: Advance = lambda count: None,
        marker: str | None = None,
    ) -> str:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(work, flags, 0o600)
        mark = os.open(marker, flags, 0o600) if marker else None
        written = 0

        def note(count: int) -> None:
            nonlocal written
            written += count
            if mark is not None and written > resumed:
                os.ftruncate(mark, written)
            advance(count)

        try:
            if mark is not None and not resumed:
                os.ftruncate(mark, 0)
            return transfer(pieces, target, start, resumed, note)
        finally:
            os.close(target)
            if mark is not None:
                os.close(mark)

    def _missing(self, plan: Plan) -> list[Missing]:
        """By volume, what is still to come."""
        taken = {part.file for job in plan.jobs for part, _piece in job.parts}

        def has(part: _manifest.Part) -> bool:
            return part.file in taken or self._done(part)

        waiting = {file.path: file.size for file in [*plan.nowhere, *self._lost]}
        for job in plan.jobs:
            path = job.file.path
            if job.parts and not self._area.has(job.file) and not all(has(part) for part in self._parts[path]):
                waiting[path] = job.file.size
        missing = []
        for volume in self._manifest.volumes:
            sizes = [waiting[path] for path in volume.files if path in waiting]
            sizes += [part.size for part in volume.parts if part.path in waiting and not has(part)]
            if sizes:
                missing.append(Missing(volume.name, len(sizes), sum(sizes)))
        return missing

    def _refusal(self) -> str:
        return _check.refusal(
            self._root,
            sorted(self._problems),
            outcome=f"nothing was published. The files of it that are right stay in {self._area.root} and need not be read again",
        )


def _by_path(manifest: _manifest.Manifest) -> dict[str, list[_manifest.Part]]:
    result: dict[str, list[_manifest.Part]] = {}
    for volume in manifest.volumes:
        for part in volume.parts:
            result.setdefault(part.path, []).append(part)
    return result


def _at_depot(depot: str, files: list[_manifest.File]) -> dict[str, list[str]]:
    """Where the depot has these files already, by digest: in the registry, or where an imported bundle put them."""
    found = {}
    for file in files:
        places = [os.path.join(depot, _publish.KEPT, file.sha256)]
        if file.path.startswith("images/"):
            places.insert(0, _publish.blob(depot, file.sha256))
        found[file.path] = [place for place in places if _incoming.size_of(place) == file.size]
    digests = {file.sha256 for file in files if not found[file.path]}
    if not digests:
        return found
    places_of: dict[str, dict[str, None]] = {}
    for manifest in _publish.manifests(depot).values():
        for file in manifest.files:
            if file.sha256 in digests and file.path.startswith(("packages/", "models/")):
                place = os.path.join(depot, file.path)
                if _incoming.size_of(place) == file.size:
                    places_of.setdefault(file.sha256, {})[place] = None
    for file in files:
        found[file.path] += places_of.get(file.sha256, {})
    return found


def size_text(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def summary(received: Received) -> dict[str, Any]:
    """What a module returns of it."""
    text = (
        f"{len(received.copied)} files were taken from the drive ({size_text(received.size)}); "
        f"{received.linked + received.there} were at the depot already."
    )
    if received.missing:
        volumes = ", ".join(f"{item.name} ({item.files} files, {size_text(item.bytes)})" for item in received.missing)
        text += f" Still to come: {volumes}. Mount the next drive and run the same command; any order will do."
    if received.unfinished:
        text += f" Imports that were never finished have left: {', '.join(received.unfinished)}; remove them when nobody needs them."
    return {
        "complete": not received.missing,
        "missing_volumes": [item._asdict() for item in received.missing],
        "received": received.copied,
        "size": received.size,
        "msg": text,
    }
