# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller: packed collections install offline, are reproducible, and hold what a build would hold."""

from __future__ import annotations

import fnmatch
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _controller
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

GALAXY = "namespace: acme\nname: demo\nversion: 1.2.3\nauthors: [me]\nreadme: README.md\ndependencies: {acme.other: '*'}\nbuild_ignore: [junk, '*.log']\n"


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    path = tmp_path / "acme/demo"
    for name in (
        "README.md",
        "plugins/modules/x.py",
        "junk/big",
        "a/b.log",
        ".venv/bin/python",
        "plugins/__pycache__/x.pyc",
        "tests/output/y",
        "tests/.hypothesis/z",
        "tests/unit/.pytest_cache/z",
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    (path / "galaxy.yml").write_text(GALAXY)
    return path


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def test_what_a_build_leaves_out_is_left_out(path: Path) -> None:
    packed = _controller.pack(_controller.read_collection(str(path)))
    assert names(packed) == [
        "MANIFEST.json",
        "FILES.json",
        "README.md",
        "a",
        "plugins",
        "plugins/modules",
        "plugins/modules/x.py",
        "tests",
        "tests/unit",
    ]


def test_this_collection_travels_as_its_own_build_would_make_it() -> None:
    root = Path(__file__).resolve().parents[4]
    collection = _controller.read_collection(str(root))
    assert collection.ignore, "galaxy.yml names nothing to leave out"
    packed = names(_controller.pack(collection))
    patterns = [pattern.rstrip("/") for pattern in collection.ignore]
    assert not [name for name in packed for pattern in patterns if fnmatch.fnmatch(name, pattern)]
    assert not [name for name in packed if name.endswith((".pyc", ".gz", ".whl")) or "/." in name]
    assert {"roles/bundle/files/bootstrap", "playbooks/import.yml", "meta/runtime.yml"} <= set(packed)


def test_the_same_files_give_the_same_bytes(path: Path) -> None:
    packed = _controller.pack(_controller.read_collection(str(path)))
    os.utime(path / "README.md", (1, 1))
    assert _controller.pack(_controller.read_collection(str(path))) == packed


def other(root: Path) -> None:
    """A second collection, in its installed form, whose list of files names one that is not there."""
    path = root / "acme/other"
    path.mkdir(parents=True)
    (path / "README.md").write_text("other")
    (path / "MANIFEST.json").write_text(
        json.dumps({"collection_info": {"namespace": "acme", "name": "other", "version": "2.0.0", "dependencies": {}}})
    )
    (path / "FILES.json").write_text(json.dumps({"files": [{"name": "gone", "ftype": "file"}]}))


def test_galaxy_installs_them_offline(path: Path, tmp_path: Path) -> None:
    other(tmp_path)
    collections = _controller.with_dependencies(_controller.read_collection(str(path)), {"acme.other": str(tmp_path)})
    files = []
    for collection in collections:
        (tmp_path / collection.file).write_bytes(_controller.pack(collection))
        files.append(str(tmp_path / collection.file))
    assert [os.path.basename(file) for file in files] == ["acme-demo-1.2.3.tar.gz", "acme-other-2.0.0.tar.gz"]
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    if not galaxy.exists():
        pytest.skip("ansible-galaxy is not beside this Python")
    # ansible-test's PYTHONPATH leads to an ansible without its command line.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "c")}
    subprocess.run(
        [galaxy, "collection", "install", "--offline", "-p", tmp_path / "c", *files],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    assert (tmp_path / "c/ansible_collections/acme/demo/plugins/modules/x.py").is_file()
    assert (tmp_path / "c/ansible_collections/acme/other/README.md").is_file()


def test_a_dependency_that_is_not_installed_is_named(path: Path) -> None:
    with pytest.raises(AirgapError, match=r"acme\.other, which acme\.demo needs"):
        _controller.with_dependencies(_controller.read_collection(str(path)), {})


def test_a_directory_that_is_no_collection_is_told(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="neither"):
        _controller.read_collection(str(tmp_path))
