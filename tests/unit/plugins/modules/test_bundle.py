# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the bundle as Ansible runs them: JSON in, JSON out, failures in words and never as a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.sealed import Bundle, make_bundle


def run(module: str, **arguments: Any) -> dict[str, Any]:
    name = f"ansible_collections.airgap.inference.plugins.modules.{module}"
    program = f"import runpy, sys; sys.path[:] = {sys.path!r}; runpy.run_module({name!r}, run_name='__main__')"
    source = json.dumps(
        {"ANSIBLE_MODULE_ARGS": {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **arguments}}
    )
    # The profile by which ansible-core reads arguments has a name of its own since 2.19.
    profile = "from ansible.module_utils import basic; basic._ANSIBLE_PROFILE = 'legacy'; "
    done = subprocess.run(
        [sys.executable, "-c", profile + program], input=source, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if result.get("failed") else 0)
    return result


@pytest.fixture(name="bundle")
def fixture_bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def test_a_good_bundle_is_described(bundle: Bundle) -> None:
    result = run("bundle_check", path=str(bundle.root), allowed_signers=str(bundle.allowed_signers))
    assert (result["changed"], result["signer"], result["site"], result["files"]) == (
        False,
        "release@example.org",
        "lab",
        3,
    )
    assert result["artifacts"]["images"][0]["repository"] == "docker.io/library/nginx"


def test_a_changed_bundle_fails_and_names_the_file(bundle: Bundle) -> None:
    (bundle.root / "bootstrap").write_bytes(b"#!/bin/rm\n")
    result = run("bundle_check", path=str(bundle.root), allowed_signers=str(bundle.allowed_signers))
    assert result["failed"] and "bootstrap" in result["msg"]
    assert [problem["path"] for problem in result["problems"]] == ["bootstrap"]
    assert "artifacts" not in result


def test_a_bundle_that_is_not_there_fails_in_words(tmp_path: Path) -> None:
    result = run("bundle_check", path=str(tmp_path), allowed_signers="/none")
    assert result["failed"] and "Is the drive mounted" in result["msg"]


def test_models_are_collected_once_and_check_mode_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/config.json").write_text("{}")
    arguments = {"path": str(tmp_path / "models"), "models": [{"name": "m", "source": str(tmp_path / "source")}]}
    assert run("bundle_models", **arguments, _ansible_check_mode=True)["fetched"] == ["m"]
    assert not (tmp_path / "models").exists()
    first, second = run("bundle_models", **arguments), run("bundle_models", **arguments)
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["artifacts"] == second["artifacts"]
    third = run("bundle_models", path=str(tmp_path / "models"), models=arguments["models"] * 2)
    assert third["failed"] and "listed twice" in third["msg"]


def test_an_image_name_that_is_not_complete_fails_in_words(tmp_path: Path) -> None:
    result = run("bundle_images", path=str(tmp_path), images=["nginx"])
    assert result["failed"] and "docker.io/library/nginx:1.30" in result["msg"]


def test_sealing_the_same_again_changes_nothing(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/bootstrap").write_text("#!/bin/sh\n")
    arguments = {
        "path": str(tmp_path / "new"),
        "site": "lab",
        "created_by": "airgap.inference 0.1.0",
        "artifacts": {"packages": [], "images": [], "models": [], "controller": {"python": ["3.13"]}},
        "signing_key": str(bundle.key),
    }
    assert run("bundle_manifest", **arguments, _ansible_check_mode=True)["changed"]
    assert not (tmp_path / "new/manifest.json").exists()
    assert [run("bundle_manifest", **arguments)["changed"] for _attempt in range(2)] == [True, False]
    assert not run("bundle_manifest", **arguments, _ansible_check_mode=True)["changed"]
    checked = run("bundle_check", path=arguments["path"], allowed_signers=str(bundle.allowed_signers))
    assert checked["artifacts"]["controller"] == {"python": ["3.13"]}
