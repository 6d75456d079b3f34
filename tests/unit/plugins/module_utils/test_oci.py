# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images keep their names and digests, whatever format their manifest has; what nothing names goes.

What others wrote is never followed out of the layout, and what an interrupted run left is put right.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _oci
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.images import Layout
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "sha256:" + "a" * 64
needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


@pytest.mark.parametrize(
    ("name", "source", "repository", "digest"),
    [
        ("docker.io/library/nginx:1.30", "docker.io/library/nginx", "docker.io/library/nginx", None),
        (f"docker.io/library/nginx@{DIGEST}", "docker.io/library/nginx", "docker.io/library/nginx", DIGEST),
        ("localhost/x:1", "localhost/x", "localhost/x", None),
        ("reg.example.org:8443/a/b_c:v1", "reg.example.org:8443/a/b_c", "reg.example.org/a/b_c", None),
    ],
)
def test_full_names_are_taken_apart(name: str, source: str, repository: str, digest: str | None) -> None:
    assert _oci.parse_name(name) == _oci.Name(name, source, repository, digest)


@pytest.mark.parametrize(
    "name",
    [
        "nginx",
        "nginx:1",
        "library/nginx:1",
        "docker.io/library/nginx",
        "docker.io/nginx:",
        "docker.io/../x:1",
        "docker.io/x:1\n",
        "-x.y/z:1",
        f"docker.io/x:1@{DIGEST}",
        "docker.io/x@sha256:12",
        "docker.io/X:1",
        "docker.io//x:1",
        "",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(AirgapError, match="is not complete"):
        _oci.parse_name(name)


@given(st.text(max_size=40))
def test_any_name_is_read_or_refused(name: str) -> None:
    try:
        parsed = _oci.parse_name(name)
    except AirgapError:
        return
    assert ".." not in parsed.repository.split("/") and not parsed.repository.startswith(("/", "-"))


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def listing(*platforms: dict[str, str] | None) -> bytes:
    manifests = [
        {"digest": digest(number), "size": 1, **({"platform": platform} if platform else {})}
        for number, platform in enumerate(platforms)
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()


def test_one_architecture_is_chosen_from_a_list() -> None:
    raw = listing(
        {"os": "linux", "architecture": "arm64"},
        {"os": "windows", "architecture": "amd64"},
        {"os": "linux", "architecture": "amd64"},
    )
    assert _oci.choose_instance(raw, "amd64", "x") == digest(2)
    assert _oci.choose_instance(raw, "arm64", "x") == digest(0)
    with pytest.raises(AirgapError, match=r"linux/s390x; it has linux/arm64, windows/amd64, linux/amd64"):
        _oci.choose_instance(raw, "s390x", "x")


def test_a_single_manifest_is_named_by_its_own_digest() -> None:
    raw = b'{"schemaVersion": 2, "config": {}}'
    assert _oci.choose_instance(raw, "amd64", "x") == f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_gzip_is_chosen_before_zstd() -> None:
    images = json.loads(listing({"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "amd64"}))
    images["manifests"][0]["annotations"] = {_oci.ZSTD_VARIANT: "true"}
    assert _oci.choose_instance(json.dumps(images).encode(), "amd64", "x") == digest(1)


BAD_DIGESTS = ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32, "", None, 7, ["x"]]


@pytest.mark.parametrize("bad", BAD_DIGESTS)
def test_a_digest_that_is_none_never_becomes_a_path(bad: Any) -> None:
    with pytest.raises(AirgapError, match="as a digest"):
        _oci.parse_blob({"digest": bad, "size": 1}, "x")
    raw = json.dumps({"schemaVersion": 2, "manifests": [{"digest": bad, "size": 1}]}).encode()
    with pytest.raises(AirgapError, match="as a digest"):
        _oci.choose_instance(raw, "amd64", "x")
    with pytest.raises(AirgapError, match="as a digest"):
        _oci.parse_parts(json.dumps({"config": {"digest": bad, "size": 1}, "layers": []}).encode(), "x")


@pytest.mark.parametrize("bad", [-1, True, "1", 1.5, None, 1 << 80])
def test_a_size_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(AirgapError, match="as the size"):
        _oci.parse_blob({"digest": digest(1), "size": bad}, "x")


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"schemaVersion": 1}', b"<html>", b"[" * 100_000, b'{"manifests": 1}'])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(AirgapError):
        _oci.choose_instance(raw, "amd64", "x")


def make_image(path: Path, text: bytes, kind: str) -> str:
    """An image in skopeo's dir: form; returns its digest."""
    path.mkdir()
    docker = kind == _oci.DOCKER_MANIFEST
    layer_type = (
        "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else "application/vnd.oci.image.layer.v1.tar+gzip"
    )
    config_type = (
        "application/vnd.docker.container.image.v1+json" if docker else "application/vnd.oci.image.config.v1+json"
    )
    layer = subprocess.run(["gzip", "-nc"], input=text, capture_output=True, check=True).stdout
    diff = f"sha256:{hashlib.sha256(text).hexdigest()}"
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    ).encode()

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (path / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": blob(config, config_type),
        "layers": [blob(layer, layer_type)],
    }
    data = json.dumps(manifest).encode()
    (path / "manifest.json").write_bytes(data)
    (path / "version").write_text("Directory Transport Version: 1.1\n")
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def into_layout(source: Path, layout: Path, name: str) -> None:
    layout.mkdir(exist_ok=True)
    subprocess.run(["skopeo", "copy", "-q", "--preserve-digests", f"dir:{source}", f"oci:{layout}:{name}"], check=True)
    _oci.mend(str(layout))


@needs_skopeo
@pytest.mark.parametrize("kind", [_oci.OCI_MANIFEST, _oci.DOCKER_MANIFEST])
def test_an_image_leaves_the_layout_with_the_digest_it_came_with(tmp_path: Path, kind: str) -> None:
    name = "docker.io/library/x:1"
    digest = make_image(tmp_path / "image", b"layer", kind)
    into_layout(tmp_path / "image", tmp_path / "layout", name)
    assert _oci.held(str(tmp_path / "layout")) == {name: digest}
    assert _oci.architecture(str(tmp_path / "layout"), digest) == "amd64"
    subprocess.run(
        ["skopeo", "copy", "-q", "--preserve-digests", f"oci:{tmp_path}/layout:{name}", f"dir:{tmp_path}/back"],
        check=True,
    )
    assert f"sha256:{hashlib.sha256((tmp_path / 'back/manifest.json').read_bytes()).hexdigest()}" == digest


@needs_skopeo
def test_pruning_keeps_what_is_named_and_its_layers(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    kept = make_image(tmp_path / "one", b"one", _oci.DOCKER_MANIFEST)
    make_image(tmp_path / "two", b"two", _oci.OCI_MANIFEST)
    into_layout(tmp_path / "one", layout, "docker.io/x/one:1")
    into_layout(tmp_path / "two", layout, "docker.io/x/two:1")
    (layout / "oci-put-blob123").write_text("left by a killed copy")
    gone = _oci.prune(str(layout), {"docker.io/x/one:1"})
    # The other image's manifest, configuration and layer, and the leftover.
    assert len(gone) == 4 and "oci-put-blob123" in gone
    assert _oci.held(str(layout)) == {"docker.io/x/one:1": kept}
    assert _oci.prune(str(layout), {"docker.io/x/one:1"}) == []


@needs_skopeo
def test_an_image_that_lacks_a_layer_is_not_held(tmp_path: Path) -> None:
    digest = make_image(tmp_path / "image", b"layer", _oci.OCI_MANIFEST)
    into_layout(tmp_path / "image", tmp_path / "layout", "docker.io/x/one:1")
    layer = json.loads((tmp_path / "image/manifest.json").read_bytes())["layers"][0]
    assert _oci.size(str(tmp_path / "layout"), digest) > layer["size"]
    (tmp_path / "layout/blobs" / layer["digest"].replace(":", "/")).unlink()
    assert _oci.held(str(tmp_path / "layout")) == {}


def layout_with(tmp_path: Path, *names: str) -> tuple[Layout, str]:
    layout = Layout(tmp_path / "layout")
    for name in names:
        layout.name(layout.image(name), name)
    return layout, str(layout.path)


def test_a_killed_copy_leaves_nothing_that_the_next_run_trips_over(tmp_path: Path) -> None:
    layout, path = layout_with(tmp_path, "docker.io/x/one:1")
    (layout.path / "oci-put-blob123").write_text("half a layer")
    (layout.path / "blobs/sha256/.abc.part").write_text("half a layer")
    (layout.path / "blobs/link").symlink_to("/etc")
    _oci.mend(path)
    assert sorted(os.listdir(layout.path)) == ["blobs", "index.json", "oci-layout"]
    assert _oci.prune(path, {"docker.io/x/one:1"}) == []
    # The index is cut off: what it named is named again later, and no blob is lost.
    blobs = sorted(os.listdir(layout.path / "blobs/sha256"))
    (layout.path / "index.json").write_text('{"schemaVersion": 2, "mani')
    _oci.mend(path)
    assert _oci.held(path) == {} and sorted(os.listdir(layout.path / "blobs/sha256")) == blobs


def test_blobs_go_nowhere_else_when_their_directory_is_a_link(tmp_path: Path) -> None:
    layout, path = layout_with(tmp_path, "docker.io/x/one:1")
    (layout.path / "blobs").rename(tmp_path / "elsewhere")
    (layout.path / "blobs").symlink_to(tmp_path / "elsewhere")
    _oci.mend(path)
    assert not (layout.path / "blobs").is_symlink()
    assert _oci.held(path) == {}


@needs_skopeo
def test_a_copy_that_was_killed_before_its_index_was_wrapped_is_wrapped(tmp_path: Path) -> None:
    name = "docker.io/library/x:1"
    wanted = make_image(tmp_path / "image", b"layer", _oci.DOCKER_MANIFEST)
    subprocess.run(
        ["skopeo", "copy", "-q", "--preserve-digests", f"dir:{tmp_path}/image", f"oci:{tmp_path}/layout:{name}"],
        check=True,
    )
    assert (
        json.loads((tmp_path / "layout/index.json").read_bytes())["manifests"][0]["mediaType"] == _oci.DOCKER_MANIFEST
    )
    for _again in range(2):
        _oci.mend(str(tmp_path / "layout"))
        assert _oci.held(str(tmp_path / "layout")) == {name: wanted}
    subprocess.run(["skopeo", "inspect", f"oci:{tmp_path}/layout:{name}"], check=True, capture_output=True)


def test_blobs_are_read_once_and_wrong_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, path = layout_with(tmp_path, "docker.io/x/one:1")
    record = Record(str(tmp_path / "record"))
    layer = json.loads((layout.path / "blobs/sha256" / layout.entries[0]["digest"][7:]).read_bytes())["layers"][0]
    blob = layout.path / "blobs/sha256" / layer["digest"][7:]
    # As after a power failure: the name and the size are right.
    blob.write_bytes(b"\0" * layer["size"])
    assert _oci.held(path)
    assert _oci.verify(path, record) == [f"blobs/sha256/{blob.name}"]
    assert _oci.held(path) == {}
    monkeypatch.setattr(
        _oci, "sha256_files", lambda _root, sizes, **_options: pytest.fail(f"read again: {sizes}") if sizes else {}
    )
    assert _oci.verify(path, record) == []


def test_new_blobs_are_noted_by_their_names(tmp_path: Path) -> None:
    layout, path = layout_with(tmp_path, "docker.io/x/one:1")
    record = Record(str(tmp_path / "record"))
    _oci.note(path, record)
    for blob in (layout.path / "blobs/sha256").iterdir():
        assert record.known(str(blob)) == blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


# What an index may say: anything, or something near to right.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(BAD_DIGESTS[:2]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DESCRIPTOR = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": JSON | st.sampled_from([_oci.OCI_INDEX, _oci.OCI_MANIFEST, _oci.DOCKER_MANIFEST]),
        "digest": JSON | st.sampled_from([digest(1), digest(2), "sha256:../../../outside"]),
        "size": JSON | st.integers(0, 200),
        "annotations": JSON | st.just({_oci.REFERENCE: "docker.io/x/one:1"}),
        "platform": JSON,
    },
)
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": JSON,
        "manifests": JSON | st.lists(DESCRIPTOR, max_size=3),
        "config": DESCRIPTOR | JSON,
        "layers": JSON | st.lists(DESCRIPTOR, max_size=3),
        "architecture": JSON,
    },
)


@given(index=DOCUMENT | JSON, one=DOCUMENT | JSON, two=DOCUMENT | st.binary(max_size=40))
def test_whatever_a_layout_says_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, index: Any, one: Any, two: Any
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    (root / "outside").write_text('{"config": {}, "layers": []}')
    path = root / "layout"
    (path / "blobs/sha256").mkdir(parents=True)
    (path / "index.json").write_text(json.dumps(index))
    for number, document in ((1, one), (2, two)):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        (path / "blobs" / digest(number).replace(":", "/")).write_bytes(data)
    _oci.mend(str(path))
    for name, found in _oci.held(str(path)).items():
        assert (name, found) == ("docker.io/x/one:1", found) and found in (digest(1), digest(2))
    for action in (
        lambda: _oci.prune(str(path), {"docker.io/x/one:1"}),
        lambda: _oci.architecture(str(path), digest(1)),
        lambda: _oci.choose_instance(json.dumps(one).encode(), "amd64", "x"),
    ):
        try:
            action()
        except (AirgapError, FileNotFoundError) as error:
            assert str(error)
    assert sorted(os.listdir(root)) == ["layout", "outside"]
