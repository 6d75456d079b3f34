# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a depot takes from drives: what was sealed and nothing else, each byte once, however often it is interrupted."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import (
    _check,
    _digest,
    _incoming,
    _manifest,
    _publish,
    _receive,
    _transfer,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.modules import depot_publish
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import sealed

MODEL = sealed.MODEL
BIG = f"{MODEL}/model-1.safetensors"


class Room:
    """A key, a depot and drives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.depot = path / "depot"
        self.drive = path / "drive"
        self.key = path / "key"
        self.allowed = path / "allowed_signers"
        path.chmod(0o755)
        self.allowed.write_text(f"release@example.org {sealed.new_key(self.key)}\n")
        self.allowed.chmod(0o644)
        self.content = sealed.whole_content()
        self.manifest = sealed.describe(self.content)

    def mount(self, *volumes: str, drive: Path | None = None) -> Path:
        """Another drive in place of the one before."""
        shutil.rmtree(self.drive, ignore_errors=True)
        sealed.write(self.drive, self.key, self.manifest, self.content, *volumes)
        return self.drive

    def receiver(self) -> _receive.Receiver:
        return _receive.Receiver(
            str(self.drive), str(self.depot), _check.read_sealed(str(self.drive), str(self.allowed))
        )

    def receive(self, check_mode: bool = False) -> _receive.Received:
        if check_mode:
            return self.receiver().receive(None, True)
        with _incoming.lock(str(self.depot)):
            return self.receiver().receive(None, False)

    def refused(self) -> str:
        with pytest.raises(AirgapError) as caught:
            self.receive()
        return str(caught.value)

    def publish(self) -> list[str]:
        """What the role does when a bundle is complete, but for the registry."""
        area = self.receiver().area
        bundle, depot = area.bundle, str(self.depot)
        proof = _check.read_sealed(bundle, str(self.allowed))
        _incoming.require_current(bundle, depot)
        published = depot_publish.publish_trees(proof.manifest, "packages", bundle, depot, False)
        published += depot_publish.publish_trees(proof.manifest, "models", bundle, depot, False)
        published += depot_publish.publish_files(proof.manifest, _publish.sums(proof.manifest), bundle, depot, False)
        published += depot_publish.publish_manifest(proof, bundle, depot, False)
        shutil.rmtree(area.root)
        return published

    def take_all(self) -> None:
        self.mount()
        assert not self.receive().missing
        self.publish()

    def hosts_find(self) -> dict[str, bytes]:
        """What is published, of what hosts ask for."""
        return {
            path: (self.depot / path).read_bytes()
            for path in self.content
            if path.startswith(("packages/", "models/", "sbom")) and (self.depot / path).exists()
        }

    def expected(self) -> dict[str, bytes]:
        return {path: data for path, data in self.content.items() if path.startswith(("packages/", "models/", "sbom"))}


@pytest.fixture(name="room")
def fixture_room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def taken(room: Room) -> dict[str, bytes]:
    bundle = Path(room.receiver().area.bundle)
    return {
        path: (bundle / path).read_bytes()
        for path in _digest.scan(str(bundle)).files
        if path not in (_manifest.MANIFEST, _manifest.SIGNATURE)
    }


def test_a_whole_bundle_is_taken_published_and_then_left_alone(room: Room) -> None:
    room.mount()
    received = room.receive()
    assert received.missing == []
    assert set(received.copied) == {path for path in room.content if not path.startswith(("bootstrap", "controller"))}
    assert taken(room) == {path: room.content[path] for path in received.copied}
    assert not room.receive().copied, "what was taken is not taken again"
    assert "packages/debian-trixie" in room.publish()
    assert room.hosts_find() == room.expected()
    assert (room.depot / MODEL / "config.json").stat().st_mode & 0o777 == 0o644
    shutil.rmtree(room.drive / "models/tiny/0123456789abcdef")
    # The drive lacks files now, so it is mounted anew; nothing of it is read but the seal.
    room.mount()
    again = room.receive()
    assert not again.copied and not again.missing
    assert room.publish() == []


def test_nothing_is_copied_to_be_published(room: Room) -> None:
    room.mount()
    room.receive()
    inode = os.stat(room.receiver().area.path(BIG)).st_ino
    room.publish()
    assert os.stat(room.depot / BIG).st_ino == inode


def test_check_mode_reads_and_writes_nothing(room: Room) -> None:
    room.mount()
    received = room.receive(check_mode=True)
    assert BIG in received.copied and not received.missing
    assert not room.depot.exists()
    (room.drive / BIG).write_bytes(bytes(len(room.content[BIG])))
    with pytest.raises(AirgapError, match="model-1"):
        room.receive(check_mode=True)


def test_all_damaged_files_are_named_and_the_good_ones_stay(room: Room) -> None:
    room.mount()
    damaged = [BIG, "packages/debian-trixie/pool/nginx_1_amd64.deb", "controller/wheels/x-1-py3-none-any.whl"]
    for path in damaged:
        data = bytearray(room.content[path])
        data[len(data) // 2] ^= 1
        (room.drive / path).write_bytes(data)
    message = room.refused()
    assert all(path in message for path in damaged) and "3 problems" in message
    assert "nothing was published" in message and "need not be read again" in message
    assert room.hosts_find() == {}
    for path in damaged:
        (room.drive / path).write_bytes(room.content[path])
    assert sorted(room.receive().copied) == sorted(damaged[:2])
    room.publish()
    assert room.hosts_find() == room.expected()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda drive: (drive / "bootstrap").unlink(), "bootstrap: is missing"),
        (lambda drive: (drive / "extra").write_bytes(b""), "extra: is in the bundle but not in its manifest"),
        (lambda drive: (drive / "bootstrap").write_bytes(b"x"), "has 1 bytes"),
        (lambda drive: os.mkfifo(drive / "pipe"), "pipe: is a pipe"),
        (lambda drive: os.symlink("/etc/passwd", drive / "link"), "link: is a symbolic link"),
        (lambda drive: (drive / "bootstrap").replace(drive / "BOOTSTRAP"), "BOOTSTRAP: is in the bundle but not"),
    ],
)
def test_names_and_sizes_are_compared_before_anything_is_taken(room: Room, spoil: Any, said: str) -> None:
    room.mount()
    spoil(room.drive)
    message = room.refused()
    assert said in message and "nothing was taken" in message
    assert os.listdir(room.depot / "incoming") == ["lock"]


@pytest.mark.parametrize("name", [_manifest.MANIFEST, _manifest.SIGNATURE])
def test_a_pipe_in_place_of_the_seal_does_not_hang(room: Room, name: str) -> None:
    room.mount()
    (room.drive / name).unlink()
    os.mkfifo(room.drive / name)
    assert "not a regular file" in room.refused()


def test_a_file_that_becomes_a_pipe_or_ends_early_is_named(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.mount()
    drive = _check.look(str(room.drive), room.manifest)
    monkeypatch.setattr(_check, "look", lambda root, manifest: drive)
    (room.drive / BIG).unlink()
    os.mkfifo(room.drive / BIG)
    with open(room.drive / f"{MODEL}/model-2.safetensors", "r+b") as handle:
        handle.truncate(10)
    message = room.refused()
    assert "model-1.safetensors: is not a regular file" in message
    assert "model-2.safetensors: ends after 10 of 1000000 bytes" in message


def test_a_killed_run_goes_on_inside_a_file(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.mount()
    room.receive()
    area = room.receiver().area
    Path(area.path(BIG)).unlink()
    Path(area.part(BIG)).write_bytes(room.content[BIG][:2_000_000])
    read: list[int] = []
    original = _transfer._read
    monkeypatch.setattr(
        _transfer, "_read", lambda piece, skip, digest: (read.append(skip), original(piece, skip, digest))[1]
    )
    assert room.receive().copied == [BIG]
    # The controller's files are compared until the bundle is published.
    assert sorted(read) == [0, 0, 2_000_000]
    assert Path(area.path(BIG)).read_bytes() == room.content[BIG]


@pytest.mark.parametrize("left", [b"rubbish", b"0123456789" * 1_000_000])
def test_a_part_that_is_wrong_is_begun_again(room: Room, left: bytes) -> None:
    room.mount()
    area = room.receiver().area
    os.makedirs(area.work)
    Path(area.part(BIG)).write_bytes(left)
    assert BIG in room.receive().copied
    assert Path(area.path(BIG)).read_bytes() == room.content[BIG]


def test_after_a_power_cut_what_was_taken_is_read_again(room: Room) -> None:
    room.mount()
    room.receive()
    area = room.receiver().area
    Path(area.root, "unsettled").write_text("another boot")
    hole = Path(area.path(BIG))
    hole.write_bytes(bytes(len(room.content[BIG])))
    Path(area.path(f"{MODEL}/config.json")).write_bytes(b"")
    received = room.receive()
    assert taken(room)[BIG] == room.content[BIG]
    assert len(received.copied) == len(taken(room))
    assert not room.receive().copied


def test_a_killed_process_leaves_no_doubt(room: Room) -> None:
    room.mount()
    room.receive()
    room.receiver().area.unsettle()
    assert not room.receive().copied


# Bundles that build on another one.


def smaller(room: Room, **more: bytes) -> set[str]:
    """The room's next bundle: its own content and more, on the base of the one before; the paths that travel."""
    base = room.manifest
    room.content = sealed.with_sums({**room.content, **{path.replace("__", "/"): data for path, data in more.items()}})
    room.manifest = sealed.build_on(sealed.describe(room.content, "2026-12-24T00:00:00Z"), base)
    return {file.path for file in room.manifest.travelling()}


def test_a_smaller_bundle_is_the_whole_one_at_the_depot(room: Room) -> None:
    room.take_all()
    assert smaller(room, models__new__0123__config=b"new" * 10) == {
        "models/new/0123/config",
        "models/new/0123.sha256",
    }
    room.mount()
    received = room.receive()
    assert received.missing == [] and len(received.copied) == 2
    room.publish()
    assert room.hosts_find() == room.expected()
    # And one that builds on this one, with a package that changed.
    travelling = smaller(room, **{"packages__debian-trixie__pool__new_2_amd64.deb": b"new package"})
    assert travelling == {"packages/debian-trixie/pool/new_2_amd64.deb"}
    room.mount()
    assert room.receive().copied == sorted(travelling)
    room.publish()
    assert room.hosts_find() == room.expected()


def test_a_base_that_is_not_there_is_named_with_what_is(room: Room) -> None:
    base = room.manifest
    smaller(room, models__new__0123__config=b"new")
    room.mount()
    message = room.refused()
    assert hashlib.sha256(_manifest.render(base)).hexdigest() in message
    assert "2026-11-21T00:00:00Z" in message and BIG in message and "nothing yet" in message
    assert "bundle_base" in message and "Nothing was published" in message


def test_a_base_file_that_rotted_at_the_depot_is_not_published_again(room: Room) -> None:
    room.take_all()
    package = "packages/debian-trixie/pool/nginx_1_amd64.deb"
    (room.depot / package).write_bytes(b"DEB" * 1000)
    smaller(room, **{"packages__debian-trixie__pool__new_2_amd64.deb": b"new package"})
    room.mount()
    message = room.refused()
    assert package in message and "1 of that bundle's files" in message
    # From the drive it is as good as ever.
    (room.drive / package).parent.mkdir(parents=True, exist_ok=True)
    (room.drive / package).write_bytes(room.content[package])
    assert package in room.receive().copied
    room.publish()
    assert room.hosts_find() == room.expected()


def test_layers_come_from_the_registry(room: Room) -> None:
    room.mount()
    for path, data in room.content.items():
        if path.startswith("images/blobs/"):
            place = Path(_publish.blob(str(room.depot), hashlib.sha256(data).hexdigest()))
            place.parent.mkdir(parents=True)
            place.write_bytes(data)
    received = room.receive()
    assert not [path for path in received.copied if "blobs" in path]
    layout = Path(room.receiver().area.bundle, "images/blobs/sha256")
    assert all(path.is_symlink() and path.read_bytes() in room.content.values() for path in layout.iterdir())


# Bundles in volumes.


@pytest.mark.parametrize("seed", range(6))
def test_volumes_come_in_any_order(room: Room, seed: int) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 3, 700_000)
    order = ["volume-1", "volume-2", "volume-3"]
    random.Random(seed).shuffle(order)
    came: list[str] = []
    for name in order:
        for _twice in range(2):
            room.mount(name)
            received = room.receive()
            came = list(dict.fromkeys([*came, name]))
            assert {item.name for item in received.missing} == set(order) - set(came)
    room.publish()
    assert room.hosts_find() == room.expected()


def test_what_is_still_to_come_is_counted(room: Room) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 2, 700_000)
    room.mount("volume-1")
    (missing,) = room.receive().missing
    second = room.manifest.volumes[1]
    sizes = {
        file.path: file.size for file in room.manifest.files if not file.path.startswith(("bootstrap", "controller"))
    }
    expected = [sizes[path] for path in second.files if path in sizes] + [part.size for part in second.parts]
    assert missing == ("volume-2", len(expected), sum(expected))
    assert room.receive(check_mode=True).missing == [missing]
    text = _receive.summary(room.receive())["msg"]
    assert "volume-2" in text and "Mount the next drive" in text


def test_volumes_in_one_directory_are_read_as_one(room: Room) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 3, 700_000)
    room.mount("volume-1", "volume-3")
    assert [item.name for item in room.receive().missing] == ["volume-2"]
    room.mount("volume-1", "volume-2", "volume-3")
    assert not room.receive().missing
    room.publish()
    assert room.hosts_find() == room.expected()


def test_parts_on_one_drive_are_read_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 1, 700_000)
    room.mount("volume-1")
    read: list[str] = []
    original = _transfer._open
    monkeypatch.setattr(_transfer, "_open", lambda path: (read.append(path), original(path))[1])
    room.receive()
    assert len(read) == len(set(read))
    monkeypatch.undo()
    room.publish()
    assert room.hosts_find() == room.expected()


def test_half_a_volume_is_refused(room: Room) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 2, 700_000)
    room.mount("volume-1")
    lost = room.manifest.volumes[0].files[0]
    (room.drive / lost).unlink()
    assert f"{lost}: is missing from volume-1" in room.refused()


@pytest.mark.parametrize("count", [1, 2])
def test_a_damaged_part_is_named(room: Room, count: int) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, count, 700_000)
    room.mount("volume-1")
    part = next(part for part in room.manifest.volumes[0].parts if part.path == BIG)
    (room.drive / part.file).write_bytes(bytes(part.size))
    message = room.refused()
    assert f"{part.file}: has the SHA-256" in message and "1 problem)" in message
    for number in range(count):
        room.mount(f"volume-{number + 1}")
        received = room.receive()
    assert not received.missing
    room.publish()
    assert room.hosts_find() == room.expected()


def test_a_killed_run_goes_on_inside_a_part(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 2, 1_500_000)
    room.mount("volume-1")
    area = room.receiver().area
    part = next(part for part in room.manifest.volumes[0].parts if part.path == BIG)
    os.makedirs(area.work)
    with open(area.split(BIG), "wb") as handle:
        handle.seek(part.offset)
        handle.write(room.content[BIG][part.offset :][:1_000_000])
    with open(area.marker(BIG, part.offset, False), "wb") as handle:
        handle.truncate(1_000_000)
    read: dict[str, int] = {}
    original = _transfer._read

    def note(piece: Any, skip: int, digest: Any) -> Any:
        read[os.path.relpath(piece.source, room.drive)] = skip
        return original(piece, skip, digest)

    monkeypatch.setattr(_transfer, "_read", note)
    room.receive()
    assert read[part.file] == 1_000_000
    room.mount("volume-2")
    assert not room.receive().missing
    room.publish()
    assert room.hosts_find() == room.expected()


def test_after_a_power_cut_parts_are_read_again(room: Room) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 2, 700_000)
    room.mount("volume-1")
    room.receive()
    area = room.receiver().area
    Path(area.root, "unsettled").write_text("another boot")
    part = next(part for part in room.manifest.volumes[0].parts if part.path == BIG)
    with open(area.split(BIG), "r+b") as handle:
        handle.seek(part.offset)
        handle.write(bytes(part.size))
    room.mount("volume-2")
    assert [item.name for item in room.receive().missing] == ["volume-1"]
    room.mount("volume-1")
    assert not room.receive().missing
    room.publish()
    assert room.hosts_find() == room.expected()


def test_a_smaller_bundle_may_come_in_volumes(room: Room) -> None:
    room.take_all()
    smaller(room, models__new__0123__weights=os.urandom(1_000_000))
    room.manifest = sealed.in_volumes(room.manifest, room.content, 2, 300_000)
    for name in ("volume-2", "volume-1"):
        room.mount(name)
        received = room.receive()
    assert not received.missing
    room.publish()
    assert room.hosts_find() == room.expected()


# What else can happen.


def _import_for_ever(path: str, volumes: tuple[str, ...]) -> None:
    room = object.__new__(Room)
    room.__dict__.update(_rooms[path].__dict__)
    while True:
        room.receive()
        shutil.rmtree(room.receiver().area.root)


_rooms: dict[str, Room] = {}


@pytest.mark.parametrize("volumes", [(), ("volume-1", "volume-2")])
def test_killed_at_any_moment_the_next_run_ends_the_same(room: Room, volumes: tuple[str, ...]) -> None:
    if volumes:
        room.manifest = sealed.in_volumes(room.manifest, room.content, 2, 700_000)
    chance = random.Random(2026)
    context = multiprocessing.get_context("fork")
    for turn in range(12):
        # One of the two, so that parts come by themselves.
        room.mount(*volumes[turn % 2 : turn % 2 + 1])
        _rooms[str(room.path)] = room
        process = context.Process(target=_import_for_ever, args=(str(room.path), volumes))
        process.start()
        time.sleep(chance.uniform(0.02, 0.25))
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    for name in volumes or ("",):
        room.mount(name)
        received = room.receive()
    assert not received.missing
    room.publish()
    assert room.hosts_find() == room.expected()


def test_two_imports_at_a_time_are_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.mount()
    monkeypatch.setattr(_incoming.lock.__wrapped__, "__defaults__", (0.6,))
    with _incoming.lock(str(room.depot)):
        message = room.refused()
    assert f"process {os.getpid()}" in message
    assert not room.receive().missing


def test_an_import_waits_for_one_that_is_being_ended(room: Room) -> None:
    room.mount()
    held = _incoming.lock(str(room.depot))
    held.__enter__()
    threading.Timer(0.3, held.__exit__, (None, None, None)).start()
    assert not room.receive().missing


def test_an_import_that_another_one_overtook_publishes_nothing(room: Room) -> None:
    room.mount()
    room.receive()
    first = room.receiver().area
    room.manifest = room.manifest._replace(created="2027-01-01T00:00:00Z")
    room.mount()
    received = room.receive()
    assert received.unfinished == [first.root]
    with pytest.raises(AirgapError, match="Another import has begun"):
        _incoming.require_current(first.bundle, str(room.depot))
    with pytest.raises(AirgapError, match="was not received at this depot"):
        _incoming.require_current(str(room.drive), str(room.depot))


def test_a_full_disk_is_said_before_anything_is_copied(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.mount()
    status = os.statvfs(room.path)
    monkeypatch.setattr(os, "statvfs", lambda path: type("Status", (), {"f_bavail": 1, "f_frsize": status.f_frsize}))
    message = room.refused()
    assert "4.1 MB of this bundle" in message and "Make room" in message
    assert os.listdir(room.depot / "incoming") == ["lock"]


def test_a_disk_that_cannot_hold_all_volumes_is_said_at_the_first(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.manifest = sealed.in_volumes(room.manifest, room.content, 3, 700_000)
    room.mount("volume-1")
    monkeypatch.setattr(os, "statvfs", lambda path: type("Status", (), {"f_bavail": 4_000_000, "f_frsize": 1}))
    assert "4.1 MB of this bundle" in room.refused()
    monkeypatch.setattr(os, "statvfs", lambda path: type("Status", (), {"f_bavail": 5_000_000, "f_frsize": 1}))
    room.receive()
    # What came needs no room a second time.
    monkeypatch.setattr(os, "statvfs", lambda path: type("Status", (), {"f_bavail": 3_500_000, "f_frsize": 1}))
    room.receive()


def test_a_disk_that_is_full_in_the_middle_is_said(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.mount()

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_transfer, "_write", full)
        message = room.refused()
    assert "No space left on device" in message and "What was taken is kept" in message
    assert not room.receive().missing


def test_where_links_cannot_be_made_files_are_copied(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_publish, "try_link", lambda source, target: False)
    room.take_all()
    assert room.hosts_find() == room.expected()
    smaller(room, **{"packages__debian-trixie__pool__new_2_amd64.deb": b"new package"})
    room.mount()
    room.receive()
    room.publish()
    assert room.hosts_find() == room.expected()


@pytest.mark.parametrize("place", ["file", "directory"])
def test_allowed_signers_that_others_can_write_are_refused(room: Room, place: str) -> None:
    room.mount()
    target = room.allowed if place == "file" else room.path
    target.chmod(0o775)
    message = room.refused()
    assert f"chmod go-w {target}" in message
