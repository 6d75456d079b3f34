# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collections that staged the bundle, packed as ansible-galaxy installs them: what a bastion works with."""

from __future__ import annotations

import fnmatch
import gzip
import io
import json
import os
import tarfile
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import require
from ansible_collections.airgap.inference.plugins.module_utils._digest import sha256_bytes
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# Beside what a build of ansible-galaxy leaves out: hidden files at the top, which serve tools and not Ansible.
_NEVER = ("MANIFEST.json", "FILES.json", "galaxy.yml", "galaxy.yaml", ".*", "*.pyc", "*.retry", "tests/output")
# At any depth: what tools leave behind, which no build ought to carry.
_LEFTOVERS = (
    ".ansible",
    ".cache",
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
)
_METADATA = (
    "namespace",
    "name",
    "version",
    "authors",
    "readme",
    "tags",
    "description",
    "license",
    "license_file",
    "dependencies",
    "repository",
    "documentation",
    "homepage",
    "issues",
)
_EMPTY: dict[str, Any] = {"authors": [], "tags": [], "license": [], "dependencies": {}}


class Collection(NamedTuple):
    """A collection on the staging machine."""

    path: str
    info: dict[str, Any]
    ignore: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.info['namespace']}.{self.info['name']}"

    @property
    def licence(self) -> str:
        """What it states: galaxy.yml has a list of SPDX identifiers, or the name of a file."""
        stated = self.info.get("license") or []
        return ", ".join([stated] if isinstance(stated, str) else map(str, stated))

    @property
    def file(self) -> str:
        return f"{self.info['namespace']}-{self.info['name']}-{self.info['version']}.tar.gz"


def read_collection(path: str) -> Collection:
    """A collection from its installed form, or from its sources."""
    try:
        with open(os.path.join(path, "MANIFEST.json"), encoding="utf-8") as handle:
            return Collection(path, json.load(handle)["collection_info"], ())
    except FileNotFoundError:
        pass
    except (ValueError, KeyError) as error:
        raise AirgapError(f"{path}/MANIFEST.json cannot be read: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise AirgapError("PyYAML is missing in the Python that runs the modules of the staging host.") from error
    try:
        with open(os.path.join(path, "galaxy.yml"), encoding="utf-8") as handle:
            info = yaml.safe_load(handle)
    except FileNotFoundError as error:
        raise AirgapError(f"{path} is not a collection: it has neither MANIFEST.json nor galaxy.yml.") from error
    return Collection(path, info, tuple(info.get("build_ignore") or ()))


def with_dependencies(root: Collection, installed: dict[str, str]) -> list[Collection]:
    """A collection and all that it needs, from what is installed on this machine."""
    found = {root.name: root}
    pending = [root]
    while pending:
        collection = pending.pop()
        for name in collection.info.get("dependencies") or {}:
            if name in found:
                continue
            if name not in installed:
                raise AirgapError(
                    f"The collection {name}, which {collection.name} needs, is not installed on this machine; install it with ansible-galaxy."
                )
            found[name] = read_collection(os.path.join(installed[name], *name.split(".")))
            pending.append(found[name])
    return [found[name] for name in sorted(found)]


def installed_collections(python: str) -> dict[str, str]:
    """The collections that the running Ansible finds, and where: the first path that has one counts."""
    galaxy = os.path.join(os.path.dirname(python), "ansible-galaxy")
    output = require(
        [galaxy if os.path.exists(galaxy) else "ansible-galaxy", "collection", "list", "--format", "json"],
        "Looking for collections",
    )
    found: dict[str, str] = {}
    for path, collections in json.loads(output).items():
        for name in collections:
            found.setdefault(name, path)
    return found


def pack(collection: Collection) -> bytes:
    """The collection as ansible-galaxy installs it. The same files give the same bytes.

    The list of files is made anew: what the ansible package installs is not always all that its list names.
    """
    paths = _collection_files(collection)
    listing: list[dict[str, Any]] = [_listed(".", None)]
    content: dict[str, bytes | None] = {}
    for path in paths:
        full = os.path.join(collection.path, path)
        if os.path.isdir(full):
            content[path] = None
        else:
            with open(full, "rb") as handle:
                content[path] = handle.read()
        listing.append(_listed(path, content[path]))
    files = _json({"files": listing, "format": 1})
    info = {key: collection.info.get(key, _EMPTY.get(key)) for key in _METADATA}
    manifest = _json({"collection_info": info, "file_manifest_file": _listed("FILES.json", files), "format": 1})
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in [("MANIFEST.json", manifest), ("FILES.json", files), *content.items()]:
            _add(archive, path, data, os.access(os.path.join(collection.path, path), os.X_OK))
    return buffer.getvalue()


def _collection_files(collection: Collection) -> list[str]:
    """Directories and files in order, links to files as files; what a build leaves out is left out."""
    patterns = (*_NEVER, *collection.ignore)
    paths: list[str] = []
    for directory, directories, files in os.walk(collection.path):
        below = os.path.relpath(directory, collection.path)
        directories[:] = sorted(
            name for name in directories if name not in _LEFTOVERS and not os.path.islink(os.path.join(directory, name))
        )
        for names in (directories, sorted(files)):
            for name in list(names):
                path = os.path.normpath(os.path.join(below, name))
                if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
                    names.remove(name)
                elif os.path.exists(os.path.join(directory, name)):
                    paths.append(path)
    return sorted(paths)


def _listed(name: str, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"name": name, "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1}
    return {"name": name, "ftype": "file", "chksum_type": "sha256", "chksum_sha256": sha256_bytes(data), "format": 1}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, path: str, data: bytes | None, executable: bool) -> None:
    member = tarfile.TarInfo(path)
    member.mode = 0o755 if data is None or executable else 0o644
    if data is None:
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    else:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
