# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vendors' archives: the image that is meant is found, a wrong one is told, and nothing in a file leads anywhere else."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _image_archive, _oci
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.images import (
    OCI_MANIFEST,
    Layout,
    docker_archive,
    sha256,
    tar,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NAME = "docker.io/vendor/engine:1.0"
needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


def archive_of(path: Path, reference: str | None = None, name: str = NAME) -> _image_archive.Archive:
    return _image_archive.Archive(_oci.parse_name(name), str(path), reference)


def find(path: Path, reference: str | None = None, architecture: str = "amd64") -> _image_archive.Image:
    reader = _image_archive.Reader(str(path), str(path.parent / "scratch"))
    try:
        return _image_archive.find(reader, archive_of(path, reference), architecture)
    finally:
        reader.close()


def collect(path: Path, layout: Path, reference: str | None = None) -> str:
    reader = _image_archive.Reader(str(path), str(path.parent / "scratch"))
    try:
        archive = archive_of(path, reference)
        return _image_archive.copy(reader, archive, _image_archive.find(reader, archive, "amd64"), str(layout))
    finally:
        reader.close()


def test_an_oci_archive_keeps_its_digest_and_every_blob(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    image = source.image("engine", packed="zstd" if shutil.which("zstd") else "gzip")
    source.name(image, "1.0")
    digest = collect(source.archive(tmp_path / "a.tar"), tmp_path / "images")
    assert digest == image["digest"]
    assert _oci.held(str(tmp_path / "images")) == {NAME: digest}
    blobs = "blobs/sha256"
    assert {path.name: path.read_bytes() for path in (tmp_path / "images" / blobs).iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "source" / blobs).iterdir()
    }


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives_are_read_and_nothing_stays_of_the_unpacking(tmp_path: Path, pack: Any) -> None:
    source = Layout(tmp_path / "source")
    image = source.image("engine")
    source.name(image, NAME)
    path = tmp_path / "a.tar.packed"
    path.write_bytes(pack(source.archive(tmp_path / "a.tar").read_bytes()))
    assert collect(path, tmp_path / "images") == image["digest"]
    assert os.listdir(tmp_path / "scratch") == []


def test_an_archive_packed_with_zstd_says_how_to_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 600)
    with pytest.raises(AirgapError, match=r"Unpack it first: zstd -d .*a\.tar\.zst"):
        find(tmp_path / "a.tar.zst")


def test_of_a_list_the_architecture_is_taken(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    images = [
        {**source.image(name, architecture=name), "platform": {"os": "linux", "architecture": name}}
        for name in ("arm64", "amd64")
    ]
    source.name(source.listing(images), "latest")
    path = source.archive(tmp_path / "a.tar")
    for image in images:
        found = find(path, architecture=image["platform"]["architecture"])
        assert found.manifest and found.manifest.digest == image["digest"]
    with pytest.raises(AirgapError, match=r"has no image for linux/s390x; it has linux/arm64, linux/amd64"):
        find(path, architecture="s390x")


def test_of_several_images_the_named_one_is_taken(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    images = {name: source.image(name) for name in ("vendor/engine:1.0", "vendor/other:1", "latest")}
    for name, image in images.items():
        source.name(image, name)
    path = source.archive(tmp_path / "a.tar")
    for reference, name in ((None, "vendor/engine:1.0"), ("latest", "latest"), ("vendor/other:1", "vendor/other:1")):
        found = find(path, reference)
        assert found.manifest and found.manifest.digest == images[name]["digest"]
    with pytest.raises(
        AirgapError, match=r"has no image 'nothing'; it has: vendor/engine:1\.0, vendor/other:1, latest"
    ):
        find(path, "nothing")


def test_an_archive_of_several_others_asks_which(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "d.tar", {"a:1": "a", "b:1": "b"})
    with pytest.raises(
        AirgapError, match=rf"has 2 images \(a:1, b:1\)\. Say with archive_reference which of them is {NAME}"
    ):
        find(path)
    assert [find(path, name).position for name in ("a:1", "b:1")] == [0, 1]


@pytest.mark.parametrize("packed", ["", "gzip"])
@pytest.mark.parametrize("reference", [None, "vendor/engine:1.0", "docker.io/vendor/engine:1.0"])
def test_of_both_forms_of_docker_save_the_smaller_one_travels(
    tmp_path: Path, packed: str, reference: str | None
) -> None:
    """Docker 25 and later write both: the digest counts where it is the registry's, and then the layers are packed."""
    source = Layout(tmp_path / "source")
    image = source.image("engine", packed=packed)
    annotations = {_image_archive._CONTAINERD_NAME: NAME, _oci.REFERENCE: "1.0"}
    (source.path / "index.json").write_text(json.dumps({"manifests": [{**image, "annotations": annotations}]}))
    manifest = json.loads((source.path / "blobs/sha256" / image["digest"][7:]).read_bytes())
    paths = ["blobs/" + part["digest"].replace(":", "/") for part in [manifest["config"], *manifest["layers"]]]
    listed = [{"Config": paths[0], "Layers": paths[1:], "RepoTags": ["vendor/engine:1.0"]}]
    (source.path / "manifest.json").write_text(json.dumps(listed))
    found = find(source.archive(tmp_path / "a.tar"), reference)
    assert (found.manifest.digest if found.manifest else None) == (image["digest"] if packed else None)


def test_two_images_of_one_name_are_not_guessed_at(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    for name in ("one", "two"):
        source.name(source.image(name), NAME)
    with pytest.raises(AirgapError, match="nothing tells them apart"):
        find(source.archive(tmp_path / "a.tar"))


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_another_architecture_is_refused_before_anything_is_copied(tmp_path: Path, kind: str) -> None:
    source = Layout(tmp_path / "source")
    source.name(source.image("engine", architecture="arm64"), NAME)
    path = source.archive(tmp_path / "oci.tar")
    docker = docker_archive(tmp_path / "docker.tar", {"engine:1": "x"}, architecture="arm64")
    with pytest.raises(AirgapError, match=r"engine:1\.0 of .* is made for 'arm64'; the site needs amd64"):
        find(path if kind == "oci" else docker)


@needs_skopeo
@pytest.mark.parametrize("packed", [False, True])
def test_a_docker_archive_gets_one_digest_and_keeps_it(tmp_path: Path, packed: bool) -> None:
    path = docker_archive(tmp_path / "d:1.tar", {"other:1": "b", "engine:2": "a"})
    if packed:
        path = tmp_path / "d.tgz"
        path.write_bytes(gzip.compress((tmp_path / "d:1.tar").read_bytes()))
    digests = {collect(path, tmp_path / f"images{number}", "engine:2") for number in range(2)}
    assert len(digests) == 1
    assert _oci.held(str(tmp_path / "images0")) == {NAME: digests.pop()}
    layer = _oci.parts(str(tmp_path / "images0"), _oci.held(str(tmp_path / "images0"))[NAME])[1]
    assert layer.media_type.endswith("+gzip")
    content = gzip.decompress((tmp_path / "images0" / layer.path).read_bytes())
    assert content == tar({"file": b"a"})
    assert not list((tmp_path / "scratch").iterdir())


def test_an_archive_is_known_as_long_as_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"engine")
    archive, digest = archive_of(path), "sha256:" + "a" * 64
    known = _image_archive.Known(str(tmp_path / "state/archives.json"))
    known.note(archive, "amd64", digest)
    known.save()
    reads: list[str] = []
    sha256_file = _image_archive.sha256_file
    monkeypatch.setattr(_image_archive, "sha256_file", lambda name: reads.append(name) or sha256_file(name))

    def ask(architecture: str = "amd64", reference: str | None = None) -> str | None:
        return _image_archive.Known(str(tmp_path / "state/archives.json")).digest(
            archive_of(path, reference), architecture
        )

    assert ask() == digest and reads == []
    assert ask("arm64") is None and ask("amd64", "x") is None
    os.utime(path, (1, 1))
    assert ask() == digest and len(reads) == 1
    path.write_bytes(b"enginE")
    assert ask() is None
    path.write_bytes(b"another")
    assert ask() is None
    path.unlink()
    assert ask() is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"PATH": 7}', '{"PATH": {"stamp": [6, 0]}}', "{"])
def test_a_record_that_is_broken_costs_time_only(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"engine")
    (tmp_path / "known").write_text(text.replace("PATH", str(path)))
    known = _image_archive.Known(str(tmp_path / "known"))
    assert known.digest(archive_of(path), "amd64") is None
    known.note(archive_of(path), "amd64", "sha256:" + "a" * 64)
    assert known.digest(archive_of(path), "amd64") == "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a tar archive"),
        (b"#!/bin/sh\n" * 100, "is not a tar archive"),
        (tar({"etc/passwd": b"x"}), r"neither an oci-archive \(it has no index\.json\) nor a docker-archive"),
        (tar({"oci-layout": b"{}"}, {"index.json": "/etc/passwd"}), r"neither an oci-archive"),
        (tar({"oci-layout": b"{}", "index.json": b"{}"}), "lists no images"),
        (tar({"oci-layout": b"{}", "index.json": b'{"manifests": []}'}), "has 0 images"),
        (tar({"oci-layout": b"{}", "index.json": b"[" * 100000}), "is not valid JSON"),
        (tar({"manifest.json": b"{}"}), "lists no images"),
        (tar({"manifest.json": b"[]"}), "has 0 images"),
        (tar({"manifest.json": b"[{}]"}), "has no file 'None'"),
        (tar({"manifest.json": b'[{"Config": "../../etc/passwd"}]'}), "has no file '../../etc/passwd'"),
        # Without a date: each worker of the tests must find the same cases.
        (gzip.compress(b"x" * 5000, mtime=0), "is not a tar archive"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-9], "could not be unpacked"),
    ],
)
def test_what_is_no_archive_of_an_image_is_told(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(AirgapError, match=reason):
        find(tmp_path / "a.tar")
    assert not (tmp_path / "scratch").exists() or not os.listdir(tmp_path / "scratch")


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "none.tar", "No such file"),
        (tmp_path, "not a regular"),
        (tmp_path / "pipe", "not a regular"),
    ):
        with pytest.raises(AirgapError, match=reason):
            find(path)


@pytest.mark.parametrize("how", ["missing", "cut", "changed", "linked", "config"])
def test_an_archive_that_is_damaged_is_told_and_leaves_no_image(tmp_path: Path, how: str) -> None:
    source = Layout(tmp_path / "source")
    image = source.image("engine")
    source.name(image, NAME)
    members = source.members()
    manifest = json.loads(members["blobs/sha256/" + image["digest"][7:]])
    layer = "blobs/sha256/" + manifest["layers"][0]["digest"][7:]
    config = "blobs/sha256/" + manifest["config"]["digest"][7:]
    links = {}
    if how == "changed":
        members[layer] = members[layer][:-1] + b"?"
    elif how == "config":
        members[config] = members[config].replace(b"amd64", b"arm64")
    elif how in ("missing", "linked"):
        del members[layer]
        links = {layer: "/etc/passwd"} if how == "linked" else {}
    data = tar(members, links)
    (tmp_path / "a.tar").write_bytes(data[:-11000] if how == "cut" else data)
    with pytest.raises(AirgapError, match=r"is damaged|is not whole|has no file"):
        collect(tmp_path / "a.tar", tmp_path / "images")
    assert _oci.held(str(tmp_path / "images")) == {}
    if (tmp_path / "images").exists():
        assert not [path for path in (tmp_path / "images").rglob("*") if path.name.endswith(".part")]


def test_names_and_links_of_an_archive_lead_nowhere(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    image = source.image("engine")
    source.name(image, NAME)
    (tmp_path / "outside").mkdir()
    members = {"../outside/a": b"x", "/tmp/airgap-outside": b"x", "blobs/sha256/../../../outside/b": b"x"}
    links = {"blobs": str(tmp_path / "outside"), "images": str(tmp_path / "outside")}
    (tmp_path / "a.tar").write_bytes(tar({**members, **source.members()}, links))
    assert collect(tmp_path / "a.tar", tmp_path / "images") == image["digest"]
    assert os.listdir(tmp_path / "outside") == [] and not os.path.exists("/tmp/airgap-outside")
    assert sorted(os.listdir(tmp_path / "images")) == ["blobs", "index.json", "oci-layout"]


@pytest.mark.parametrize("where", ["index", "list", "manifest", "layer"])
def test_a_digest_that_is_a_path_is_refused(tmp_path: Path, where: str) -> None:
    bad = "sha256:../../../outside"
    source = Layout(tmp_path / "source")
    image = source.image("engine")
    if where == "manifest":
        text = json.dumps({"schemaVersion": 2, "config": {"digest": bad, "size": 1}, "layers": []})
        image = source.blob(text.encode(), OCI_MANIFEST)
    elif where == "layer":
        manifest = json.loads((source.path / "blobs/sha256" / image["digest"][7:]).read_bytes())
        manifest["layers"][0]["digest"] = bad
        image = source.blob(json.dumps(manifest).encode(), OCI_MANIFEST)
    elif where == "list":
        image = source.listing([{**image, "digest": bad}])
    else:
        image = {**image, "digest": bad}
    source.name(image, NAME)
    (tmp_path / "outside").write_text("secret")
    with pytest.raises(AirgapError, match="as a digest"):
        collect(source.archive(tmp_path / "a.tar"), tmp_path / "images")
    assert not (tmp_path / "images").exists()


@needs_skopeo
@pytest.mark.parametrize("layer", ["../../../../etc/passwd", "/etc/passwd", "link", "away", "none"])
def test_a_docker_archive_leads_skopeo_nowhere(tmp_path: Path, layer: str) -> None:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(b"x")]}}
    listed = [{"Config": "config", "RepoTags": None, "Layers": [layer]}]
    members = {"config": json.dumps(config).encode(), "manifest.json": json.dumps(listed).encode()}
    (tmp_path / "a.tar").write_bytes(tar(members, {"link": "/etc/passwd", "away": "../../../../etc/passwd"}))
    with pytest.raises(AirgapError, match=r"engine:1\.0 of .*a\.tar could not be read: ") as refused:
        collect(tmp_path / "a.tar", tmp_path / "images")
    assert "goroutine" not in str(refused.value)
    assert _oci.held(str(tmp_path / "images")) == {}
    root = Path("/etc/passwd").read_bytes()
    assert not [path for path in (tmp_path / "images").rglob("*") if path.is_file() and root in path.read_bytes()]


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    header = bytearray(tar({"x": b""})[:512])
    header[156:157] = b"x"
    header[124:136] = b"%011o\0" % (3 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(header)
        file.truncate(3 << 30)
    with pytest.raises(AirgapError, match=r"a header claims \d+ bytes"):
        find(tmp_path / "a.tar")


NAMES = st.sampled_from(
    ["oci-layout", "index.json", "manifest.json", "blobs/sha256/" + "0" * 64, "../x", "/x", "blobs", "./index.json"]
) | st.text(max_size=6)
CONTENT = (
    st.binary(max_size=60)
    | st.sampled_from(
        [b"{}", b"[{}]", b"[", b'{"manifests": [{}]}', b'{"manifests": [{"digest": "sha256:../x", "size": 1}]}']
    )
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=8) | st.just("sha256:" + "0" * 64),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["manifests", "digest", "size", "annotations", "Config", "RepoTags", "config", "layers"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)


@given(members=st.dictionaries(NAMES, CONTENT, max_size=5), cut=st.integers(0, 3000), flips=st.binary(max_size=6))
@settings(max_examples=150)
def test_any_archive_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], cut: int, flips: bytes
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    named = {name: data for name, data in members.items() if "\0" not in name and name.isascii()}
    data = bytearray(tar({"oci-layout": b"{}", **named}))
    for number, flip in enumerate(flips):
        data[(flip * 97 + number * 512) % len(data)] ^= flip or 1
    (root / "a.tar").write_bytes(bytes(data[: len(data) - cut if flips else len(data)]))
    try:
        collect(root / "a.tar", root / "images")
    except AirgapError as error:
        assert str(error)
    assert set(os.listdir(root)) <= {"a.tar", "images", "scratch"}


@needs_skopeo
def test_an_archive_that_skopeo_wrote_is_read(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    image = source.image("engine")
    source.name(image, NAME)
    subprocess.run(
        [
            "skopeo",
            "copy",
            "-q",
            "--preserve-digests",
            f"oci:{source.path}:{NAME}",
            f"oci-archive:{tmp_path}/a.tar:{NAME}",
        ],
        check=True,
    )
    assert collect(tmp_path / "a.tar", tmp_path / "images") == image["digest"]
    assert sha256((tmp_path / "images/blobs/sha256" / image["digest"][7:]).read_bytes()) == image["digest"]
