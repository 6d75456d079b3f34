# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and drives made to do harm: refused in words, or taken as sealed; nothing is ever written outside the depot."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import tempfile
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
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import sealed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONTENT = sealed.whole_content()
CONTENT[f"{sealed.MODEL}/model-1.safetensors"] = b"0123456789" * 2000
CONTENT[f"{sealed.MODEL}/model-2.safetensors"] = b"abcdefghij" * 100
CONTENT = sealed.with_sums(CONTENT)
WHOLE = sealed.describe(CONTENT)
NEXT = sealed.with_sums({**CONTENT, "models/new/0123/weights": bytes(5000)})
MANIFESTS = [
    WHOLE,
    sealed.in_volumes(WHOLE, CONTENT, 3, 3000),
    sealed.build_on(sealed.describe(NEXT, "2027-01-01T00:00:00Z"), WHOLE),
    sealed.in_volumes(sealed.build_on(sealed.describe(NEXT, "2027-01-01T00:00:00Z"), WHOLE), NEXT, 2, 1000),
]
DOCUMENTS = [json.loads(_manifest.render(manifest)) for manifest in MANIFESTS]

HOSTILE = [
    *(f"images/{'../' * levels}outside" for levels in range(1, 8)),
    *("../outside", "/outside", "a/../../outside", "models/../../outside", "..", ".", "", "models", "models/tiny"),
    *("manifest.json", "manifest.json.sig", "manifest.json/x", "images", "x" * 300, "d/" * 2000 + "x", "d/" * 3000),
    *("nul\x00", "line\n", "\ud800", "back\\slash", f"{sealed.MODEL}/config.json", "BOOTSTRAP", "incoming/current"),
    *(f"{sealed.MODEL}/model-1.safetensors.part-0001", f"{sealed.MODEL}.sha256", "images/blobs/sha256/" + "0" * 64),
]
PATHS = st.sampled_from(HOSTILE)
VALUES = st.one_of(
    PATHS,
    st.sampled_from([-1, 0, 1, 2**31, 2**63 - 1, 2**63, 10**30, True, False, None, 1.5, [], {}, "volume-1", "0" * 64]),
    st.text(max_size=5),
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, by the keys that lead to it."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [above, *(place for key, item in items for place in places(item, (*above, key)))]


# What says where files are, and where they come from.
PLACES = [
    [place for place in places(document) if place and place[0] in ("base", "volumes", "files")]
    for document in DOCUMENTS
]


@st.composite
def documents(draw: st.DrawFn) -> tuple[int, bytes]:
    """A manifest with some values replaced, removed or doubled."""
    which = draw(st.integers(0, len(DOCUMENTS) - 1))
    document = copy.deepcopy(DOCUMENTS[which])
    for _number in range(draw(st.integers(0, 3))):
        *above, last = draw(st.sampled_from(PLACES[which]))
        holder = document
        try:
            for key in above:
                holder = holder[key]
            change = draw(st.sampled_from(["replace", "remove", "double", "swap"]))
            if change == "replace":
                holder[last] = draw(VALUES)
            elif change == "remove":
                del holder[last]
            elif change == "double" and isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            elif change == "swap" and isinstance(holder, list):
                holder[0], holder[last] = holder[last], holder[0]
        except (KeyError, IndexError, TypeError):
            continue
    return which, json.dumps(document).encode("utf-8", "surrogatepass")


def spoil_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def spoil_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def spoil_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def spoil_case(path: Path) -> None:
    path.replace(path.with_name(path.name.upper() + "X"))


def spoil_depth(path: Path) -> None:
    place = os.open(path.parent, os.O_RDONLY)
    for _level in range(300):
        with contextlib.suppress(FileExistsError):
            os.mkdir("deep-directory", dir_fd=place)
        below = os.open("deep-directory", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)


def spoil_byte(path: Path) -> None:
    data = bytearray(path.read_bytes() or b"x")
    data[-1] ^= 1
    path.write_bytes(data)


def spoil_size(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def spoil_name(path: Path) -> None:
    Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff\x1b[31m")).write_bytes(b"x")


SPOILERS = [
    *(spoil_link, spoil_directory, spoil_pipe, spoil_case, spoil_depth, spoil_byte, spoil_size, spoil_name),
    Path.unlink,
]


def snapshot(root: Path) -> dict[str, int]:
    """Everything below a directory but the depot, with sizes."""
    tree = _digest.scan(str(root))
    kept = {path: size for path, size in tree.files.items() if not path.startswith("depot/")}
    return {**kept, **{path: -1 for path in tree.strange if not path.startswith("depot/")}}


def prime(depot: Path) -> None:
    """A depot at which the base was imported."""
    for path, data in CONTENT.items():
        place = depot / path
        if not path.startswith(("packages/", "models/")):
            place = depot / _publish.KEPT / _digest.sha256_bytes(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    data = _manifest.render(WHOLE)
    Path(_publish.imported(str(depot), _digest.sha256_bytes(data))).write_bytes(data)


def take(room: Path, data: bytes) -> _receive.Received | None:
    """What the module does once the signature was found good; None where it is refused in words."""
    try:
        manifest = _manifest.parse(data)
        proof = _check.Sealed(manifest, "release@example.org", data, b"signature")
        with _incoming.lock(str(room / "depot")):
            return _receive.Receiver(str(room / "drive"), str(room / "depot"), proof).receive(2, False)
    except AirgapError as error:
        assert str(error).isprintable() or "\n" in str(error)
        return None


def fill(drive: Path, which: int, volumes: tuple[int, ...]) -> list[Path]:
    """The files of a bundle, or of some of its volumes."""
    manifest = MANIFESTS[which]
    content = {**NEXT, **CONTENT} if which < 2 else NEXT
    files = {file.path: content[file.path] for file in manifest.travelling()}
    if manifest.volumes:
        files = {}
        for number in volumes:
            volume = manifest.volumes[number % len(manifest.volumes)]
            files.update({path: content[path] for path in volume.files})
            files.update({part.file: content[part.path][part.offset :][: part.size] for part in volume.parts})
    for path, data in files.items():
        (drive / path).parent.mkdir(parents=True, exist_ok=True)
        (drive / path).write_bytes(data)
    for name in (_manifest.MANIFEST, _manifest.SIGNATURE):
        (drive / name).write_bytes(b"")
    return [drive / path for path in sorted(files)]


def verify(room: Path, data: bytes, received: _receive.Received) -> None:
    """What has its name at the depot is what was sealed."""
    manifest = _manifest.parse(data)
    area = _incoming.Incoming(str(room / "depot"), _digest.sha256_bytes(data))
    wanted = _publish.wanted(manifest, str(room / "depot"))
    there = _publish.published(manifest, str(room / "depot"))
    sealed_files = {file.path: file.sha256 for file in manifest.files}
    for path in _digest.scan(area.bundle).files:
        if path not in (_manifest.MANIFEST, _manifest.SIGNATURE):
            assert _digest.sha256_file(area.path(path)) == sealed_files[path]
    if not received.missing:
        assert all(path in there or area.has(file) for path, file in wanted.items())


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents(), st.lists(st.integers(0, 2), max_size=3))
def test_manifests(document: tuple[int, bytes], volumes: list[int]) -> None:
    which, data = document
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        (room / "drive").mkdir()
        fill(room / "drive", which, tuple(volumes))
        prime(room / "depot")
        before = snapshot(room)
        received = take(room, data)
        assert snapshot(room) == before
        if received:
            verify(room, data, received)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, len(MANIFESTS) - 1),
    st.lists(st.integers(0, 2), max_size=3),
    st.lists(st.tuples(st.sampled_from(SPOILERS), st.integers(0, 100)), max_size=3),
)
def test_drives(which: int, volumes: list[int], spoils: list[tuple[Any, int]]) -> None:
    data = _manifest.render(MANIFESTS[which])
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        (room / "drive").mkdir()
        files = fill(room / "drive", which, tuple(volumes))
        prime(room / "depot")
        for spoil, number in spoils:
            path = files[number % len(files)] if files else None
            if path and path.is_file() and not path.is_symlink():
                spoil(path)
        # What lies deeper than a path may be long cannot be listed from the top: not by this test either.
        deep = any(spoil is spoil_depth for spoil, _number in spoils)
        before = {} if deep else snapshot(room)
        received = take(room, data)
        if not deep:
            assert snapshot(room) == before
        if received:
            verify(room, data, received)


def kinds(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One place of each kind that a path stands in."""
    found: dict[Any, tuple[Any, ...]] = {}
    for place in places(document):
        value: Any = document
        for key in place:
            value = value[key]
        if isinstance(value, str) and "/" in value and place[0] in ("files", "volumes", "artifacts"):
            found.setdefault((value.split("/")[0], *(key for key in place if isinstance(key, str))), place)
    return list(found.values())


@pytest.mark.parametrize("which", [0, 3])
def test_no_path_leads_out(which: int, tmp_path: Path) -> None:
    room = tmp_path
    (room / "drive").mkdir()
    fill(room / "drive", which, (0, 1, 2))
    prime(room / "depot")
    before = snapshot(room)
    above = sorted(os.listdir(room.parent))
    for place in kinds(DOCUMENTS[which]):
        for path in HOSTILE:
            document = copy.deepcopy(DOCUMENTS[which])
            holder: Any = document
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = path
            take(room, json.dumps(document).encode("utf-8", "surrogatepass"))
    assert snapshot(room) == before
    assert sorted(os.listdir(room.parent)) == above
    assert set(os.listdir(room / "depot")) == {"incoming", "manifests", "models", "packages"}
