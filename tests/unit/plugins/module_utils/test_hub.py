# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources are read strictly, and a file that arrives has its digests whatever way it came. The rest is in tests/staging."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _hub
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._progress import Progress

COMMIT = "c" * 40
DATA = bytes(range(256)) * 10


def small(data: bytes = DATA) -> _hub.Remote:
    return _hub.Remote(len(data), "", hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


@pytest.mark.parametrize(
    ("source", "repository", "revision"),
    [
        ("hf://org/name", "org/name", "main"),
        ("hf://org/name@v1.0", "org/name", "v1.0"),
        ("hf://org/name@refs/pr/7", "org/name", "refs/pr/7"),
        (f"hf://Org-1/na_me.2@{COMMIT}", "Org-1/na_me.2", COMMIT),
        ("hf://gpt2", "gpt2", "main"),
    ],
)
def test_sources_that_are_read(source: str, repository: str, revision: str) -> None:
    assert _hub.parse(source) == (repository, revision)


@pytest.mark.parametrize(
    "source",
    [
        "hf://",
        "hf://org/",
        "hf:///name",
        "hf://org/name@",
        "hf://a/b/c",
        "hf://org/../x",
        "hf://org/name@a b",
        "hf://ä/b",
    ],
)
def test_sources_that_are_refused(source: str) -> None:
    with pytest.raises(AirgapError, match="not of the form"):
        _hub.parse(source)


def test_a_file_that_arrives_in_parts_has_the_digests_of_the_whole(tmp_path: Path) -> None:
    path, progress = tmp_path / "part", Progress("x", len(DATA))
    path.write_bytes(DATA[:1000])
    with _hub._Arriving(str(path), small(), progress) as arriving:
        assert (arriving.size, arriving.tell()) == (1000, 1000)
        arriving.write(DATA[1000:])
        assert arriving.digests() == (hashlib.sha256(DATA).hexdigest(), small().git_sha1)
    assert path.read_bytes() == DATA and progress.state()["done"] == len(DATA)


def test_what_the_client_begins_anew_is_counted_once(tmp_path: Path) -> None:
    path, progress = tmp_path / "part", Progress("x", len(DATA))
    path.write_bytes(b"y" * 1000)
    with _hub._Arriving(str(path), small(), progress) as arriving:
        arriving.seek(0)
        arriving.truncate()
        arriving.write(DATA)
        assert arriving.digests()[1] == small().git_sha1
        arriving.seek(5)
        with pytest.raises(OSError, match="anew only"):
            arriving.truncate()
    assert path.read_bytes() == DATA and progress.state()["done"] == len(DATA)


def test_a_part_that_is_too_long_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(DATA + b"more")
    with _hub._Arriving(str(path), small(), Progress("x")) as arriving:
        assert arriving.size == 0
    assert path.read_bytes() == b""


def test_a_fault_elsewhere_ends_what_arrives(tmp_path: Path) -> None:
    stop = threading.Event()
    with _hub._Arriving(str(tmp_path / "part"), small(), Progress("x"), stop) as arriving:
        arriving.write(DATA[:10])
        stop.set()
        with pytest.raises(AirgapError, match="another file failed"):
            arriving.write(DATA[10:])
    assert (tmp_path / "part").read_bytes() == DATA[:10]


def test_what_is_in_the_cache_is_used_without_asking(tmp_path: Path) -> None:
    directory = tmp_path / "hub/org--name"
    directory.mkdir(parents=True)
    (directory / f"{COMMIT}.json").write_text(json.dumps({"a": small()}))
    (directory / small().blob).write_bytes(DATA)
    record = Record(None)
    hub = _hub.Hub(str(tmp_path), record)
    listing = hub.listing("org/name", COMMIT)
    assert listing == (COMMIT, {"a": small()})
    fetched = hub.fetch("org/name", COMMIT, listing.files)
    assert fetched["a"] == (str(directory / small().blob), hashlib.sha256(DATA).hexdigest())
    assert record.known(fetched["a"].path) == fetched["a"].sha256


def test_the_variables_of_a_private_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(authority))
    _hub._prepare_environment()
    assert os.environ["SSL_CERT_FILE"] == str(authority)
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    with pytest.raises(AirgapError, match=r"SSL_CERT_FILE is /none\.pem"):
        _hub._prepare_environment()
