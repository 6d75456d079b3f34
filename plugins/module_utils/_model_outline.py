# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models before they are fetched: their configurations alone, which are small, in a directory for each."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.airgap.inference.plugins.module_utils import _hub, _nim
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record, write_if_changed
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._model_lock import Lock

# What tells of a model without its weights. An index is left out: it would name files that are not there.
_TOLD_BY = (
    "config.json",
    "generation_config.json",
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
)
# A configuration is some KiB.
_LARGEST = 16 * 1024 * 1024


def outlines(wanted: dict[str, Any], *, check_mode: bool) -> dict[str, dict[str, Any]]:
    """For each model the directory that tells of it, or why there is none."""
    record, lock = Record(wanted.get("digests")), Lock(wanted.get("lock"))
    cache = wanted.get("cache") or ""
    hub = _hub.Hub(cache, record, only_look=check_mode)
    found = {}
    for item in wanted["models"]:
        name, source = str(item.get("name")), str(item.get("source"))
        if name in (wanted.get("update") or []):
            lock.drop(source)
        try:
            path = _directory(source, cache, hub, lock, check_mode=check_mode)
            found[name] = {"path": path, "why": None}
        except AirgapError as error:
            found[name] = {"path": None, "why": str(error)}
    if not check_mode:
        record.save()
    return found


def _directory(source: str, cache: str, hub: _hub.Hub, lock: Lock, *, check_mode: bool) -> str:
    if source.startswith(_nim.SCHEME):
        raise AirgapError("a NIM image says only when it runs which model it brings")
    if not source.startswith(_hub.SCHEME):
        if "://" in source or not os.path.isabs(source) or not os.path.isdir(source):
            raise AirgapError(f"its source {source} is no directory on this machine")
        return source
    if not cache:
        raise AirgapError("without a cache nothing is fetched from a hub")
    repository, revision = _hub.parse(source)
    listing = hub.listing(repository, lock.get(source) or revision)
    directory = os.path.join(cache, "outlines", repository.replace("/", "--"), listing.commit)
    telling = {path: listing.files[path] for path in _TOLD_BY if path in listing.files}
    if "config.json" not in telling:
        raise AirgapError(f"{repository} has no config.json at {listing.commit}")
    large = [path for path, remote in telling.items() if remote.size > _LARGEST]
    if large:
        raise AirgapError(f"{repository} has {', '.join(large)} of more than {_LARGEST} bytes")
    if all(os.path.isfile(os.path.join(directory, path)) for path in telling):
        return directory
    if check_mode:
        raise AirgapError("check mode fetches nothing")
    for path, fetched in hub.fetch(repository, listing.commit, telling).items():
        with open(fetched.path, "rb") as handle:
            write_if_changed(os.path.join(directory, path), handle.read())
    return directory
