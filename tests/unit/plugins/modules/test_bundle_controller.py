# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bundle_controller as Ansible runs it, with the real pip and an index of a few small wheels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.test_wheels import Index
from ansible_collections.airgap.inference.tests.unit.plugins.modules.test_bundle import run


@pytest.fixture(name="index")
def fixture_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index(tmp_path)
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(index.root)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    # ansible-test's PYTHONPATH leads to an ansible without its command line.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    index.add("ansible_core", "9", "lib", 'old ; python_version < "3.98"')
    for name in ("pip", "lib", "old"):
        index.add(name, "1")
    (tmp_path / "collection").mkdir()
    (tmp_path / "collection/galaxy.yml").write_text("namespace: acme\nname: demo\nversion: 1.2.3\nlicense: [MIT]\n")
    return index


def arguments(index: Index, **changes: Any) -> dict[str, Any]:
    root = index.root.parent
    return {
        "path": f"{root}/bundle/controller",
        "collection": f"{root}/collection",
        "python_versions": ["3.97", "3.99"],
        "requirements": ["ansible-core", "pip"],
        "executable": sys.executable,
        "cache": str(index.cache),
        "digests": f"{root}/digests.json",
        **changes,
    }


def test_several_pythons_share_the_wheels_and_the_second_time_changes_nothing(index: Index) -> None:
    predicted = run("bundle_controller", **arguments(index), _ansible_check_mode=True)
    bundle = Path(arguments(index)["path"])
    assert predicted["changed"] and not bundle.exists() and not index.cache.exists()
    first = run("bundle_controller", **arguments(index))
    assert first["changed"] and first["fetched"] == predicted["fetched"]
    assert first["artifact"]["requirements"] == [
        "ansible-core==9",
        "lib==1",
        'old==1 ; python_version == "3.97"',
        "pip==1",
    ]
    assert first["artifact"]["collections"] == [{"name": "acme.demo", "version": "1.2.3", "licence": "MIT"}]
    assert first["artifact"]["wheels"][1] == {"name": "lib", "version": "1", "licence": "MIT"}
    assert sorted(path.name for path in bundle.glob("wheels/*")) == [
        f"{name}-py3-none-any.whl" for name in ("ansible_core-9", "lib-1", "old-1", "pip-1")
    ]
    # Every file's digest is remembered for the seal.
    remembered = json.loads(Path(arguments(index)["digests"]).read_text())
    assert remembered.keys() == {str(path) for path in bundle.rglob("*") if path.is_file()}
    for path in index.root.iterdir():
        path.unlink()
    second = run("bundle_controller", **arguments(index))
    assert not second["changed"] and second["artifact"] == first["artifact"]


def test_a_damaged_wheel_in_the_bundle_is_mended_and_a_stranger_goes(index: Index) -> None:
    run("bundle_controller", **arguments(index))
    wheels = Path(arguments(index)["path"]) / "wheels"
    (wheels / "lib-1-py3-none-any.whl").write_bytes(b"x")
    (wheels / "pip-1-py3-none-any.whl").unlink()
    (wheels / "pip-1-py3-none-any.whl").symlink_to("lib-1-py3-none-any.whl")
    (wheels / "stranger").write_bytes(b"x")
    result = run("bundle_controller", **arguments(index))
    assert result["fetched"] == ["wheels/lib-1-py3-none-any.whl", "wheels/pip-1-py3-none-any.whl"]
    assert result["removed"] == ["wheels/stranger"]
    assert not (wheels / "pip-1-py3-none-any.whl").is_symlink()
    assert not run("bundle_controller", **arguments(index))["changed"]


def test_a_controller_that_could_not_start_is_refused(index: Index) -> None:
    result = run("bundle_controller", **arguments(index, requirements=["lib"]))
    assert result["failed"] and "lacks ansible-core and pip" in result["msg"]


def test_what_cannot_be_had_fails_in_words(index: Index) -> None:
    index.add("ansible_core", "10", 'gone ; python_version == "3.99"')
    result = run("bundle_controller", **arguments(index, requirements=["ansible-core==10", "pip"]))
    assert result["failed"] and "Python 3.99 on amd64" in result["msg"] and "gone" in result["msg"]
