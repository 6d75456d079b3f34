# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modular metadata of dnf repositories: what of it must travel with packages that belong to module streams.

Documents are kept word for word; they are read only to choose among them. All values are read as text, since a stream
"1.10" is not the number 1.1.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._command import require
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

try:
    import yaml
except ImportError:  # Ansible itself needs it, so it is there wherever this runs.
    # To the types it is a module always; Ansible's own start would have failed without it.
    yaml = None  # type: ignore[assignment]


class Document(NamedTuple):
    """One document of a modules.yaml."""

    text: str
    kind: str
    module: str
    stream: str
    artifacts: frozenset[str]
    #: Streams of other modules that this one needs; an empty list of them means any.
    requires: tuple[tuple[str, tuple[str, ...]], ...]


def read(data: bytes, name: str) -> str:
    """The text of a modules.yaml, however it is compressed."""
    decompress: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.decompress,
        ".xz": lzma.decompress,
        ".bz2": bz2.decompress,
        ".zst": lambda packed: require(["zstd", "--decompress", "--stdout"], f"Reading {name}", stdin=packed),
    }
    ending = next((ending for ending in decompress if name.endswith(ending)), "")
    try:
        return (decompress[ending](data) if ending else data).decode("utf-8")
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise AirgapError(f"The modular metadata {name} cannot be read: {error}.") from error


def parse(text: str) -> list[Document]:
    """The documents of one or more modules.yaml, one after the other."""
    documents = []
    for part in re.split(r"^---[^\n]*\n", text, flags=re.M):
        body = re.sub(r"^\.\.\.\s*\Z", "", part, flags=re.M)
        if not body.strip():
            continue
        try:
            content = yaml.load(body, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise AirgapError(f"The modular metadata of a source cannot be read: {error}.") from error
        if isinstance(content, dict) and isinstance(content.get("data"), dict):
            documents.append(_document(body, content))
    return documents


def streams(documents: Iterable[Document]) -> dict[str, list[str]]:
    """The streams of each module."""
    found: dict[str, set[str]] = {}
    for document in documents:
        if document.kind == "modulemd":
            found.setdefault(document.module, set()).add(document.stream)
    return {module: sorted(names) for module, names in sorted(found.items())}


def carried(documents: list[Document], packages: set[str], enabled: Iterable[str]) -> str:
    """The metadata that these packages (name-epoch:version-release.architecture) and these streams need.

    An enabled stream becomes the default one, so that a host takes it without being told.
    """
    kept = [item for item in documents if item.kind == "modulemd" and item.artifacts & packages]
    chosen = dict(module.split(":", 1) for module in enabled)
    kept += [item for item in _newest(documents) if chosen.get(item.module) == item.stream and item not in kept]
    # What a stream requires must be known beside it, even where none of its packages is needed.
    pending = list(kept)
    while pending:
        for module, wanted in pending.pop().requires:
            for item in _newest(documents):
                if item.module == module and _fits(item.stream, wanted) and item not in kept:
                    kept.append(item)
                    pending.append(item)
    if not kept:
        return ""
    there = {(item.module, item.stream) for item in kept}
    texts = [item.text for item in kept]
    for module in sorted({item.module for item in kept}):
        if module in chosen:
            facts = {"module": module, "stream": chosen[module]}
            texts.append(f"document: modulemd-defaults\nversion: 1\ndata: {json.dumps(facts)}\n")
        else:
            texts += [
                item.text
                for item in documents
                if item.kind == "modulemd-defaults" and item.module == module and (module, item.stream) in there
            ]
    return "".join(f"---\n{text.rstrip()}\n...\n" for text in sorted(dict.fromkeys(texts)))


def _document(text: str, content: Mapping[str, Any]) -> Document:
    data = content["data"]
    artifacts = _mapping(data.get("artifacts")).get("rpms")
    dependencies = data.get("dependencies")
    required = [
        item
        for dependency in (dependencies if isinstance(dependencies, list) else [dependencies])
        for item in _mapping(_mapping(dependency).get("requires")).items()
        if item[0] != "platform"
    ]
    return Document(
        text,
        str(content.get("document", "")),
        str(data.get("name") or data.get("module") or ""),
        str(data.get("stream") or ""),
        frozenset(str(item) for item in artifacts) if isinstance(artifacts, list) else frozenset(),
        tuple(
            (str(name), tuple(map(str, wanted if isinstance(wanted, list) else [wanted]))) for name, wanted in required
        ),
    )


def _newest(documents: list[Document]) -> list[Document]:
    """The last document of each stream and context; sources list a stream's versions in their order."""
    newest: dict[tuple[str, str, str], tuple[int, Document]] = {}
    for item in documents:
        if item.kind == "modulemd":
            version = re.search(r"^ {2}version: *[\"']?(\d+)", item.text, re.M)
            context = re.search(r"^ {2}context: *[\"']?(\w+)", item.text, re.M)
            key = (item.module, item.stream, context.group(1) if context else "")
            rank = int(version.group(1)) if version else 0
            if key not in newest or rank >= newest[key][0]:
                newest[key] = (rank, item)
    return [item for _rank, item in newest.values()]


def _fits(stream: str, wanted: tuple[str, ...]) -> bool:
    """Whether a stream is one of those that are required: none named is any, "-name" is all but that one."""
    unwanted = {name[1:] for name in wanted if name.startswith("-")}
    named = {name for name in wanted if not name.startswith("-") and name}
    return stream in named if named else stream not in unwanted


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
