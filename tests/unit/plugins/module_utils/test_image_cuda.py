# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image says of CUDA travels in the manifest, for whoever holds it against a driver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _facts, _image_collection, _oci
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import images

NAME = "docker.io/vllm/vllm-openai:v0.32.0"


def artifact(tmp_path: Path, settings: Any) -> dict[str, Any]:
    layout = images.Layout(tmp_path)
    config = layout.blob(
        json.dumps({"architecture": "amd64", "os": "linux", "config": settings}).encode(),
        "application/vnd.oci.image.config.v1+json",
    )
    manifest = {"schemaVersion": 2, "mediaType": images.OCI_MANIFEST, "config": config, "layers": []}
    entry = layout.blob(json.dumps(manifest).encode(), images.OCI_MANIFEST)
    layout.name(entry, NAME)
    return _image_collection.artifacts(str(tmp_path), [_oci.parse_name(NAME)], {NAME: entry["digest"]})[0]


def test_an_image_for_gpus(tmp_path: Path) -> None:
    environment = ["PATH=/usr/bin", "CUDA_VERSION=13.0.2", "NVIDIA_REQUIRE_CUDA=cuda>=13.0 brand=tesla,driver>=580"]
    found = artifact(tmp_path, {"Env": environment})
    assert found["cuda"] == {"version": "13.0.2", "require": "cuda>=13.0 brand=tesla,driver>=580"}
    held = _facts._held({"images": [found], "models": []})
    assert held["images"][NAME]["cuda"]["version"] == "13.0.2"


@pytest.mark.parametrize(
    "settings", [None, {}, {"Env": None}, {"Env": "CUDA"}, {"Env": [3, "CUDA_VERSION"]}, {"Env": ["CUDA_VERSION="]}, []]
)
def test_other_images_say_nothing(tmp_path: Path, settings: Any) -> None:
    found = artifact(tmp_path, settings)
    assert "cuda" not in found
    assert _facts._held({"images": [found], "models": []})["images"][NAME]["cuda"] == {}


def test_control_characters_do_not_travel(tmp_path: Path) -> None:
    assert artifact(tmp_path, {"Env": ["CUDA_VERSION=13\n0"]})["cuda"] == {"version": "13\\n0"}
