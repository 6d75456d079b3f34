# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a bundle: the one list of what exists.

Reading is strict. What comes from a drive is not trusted: every fault is an AirgapError that names it, and
no path that is returned can leave the bundle.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")

# What each artifact must say. "path" and "name" are strings that may be used in a path; "text" never is.
_ARTIFACTS: dict[str, dict[str, str]] = {
    "packages": {
        "distribution": "name",
        "release": "name",
        "architecture": "name",
        "directory": "path",
        "key": "path",
        "packages": "packages",
    },
    "images": {"name": "text", "repository": "text", "digest": "digest", "size": "size"},
    "rehearsals": {"kind": "name", "name": "text", "level": "name"},
    "models": {
        "name": "name",
        "revision": "name",
        "digest": "sha256",
        "source": "text",
        "directory": "path",
        "size": "size",
        "files": "size",
    },
}


# What a repository says beyond that, by its format.
_REPOSITORIES = {"apt": {"suite": "name", "component": "name"}, "dnf": {}}


class File(NamedTuple):
    """One file of the bundle; one that the base brought (base) does not travel again."""

    path: str
    size: int
    sha256: str
    base: bool = False


class Base(NamedTuple):
    """The bundle that a smaller one builds on: the SHA-256 of its manifest.json, and its date."""

    manifest: str
    created: str


class Part(NamedTuple):
    """A stretch of a file (path) that travels as a file of its own."""

    path: str
    file: str
    offset: int
    size: int
    sha256: str


class Volume(NamedTuple):
    """What one drive of several carries."""

    name: str
    files: list[str]
    parts: list[Part]


class Manifest(NamedTuple):
    """A manifest that was found sound."""

    site: str
    created: str
    created_by: str
    files: list[File]
    artifacts: dict[str, Any]
    base: Base | None = None
    volumes: list[Volume] = []  # noqa: RUF012 - never changed in place

    def travelling(self) -> list[File]:
        """The files that the drives carry."""
        return [file for file in self.files if not file.base]


class Problem(NamedTuple):
    """One thing that is wrong with a bundle."""

    path: str
    problem: str


def path_fault(path: Any) -> str | None:
    """Why this cannot be the path of a file below a root, or None."""
    if not isinstance(path, str) or not path:
        return "is not a path"
    if _CONTROL.search(path):
        return "has a control character or a backslash"
    if len(path) > 4096:
        return "is longer than 4096 characters"
    if not path.isprintable():
        return "has characters that cannot be shown"
    if path.startswith("/"):
        return "is absolute"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "leaves the bundle or is not in its plain form"
    return None


def name_fault(name: str) -> str | None:
    """Why this cannot be a name that stands in a path, or None."""
    return None if _NAME.match(name) else "cannot be part of a path"


def parse(data: bytes) -> Manifest:
    """Read a manifest, or say what is wrong with it."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise AirgapError(f"{MANIFEST} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise AirgapError(f"{MANIFEST} is not a JSON object.")
    if document.get("format") != FORMAT or isinstance(document.get("format"), bool):
        raise AirgapError(
            f"{MANIFEST} has format {_shown(document.get('format'))}; this collection reads format {FORMAT}. Use the collection that travels in the bundle."
        )
    for key in ("site", "created", "created_by"):
        _text(document, key, MANIFEST)
    files = document.get("files")
    if not isinstance(files, list):
        raise AirgapError(f"{MANIFEST}: 'files' is not a list.")
    manifest = Manifest(
        document["site"],
        document["created"],
        document["created_by"],
        _files(files),
        _artifacts(document.get("artifacts")),
        _base(document.get("base")),
    )
    if manifest.base is None and any(file.base for file in manifest.files):
        raise AirgapError(f"{MANIFEST}: files are left to a base, but it names none.")
    return manifest._replace(volumes=_volumes(document.get("volumes", []), manifest.travelling()))


def render(manifest: Manifest) -> bytes:
    """The manifest as bytes: the same content always gives the same bytes."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "site": manifest.site,
        "created": manifest.created,
        "created_by": manifest.created_by,
        "files": [_rendered(file) for file in sorted(manifest.files)],
        "artifacts": manifest.artifacts,
    }
    if manifest.base:
        document["base"] = manifest.base._asdict()
    if manifest.volumes:
        document["volumes"] = [
            {"name": volume.name, "files": volume.files, "parts": [part._asdict() for part in volume.parts]}
            for volume in manifest.volumes
        ]
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def printable(path: str) -> str:
    """A file name as it can be shown: names on a drive may be anything."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in path)


def _files(items: list[Any]) -> list[File]:
    files: dict[str, File] = {}
    for item in items:
        if not isinstance(item, dict):
            raise AirgapError(f"{MANIFEST}: an entry of 'files' is not an object: {_shown(item)}.")
        path: Any = item.get("path")
        fault = path_fault(path)
        if fault:
            raise AirgapError(f"{MANIFEST}: the path {_shown(path)} {fault}.")
        if path in files:
            raise AirgapError(f"{MANIFEST}: {path} is listed twice.")
        if path in (MANIFEST, SIGNATURE):
            raise AirgapError(f"{MANIFEST}: it lists {path}, which cannot vouch for itself.")
        _field(item, "size", "size", f"{MANIFEST}: {path}")
        _field(item, "sha256", "sha256", f"{MANIFEST}: {path}")
        base = item.get("base", False)
        if not isinstance(base, bool):
            raise AirgapError(f"{MANIFEST}: {path}: 'base' is {_shown(base)}, which is neither true nor false.")
        files[path] = File(path, item["size"], item["sha256"], base)
    _no_file_is_a_directory(files)
    return sorted(files.values())


def _no_file_is_a_directory(paths: Iterable[str]) -> None:
    known = set(paths)
    for path in known:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in known:
                raise AirgapError(f"{MANIFEST}: {parent} is listed as a file and as the directory of {path}.")
            parent = parent.rpartition("/")[0]


def _rendered(file: File) -> dict[str, Any]:
    return {key: value for key, value in file._asdict().items() if key != "base" or value}


def _base(value: Any) -> Base | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise AirgapError(f"{MANIFEST}: 'base' is not an object.")
    _field(value, "manifest", "sha256", f"{MANIFEST}: base")
    _text(value, "created", f"{MANIFEST}: base")
    return Base(value["manifest"], value["created"])


def _volumes(items: Any, travelling: list[File]) -> list[Volume]:
    """Every travelling file is on exactly one volume, or in parts that are it, byte for byte."""
    if not isinstance(items, list):
        raise AirgapError(f"{MANIFEST}: 'volumes' is not a list.")
    if not items:
        return []
    sizes = {file.path: file.size for file in travelling}
    whole: set[str] = set()
    names: set[str] = set()
    volumes = []
    for number, item in enumerate(items):
        where = f"{MANIFEST}: volumes[{number}]"
        if not isinstance(item, dict):
            raise AirgapError(f"{where} is not an object.")
        _field(item, "name", "name", where)
        paths, parts = item.get("files"), item.get("parts")
        if item["name"] in names or not isinstance(paths, list) or not isinstance(parts, list):
            raise AirgapError(f"{where}: its name stands twice, or 'files' or 'parts' is not a list.")
        names.add(item["name"])
        for path in paths:
            if not isinstance(path, str) or path not in sizes or path in whole:
                raise AirgapError(f"{where}: {_shown(path)} does not travel in this bundle, or is on two volumes.")
            whole.add(path)
        volumes.append(Volume(item["name"], paths, [_part(part, f"{where}.parts", sizes) for part in parts]))
    _cover(volumes, sizes, whole)
    return volumes


def _part(item: Any, where: str, sizes: dict[str, int]) -> Part:
    if not isinstance(item, dict):
        raise AirgapError(f"{where}: an entry is not an object: {_shown(item)}.")
    for key, what in (("path", "path"), ("file", "path"), ("offset", "size"), ("size", "size"), ("sha256", "sha256")):
        _field(item, key, what, where)
    if item["path"] not in sizes or item["size"] == 0:
        raise AirgapError(f"{where}: {_shown(item['path'])} does not travel in this bundle, or a part of it is empty.")
    return Part(item["path"], item["file"], item["offset"], item["size"], item["sha256"])


def _cover(volumes: list[Volume], sizes: dict[str, int], whole: set[str]) -> None:
    parts = sorted((part for volume in volumes for part in volume.parts), key=lambda part: (part.path, part.offset))
    files = [part.file for part in parts]
    if len(set(files)) != len(files) or set(files) & set(sizes):
        raise AirgapError(f"{MANIFEST}: two parts, or a part and a file, have one name.")
    _no_file_is_a_directory([*files, *sizes])
    reached: dict[str, int] = {}
    for part in parts:
        if part.path in whole or part.offset != reached.get(part.path, 0):
            raise AirgapError(f"{MANIFEST}: the parts of {part.path} overlap, or leave a hole at byte {part.offset}.")
        reached[part.path] = part.offset + part.size
    for path, size in sizes.items():
        if path not in whole and (path not in reached or reached[path] != size):
            raise AirgapError(f"{MANIFEST}: no volume has {path}, or not all of its {size} bytes.")


def _artifacts(artifacts: Any) -> dict[str, Any]:
    if not isinstance(artifacts, dict):
        raise AirgapError(f"{MANIFEST}: 'artifacts' is not an object.")
    for kind, fields in _ARTIFACTS.items():
        # What was rehearsed may be left out: nothing was.
        items = artifacts.get(kind, [] if kind == "rehearsals" else None)
        if not isinstance(items, list):
            raise AirgapError(f"{MANIFEST}: 'artifacts.{kind}' is not a list.")
        for number, item in enumerate(items):
            where = f"{MANIFEST}: artifacts.{kind}[{number}]"
            if not isinstance(item, dict):
                raise AirgapError(f"{where} is not an object.")
            for key, what in fields.items():
                _field(item, key, what, where)
            if kind == "packages":
                _repository(item, where)
    controller = artifacts.get("controller")
    if not isinstance(controller, dict):
        raise AirgapError(f"{MANIFEST}: 'artifacts.controller' is not an object.")
    return artifacts


def _repository(item: dict[str, Any], where: str) -> None:
    known = item.get("format", "apt")
    if not isinstance(known, str) or known not in _REPOSITORIES:
        raise AirgapError(f"{where}: 'format' is {_shown(known)}; known are {', '.join(_REPOSITORIES)}.")
    for key, what in _REPOSITORIES[known].items():
        _field(item, key, what, where)


def _field(item: dict[str, Any], key: str, what: str, where: str) -> None:
    value = item.get(key)
    if what == "size":
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    elif what == "sha256":
        good = isinstance(value, str) and bool(_SHA256.match(value))
    elif what == "digest":
        good = isinstance(value, str) and value.startswith("sha256:") and bool(_SHA256.match(value[7:]))
    elif what == "path":
        good = path_fault(value) is None
    elif what == "name":
        good = isinstance(value, str) and bool(_NAME.match(value))
    elif what == "packages":
        good = isinstance(value, list) and all(isinstance(package, dict) for package in value)
        for package in value if good and isinstance(value, list) else ():
            for name in ("name", "version", "architecture"):
                _text(package, name, f"{where}.packages")
    else:
        _text(item, key, where)
        good = True
    if not good:
        raise AirgapError(f"{where}: '{key}' is {_shown(value)}, which is not a {what}.")


def _text(item: dict[str, Any], key: str, where: str) -> None:
    value = item.get(key)
    if not isinstance(value, str) or not value or _CONTROL.search(value) or not value.isprintable():
        raise AirgapError(f"{where}: '{key}' is {_shown(value)}, which is not a line of text.")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _no_duplicates(pairs: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!a} stands twice in one object")
        result[key] = value
    return result


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not a value of a manifest")
