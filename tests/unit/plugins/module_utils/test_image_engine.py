# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with zstd layers are refused where Docker cannot pull them, and only there."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _image_engine, _oci

GZIP = _oci.Blob("application/vnd.oci.image.layer.v1.tar+gzip", "sha256:" + "a" * 64, 1)
ZSTD = GZIP._replace(media_type="application/vnd.oci.image.layer.v1.tar+zstd")
NAME = _oci.parse_name("docker.io/x/engine:1")


def target(**packages: str) -> dict[str, Any]:
    listed = [{"name": name.replace("_", "."), "version": version} for name, version in packages.items()]
    return {"distribution": "Debian", "release": "bookworm", "architecture": "amd64", "packages": listed}


@pytest.mark.parametrize(
    ("packages", "version"),
    [
        ({"docker_io": "20.10.24+dfsg1-1+deb12u1"}, "20.10.24+dfsg1-1+deb12u1"),
        ({"docker-ce": "5:27.3.1-1~debian.12~bookworm", "docker-ce-cli": "5:9"}, "5:27.3.1-1~debian.12~bookworm"),
        ({"moby-engine": "25.0.1"}, "25.0.1"),
        ({"docker_io": "20.10.24", "docker-ce": "5:27.3.1-1"}, "20.10.24"),
        ({"nginx": "1.26"}, ""),
        ({}, ""),
    ],
)
def test_the_version_of_docker_is_read_from_the_packages(packages: dict[str, str], version: str) -> None:
    assert _image_engine.engines([target(**packages)]) == {"Debian bookworm amd64": version}


@pytest.mark.parametrize("version", ["20.10.24+dfsg1-1", "5:19.03.15~3-0", "1.13.1", "3:22.06.0"])
def test_zstd_is_refused_below_23(version: str) -> None:
    reason = _image_engine.refusal(
        NAME, [GZIP, ZSTD], "docker://docker.io/x/engine:1", "amd64", {"Debian bookworm": version}
    )
    assert reason and f"Docker {version} to Debian bookworm" in reason
    assert (
        "skopeo copy --override-arch amd64 --dest-compress-format gzip docker://docker.io/x/engine:1 "
        "oci-archive:/srv/image.tar:docker.io/x/engine:1" in reason
    )


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("26.1.5+dfsg1-9", True),
        ("5:23.0.0-1", True),
        ("23.0.1", True),
        ("29.1.0", True),
        ("", False),
        ("unknown", False),
        ("2", False),
    ],
)
def test_zstd_is_taken_from_23_on_and_where_nobody_knows(version: str, known: bool) -> None:
    assert _image_engine.refusal(NAME, [ZSTD], "x", "amd64", {"Debian trixie": version}) is None
    remark = _image_engine.remark(NAME, [ZSTD], {"Debian trixie": version})
    assert remark is None if known else "the hosts with Debian trixie" in str(remark)


def test_gzip_is_taken_anywhere() -> None:
    assert _image_engine.refusal(NAME, [GZIP], "x", "amd64", {"Debian bookworm": "20.10.24", "x": ""}) is None
    assert _image_engine.remark(NAME, [GZIP], {"Debian bookworm": "20.10.24", "x": ""}) is None


def test_one_old_engine_among_new_ones_is_enough() -> None:
    reason = _image_engine.refusal(NAME, [ZSTD], "x", "amd64", {"new": "26.1.5", "old": "20.10.24", "none": ""})
    assert reason and "Docker 20.10.24 to old." in reason and "26.1.5" not in reason


def test_an_image_named_by_its_digest_gets_a_tag_to_be_named_by() -> None:
    name = _oci.parse_name("docker.io/x/engine@sha256:" + "a" * 64)
    reason = _image_engine.refusal(name, [ZSTD], f"docker://{name.full}", "arm64", {"old": "20.10.24"})
    assert reason and f"docker://{name.full} oci-archive:/srv/image.tar:docker.io/x/engine:gzip and" in reason
