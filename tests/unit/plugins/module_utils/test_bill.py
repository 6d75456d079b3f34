# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The software bill: valid by the library's own strict schema, the same bytes for the same bundle."""

from __future__ import annotations

import copy
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _bill
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record, sha256_bytes
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ARTIFACTS: dict[str, Any] = {
    "packages": [
        {
            "distribution": "Debian",
            "release": "trixie",
            "architecture": "amd64",
            "format": "apt",
            "directory": "packages/debian-trixie",
            "suite": "airgap",
            "component": "main",
            "key": "packages/debian-trixie/archive-key.asc",
            "packages": [{"name": "libc++1", "version": "1:19.1.7-3+b1", "architecture": "amd64"}],
        },
        {
            "distribution": "Rocky",
            "release": "9",
            "architecture": "amd64",
            "format": "dnf",
            "directory": "packages/rocky-9",
            "key": "packages/rocky-9/archive-key.asc",
            "packages": [
                {"name": "Demo", "version": "2:1.0-1.el9", "architecture": "x86_64", "licence": "GPLv2+ and BSD"}
            ],
        },
    ],
    "images": [
        {
            "name": "docker.io/library/nginx:1.30",
            "repository": "docker.io/library/nginx",
            "digest": f"sha256:{'a' * 64}",
            "size": 1,
        },
        {
            "name": f"registry.example.org:5000/team/engine@sha256:{'b' * 64}",
            "repository": "registry.example.org/team/engine",
            "digest": f"sha256:{'b' * 64}",
            "size": 1,
        },
    ],
    "models": [
        {
            "name": "llama",
            "source": f"hf://acme/Llama-3@{COMMIT}",
            "revision": COMMIT,
            "digest": "c" * 64,
            "directory": f"models/llama/{COMMIT}",
            "size": 5,
            "files": 2,
            "licence": "apache-2.0",
        },
        {
            "name": "own",
            "source": "/srv/own",
            "revision": "1234567890abcdef",
            "digest": "d" * 64,
            "directory": "models/own/1234567890abcdef",
            "size": 5,
            "files": 2,
            "licence": "",
        },
    ],
    "controller": {
        "python": ["3.11", "3.13"],
        "requirements": ["pyyaml==6.0.3"],
        "collections": [{"name": "airgap.inference", "version": "0.1.0", "licence": "GPL-3.0-or-later"}],
        "wheels": [{"name": "pyyaml", "version": "6.0.3", "licence": "MIT OR Apache-2.0"}],
    },
    "rehearsals": [{"kind": "instance"}],
}
PACKAGES = f"Package: libc++1\nVersion: 1:19.1.7-3+b1\nArchitecture: amd64\nFilename: pool/libc++1_19.1.7-3+b1_amd64.deb\nSHA256: {'1' * 64}\n"
REPOMD = (
    '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">'
    '<location href="repodata/primary.xml.gz"/></data></repomd>'
)
PRIMARY = (
    '<metadata xmlns="http://linux.duke.edu/metadata/common" packages="1"><package type="rpm"><name>Demo</name>'
    f'<arch>x86_64</arch><version epoch="2" ver="1.0" rel="1.el9"/><checksum type="sha256" pkgid="YES">{"2" * 64}</checksum>'
    '<location href="Packages/Demo-1.0-1.el9.x86_64.rpm"/></package></metadata>'
)
WHEELS = [f"PyYAML-6.0.3-cp{number}-cp{number}-manylinux_2_28_x86_64.whl" for number in ("311", "313")]


@pytest.fixture(name="root")
def fixture_root(tmp_path: Path) -> Path:
    files = {
        "packages/debian-trixie/dists/airgap/main/binary-amd64/Packages": PACKAGES.encode(),
        "packages/rocky-9/repodata/repomd.xml": REPOMD.encode(),
        "packages/rocky-9/repodata/primary.xml.gz": gzip.compress(PRIMARY.encode()),
        "controller/collections/airgap-inference-0.1.0.tar.gz": b"collection",
        **{f"controller/wheels/{name}": name.encode() for name in WHEELS},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def render(root: Path, artifacts: dict[str, Any] | None = None, complete: bool = True, site: str = "clinic-a") -> bytes:
    return _bill.render(str(root), site, artifacts or ARTIFACTS, Record(None), complete=complete)


def components(root: Path, artifacts: dict[str, Any] | None = None, complete: bool = True) -> dict[str, Any]:
    listed = json.loads(render(root, artifacts, complete))["components"]
    found = {item["bom-ref"]: item for item in listed}
    assert len(found) == len(listed)
    return found


def assert_valid(bill: bytes) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode())
    assert error is None, repr(error)


def test_it_is_valid_cyclonedx(root: Path) -> None:
    bill = render(root)
    assert_valid(bill)
    document = json.loads(bill)
    assert document["specVersion"] == "1.6"
    assert document["metadata"]["component"]["name"] == "clinic-a"
    assert document["metadata"]["tools"]["components"][0]["version"] == "0.1.0"
    # A tool that is made to find fault finds what is not valid.
    with pytest.raises(AssertionError):
        assert_valid(bill.replace(b'"machine-learning-model"', b'"brain"'))


def test_every_thing_has_its_package_url(root: Path) -> None:
    assert {item["bom-ref"]: item.get("purl") for item in components(root).values()} == {
        "packages/debian-trixie/pool/libc++1_19.1.7-3+b1_amd64.deb": "pkg:deb/debian/libc%2B%2B1@1:19.1.7-3%2Bb1?arch=amd64&distro=trixie",
        "packages/rocky-9/Packages/Demo-1.0-1.el9.x86_64.rpm": "pkg:rpm/rocky/Demo@1.0-1.el9?arch=x86_64&distro=rocky-9&epoch=2",
        "image:docker.io/library/nginx:1.30": f"pkg:oci/nginx@sha256:{'a' * 64}?repository_url=docker.io/library/nginx&tag=1.30",
        f"image:registry.example.org:5000/team/engine@sha256:{'b' * 64}": (
            f"pkg:oci/engine@sha256:{'b' * 64}?repository_url=registry.example.org:5000/team/engine"
        ),
        f"models/llama/{COMMIT}": f"pkg:huggingface/acme/Llama-3@{COMMIT}",
        "models/own/1234567890abcdef": None,
        f"controller/wheels/{WHEELS[0]}": f"pkg:pypi/pyyaml@6.0.3?file_name={WHEELS[0]}",
        f"controller/wheels/{WHEELS[1]}": f"pkg:pypi/pyyaml@6.0.3?file_name={WHEELS[1]}",
        "controller/collections/airgap-inference-0.1.0.tar.gz": "pkg:generic/airgap/inference@0.1.0",
    }


def test_every_thing_has_its_kind_and_its_digest(root: Path) -> None:
    found = [
        (item["type"], item["name"], item["hashes"][0]["content"])
        for item in components(root).values()
        if item["hashes"][0]["alg"] == "SHA-256"
    ]
    assert sorted(found) == sorted(
        [
            ("library", "libc++1", "1" * 64),
            ("library", "Demo", "2" * 64),
            ("container", "docker.io/library/nginx", "a" * 64),
            ("container", "registry.example.org/team/engine", "b" * 64),
            ("machine-learning-model", "llama", "c" * 64),
            ("machine-learning-model", "own", "d" * 64),
            *(("library", "pyyaml", sha256_bytes(name.encode())) for name in WHEELS),
            ("library", "airgap.inference", sha256_bytes(b"collection")),
        ]
    )


def test_licences_are_those_that_were_stated_and_no_others(root: Path) -> None:
    found = {item["name"]: item["licenses"] for item in components(root).values() if "licenses" in item}
    declared = {"acknowledgement": "declared"}
    assert found == {
        "Demo": [{"license": {"name": "GPLv2+ and BSD", **declared}}],
        "airgap.inference": [{"license": {"id": "GPL-3.0-or-later", **declared}}],
        "llama": [{"license": {"id": "Apache-2.0", **declared}}],
        "pyyaml": [{"expression": "MIT OR Apache-2.0", **declared}],
    }


def test_the_same_bundle_gives_the_same_bytes_and_another_one_another_number(root: Path) -> None:
    bill = render(root)
    assert render(root) == bill
    turned = copy.deepcopy(ARTIFACTS)
    for kind in ("packages", "images", "models"):
        turned[kind].reverse()
    assert render(root, turned) == bill
    numbers = {json.loads(item)["serialNumber"] for item in (bill, render(root, site="clinic-b"))}
    assert len(numbers) == 2
    assert b"timestamp" not in bill


def test_before_anything_is_collected_digests_are_left_out(tmp_path: Path) -> None:
    bill = render(tmp_path, complete=False)
    assert_valid(bill)
    assert "hashes" not in components(tmp_path, complete=False)["pkg:pypi/pyyaml@6.0.3"]


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("packages/debian-trixie/dists/airgap/main/binary-amd64/Packages", r"libc\+\+1 1:19"),
        ("packages/rocky-9/repodata/repomd.xml", "Demo 2:1"),
        ("controller/wheels/*", "pyyaml 6"),
        ("controller/collections/*", "airgap-inference-0"),
    ],
)
def test_what_is_missing_is_named(root: Path, lost: str, said: str) -> None:
    for path in root.glob(lost):
        path.unlink()
    with pytest.raises(AirgapError, match=said):
        render(root)


def test_an_index_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "packages/rocky-9/repodata/primary.xml.gz").write_bytes(b"x")
    with pytest.raises(AirgapError, match="rocky-9/repodata"):
        render(root)


def test_an_empty_bundle_has_a_bill(tmp_path: Path) -> None:
    assert_valid(render(tmp_path, {"packages": [], "images": [], "models": [], "controller": {}}))


def test_what_is_already_hashed_is_not_read(root: Path) -> None:
    record = Record(None)
    path = str(root / "controller/wheels" / WHEELS[0])
    record.note(path, "e" * 64)
    bill = _bill.render(str(root), "s", ARTIFACTS, record, complete=True)
    assert b"e" * 64 in bill


def test_a_missing_library_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx.contrib.license.factories", None)
    with pytest.raises(AirgapError, match=r"pip install 'cyclonedx-python-lib"):
        render(tmp_path)
