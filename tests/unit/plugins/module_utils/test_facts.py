# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts ask by name and get what they need to pull."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _facts, _manifest
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import CONTENT, make_manifest


def test_a_depot_by_names(tmp_path: Path) -> None:
    (tmp_path / _manifest.MANIFEST).write_bytes(_manifest.render(make_manifest(CONTENT)))
    key = tmp_path / "packages/debian-trixie/archive-key.asc"
    key.parent.mkdir(parents=True)
    key.write_text("KEY\n")
    facts = _facts.read(str(tmp_path))
    digest = "sha256:" + "a" * 64
    assert facts["images"] == {
        "docker.io/library/nginx:1.30": {
            "reference": f"docker.io/library/nginx@{digest}",
            "digest": digest,
            "size": 12,
            "cuda": {},
            "flags": {},
        }
    }
    assert facts["models"]["tiny"] == {"revision": "0123456789abcdef", "digest": "b" * 64, "size": 3, "gguf": []}
    assert facts["repositories"]["Debian-trixie-amd64"] == {
        "path": "packages/debian-trixie",
        "suite": "airgap",
        "component": "main",
        "key": "KEY\n",
    }


def test_flags_that_an_image_told_stand_with_the_image(tmp_path: Path) -> None:
    manifest = make_manifest(CONTENT)
    name = manifest.artifacts["images"][0]["name"]
    tried = {"kind": "instance", "name": "chat", "level": "load", "engine": "vllm", "image": name}
    rehearsals = [
        {**tried, "flags": ["--uds"]},
        tried,
        {**tried, "image": "gone"},
        {"kind": "packages", "name": "x", "level": "y"},
    ]
    manifest = manifest._replace(artifacts={**manifest.artifacts, "rehearsals": rehearsals})
    (tmp_path / _manifest.MANIFEST).write_bytes(_manifest.render(manifest))
    key = tmp_path / "packages/debian-trixie/archive-key.asc"
    key.parent.mkdir(parents=True)
    key.write_text("KEY\n")
    assert _facts.read(str(tmp_path))["images"][name]["flags"] == {"vllm": ["--uds"]}


def test_an_empty_depot_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match=r"Run the playbook airgap\.inference\.import first"):
        _facts.read(str(tmp_path))


def test_the_files_that_are_whole_models_are_told() -> None:
    model = {"name": "q", "revision": "r", "digest": "d", "size": 1, "files": 2, "gguf": ["q4.gguf"]}
    assert _facts.contents([], [model])["models"]["q"]["gguf"] == ["q4.gguf"]
