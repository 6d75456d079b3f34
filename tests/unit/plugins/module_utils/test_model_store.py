# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models travel by a real rsync through real TLS here; only the depot's services are stand-ins."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Iterator

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _model_store
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.depot import (
    ModelSource,
    authority,
    certificate,
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("rsync") and shutil.which("openssl")), reason="needs the programs rsync and openssl"
)

WEIGHTS = os.urandom(1024) * 3072
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/#odd name;.txt": b"odd"}


@pytest.fixture(name="keys", scope="module")
def fixture_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keys = tmp_path_factory.mktemp("keys")
    for name in ("ca", "other"):
        authority(keys, name)
    certificate(keys, "depot", "ca", "DNS:localhost,IP:127.0.0.1")
    certificate(keys, "elsewhere", "ca", "DNS:elsewhere")
    certificate(keys, "host", "ca", "DNS:gpu1")
    certificate(keys, "stranger", "other", "DNS:gpu1")
    return keys


class Room:
    """A depot with one model, and a host that has nothing."""

    def __init__(self, directory: Path, server: str = "depot") -> None:
        self.directory = directory
        self.at_depot = directory / "models" / "tiny" / "r1"
        listed = []
        for path, data in sorted(FILES.items()):
            (self.at_depot / path).parent.mkdir(parents=True, exist_ok=True)
            (self.at_depot / path).write_bytes(data)
            listed.append(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
        text = "".join(listed).encode()
        self.at_depot.with_name("r1.sha256").write_bytes(text)
        self.source = ModelSource(directory, server, "ca")
        self.model = _model_store.Model(str(directory / "host"), "tiny", "r1", hashlib.sha256(text).hexdigest())
        self.on_host = Path(self.model.path)

    def depot(self, host: str = "localhost", ca: str = "ca", client: str = "host") -> _model_store.Depot:
        return _model_store.Depot(
            host,
            self.source.port,
            ca_path=str(self.directory / f"{ca}.pem"),
            certificate_path=str(self.directory / f"{client}.pem"),
            key_path=str(self.directory / f"{client}.key"),
            timeout=20,
        )

    def fetch(self, depot: _model_store.Depot | None = None) -> dict[str, int]:
        return _model_store.fetch(self.model, depot or self.depot(), self.inspect())

    def inspect(self, always: bool = False) -> _model_store.Condition:
        return _model_store.inspect(self.model, always)


@pytest.fixture(name="room")
def fixture_room(tmp_path: Path, keys: Path) -> Iterator[Room]:
    shutil.copytree(keys, tmp_path, dirs_exist_ok=True)
    room = Room(tmp_path)
    yield room
    room.source.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_model_comes_whole_and_a_second_look_hashes_nothing(room: Room, host: str) -> None:
    assert room.inspect().reasons == ["the revision with this digest is not on this host"]
    assert room.fetch(room.depot(host)) == {path: len(data) for path, data in FILES.items()}
    assert {path: (room.on_host / path).read_bytes() for path in FILES} == FILES
    assert (room.on_host / "config.json").stat().st_mode & 0o777 == 0o644
    assert (room.on_host / "sub").stat().st_mode & 0o777 == 0o755
    assert room.inspect().whole
    assert room.inspect().hashed == 0
    assert room.inspect(always=True).hashed == len(FILES)
    assert sorted(os.listdir(room.on_host.parent)) == ["r1", "r1.sha256", "r1.verified"]


def test_a_wrong_byte_with_its_old_time_is_found_and_only_that_file_is_fetched(room: Room) -> None:
    room.fetch()
    weights = room.on_host / "model.safetensors"
    before = weights.stat()
    weights.write_bytes(b"X" + WEIGHTS[1:])
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    (room.on_host / "config.json").unlink()
    (room.on_host / "extra.bin").write_bytes(b"")
    (room.on_host / "link").symlink_to("/etc/passwd")
    reasons = room.inspect().reasons
    assert reasons[0] == "config.json: missing"
    assert reasons[1].startswith(f"model.safetensors: expected {hashlib.sha256(WEIGHTS).hexdigest()}, seen ")
    assert reasons[2:] == ["extra.bin: not part of the model", "link: not part of the model"]
    assert sorted(room.fetch()) == ["config.json", "model.safetensors"]
    assert room.inspect(always=True).whole


def test_an_interrupted_fetch_goes_on_where_it_stopped(room: Room) -> None:
    room.source.break_after = 1_500_000
    with pytest.raises(AirgapError, match=r"tiny/r1 could not be fetched from localhost"):
        room.fetch()
    assert not room.on_host.exists()
    had = (Path(room.model.partial) / "model.safetensors").stat().st_size
    assert had > 0
    room.source.sent = 0
    room.fetch()
    assert room.inspect(always=True).whole
    assert room.source.sent < len(WEIGHTS) - had + 200_000


def test_a_spoilt_beginning_is_fetched_anew(room: Room) -> None:
    partial = Path(room.model.partial)
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_bytes(b"not the model")
    (partial / "left-over").write_bytes(b"")
    room.fetch()
    assert room.inspect(always=True).whole


def test_a_depot_with_other_bytes_is_refused_by_file_and_digest(room: Room) -> None:
    (room.at_depot / "config.json").write_bytes(b"[]")
    with pytest.raises(
        AirgapError, match=r"not what was sealed: config.json: expected [0-9a-f]{64}, seen [0-9a-f]{64}"
    ):
        room.fetch()
    assert not room.on_host.exists()


def test_a_depot_with_another_list_is_refused(room: Room) -> None:
    room.at_depot.with_name("r1.sha256").write_bytes(b"")
    with pytest.raises(AirgapError, match=r"r1\.sha256 at localhost: expected SHA-256 .* seen e3b0c442"):
        room.fetch()
    assert not Path(room.model.list_path).exists()


@pytest.mark.parametrize(
    ("depot", "words"),
    [
        ({"ca": "other"}, "does not vouch for the depot's certificate"),
        ({"client": "stranger"}, "could not be fetched"),
    ],
)
def test_a_stranger_is_refused_on_either_side(room: Room, depot: dict[str, str], words: str) -> None:
    with pytest.raises(AirgapError, match=words):
        room.fetch(room.depot(**depot))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(tmp_path: Path, keys: Path, host: str) -> None:
    shutil.copytree(keys, tmp_path, dirs_exist_ok=True)
    room = Room(tmp_path, server="elsewhere")
    with pytest.raises(AirgapError, match="certificate is for another"):
        room.fetch(room.depot(host))
    room.source.close()


def test_a_revision_that_the_depot_lacks_says_what_to_import(room: Room) -> None:
    room.at_depot.with_name("r1.sha256").unlink()
    with pytest.raises(AirgapError, match="does not hold this revision"):
        room.fetch()


def test_too_little_room_is_said_before_anything_is_fetched(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10, 1, 1, 10, 10, 10, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda path: full)
    with pytest.raises(AirgapError, match=r"needs 0\.00 GB more in .* where 0\.00 GB are free"):
        room.fetch()
    assert not room.on_host.exists()


@pytest.mark.parametrize("line", ["abc  x", "0" * 64 + "  /etc/passwd", "0" * 64 + "  a/../../b"])
def test_a_list_that_leads_elsewhere_is_refused(line: str) -> None:
    with pytest.raises(AirgapError, match="Line 1 of the list of digests"):
        _model_store.parse_list(line)


def test_names_that_a_shell_would_read_are_refused(room: Room) -> None:
    with pytest.raises(AirgapError, match="cannot be passed on to openssl"):
        room.fetch(room.depot(host="x';reboot;'"))
    with pytest.raises(AirgapError, match="cannot be a directory's name"):
        _model_store.inspect(room.model._replace(name="../x"))
