# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bundle_bill as Ansible runs it: once it changes, then no more; faults are words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.tests.unit.plugins.modules.test_bundle import run

pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")

MODEL = {
    "name": "m",
    "source": "/srv/m",
    "revision": "1",
    "digest": "a" * 64,
    "directory": "models/m/1",
    "size": 1,
    "files": 1,
}


def arguments(path: Path, **changes: Any) -> dict[str, Any]:
    artifacts = {"packages": [], "images": [], "models": [MODEL], "controller": {}, "rehearsals": [], **changes}
    return {"path": str(path), "site": "lab", "artifacts": artifacts, "digests": f"{path}/../digests.json"}


def test_it_is_written_once_and_check_mode_leaves_no_trace(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    predicted = run("bundle_bill", **arguments(bundle), _ansible_check_mode=True, _ansible_diff=True)
    assert (predicted["changed"], predicted["components"], bundle.exists()) == (True, 1, False)
    first, second = run("bundle_bill", **arguments(bundle)), run("bundle_bill", **arguments(bundle))
    assert (first["changed"], second["changed"]) == (True, False)
    assert predicted["diff"]["after"] == (bundle / "sbom.cdx.json").read_text()
    # What was written needs no second reading when the bundle is sealed.
    assert f"{bundle}/sbom.cdx.json" in json.loads((tmp_path / "digests.json").read_text())
    assert not run("bundle_bill", **arguments(bundle), _ansible_check_mode=True)["changed"]
    assert run("bundle_bill", **arguments(bundle, models=[]))["changed"]


@pytest.mark.parametrize(
    ("artifacts", "said"),
    [({"models": [{"name": "m"}]}, "KeyError"), ({"images": "x"}, "TypeError"), ({"controller": None}, "artifacts")],
)
def test_what_is_no_artifact_fails_in_words(tmp_path: Path, artifacts: dict[str, Any], said: str) -> None:
    result = run("bundle_bill", **arguments(tmp_path, **artifacts))
    assert result["failed"] and said in result["msg"]


def test_what_is_lacking_is_named(tmp_path: Path) -> None:
    result = run("bundle_bill", path=str(tmp_path), site="lab", artifacts={"models": []})
    assert result["failed"] and "artifacts lacks packages, images, controller" in result["msg"]
