# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of a bundle, each from where its inventory says: a hub, a directory, or a NIM image."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _hub, _model_source, _nim
from ansible_collections.airgap.inference.plugins.module_utils._digest import Record
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._model_files import INDEX, Wish, check_indexes, choose
from ansible_collections.airgap.inference.plugins.module_utils._model_lock import Lock
from ansible_collections.airgap.inference.plugins.module_utils._model_source import Entry, Model, Source


class Collection(NamedTuple):
    """The models of the bundle, and what was done for them."""

    wanted: int
    kept: list[Model]
    fetched: dict[str, int]
    left_out: list[str]
    removed: list[str]

    def result(self) -> dict[str, Any]:
        """As the module returns it."""
        size = sum(self.fetched.values())
        told = f"{self.wanted} models, {len(self.fetched)} of them new ({size} bytes)"
        if self.left_out:
            more = f" and {len(self.left_out) - 3} more" if len(self.left_out) > 3 else ""
            told += f"; left out, since safetensors hold the same weights: {', '.join(self.left_out[:3])}{more}"
        return {
            "changed": bool(self.fetched or self.removed),
            "artifacts": [model.artifact() for model in self.kept],
            "fetched": list(self.fetched),
            "fetched_bytes": size,
            "left_out": self.left_out,
            "removed": self.removed,
            "msg": told,
        }


class Plan(NamedTuple):
    """A model of which is known what it is made of. Files of a hub are still there."""

    source: Source
    left_out: list[str]
    repository: str = ""
    files: dict[str, _hub.Remote] = {}  # noqa: RUF012 - never changed


def collect(wanted: dict[str, Any], *, check_mode: bool) -> Collection:
    """Bring the bundle's models to what is listed."""
    path, items = wanted["path"], wanted["models"]
    names = [item["name"] for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AirgapError(f"These models are listed twice: {', '.join(twice)}. A name means one model.")
    unknown = sorted(set(wanted["update"]) - set(names))
    if unknown:
        raise AirgapError(
            f"To be updated, but not listed: {', '.join(unknown)} (there are: {', '.join(names) or 'none'})."
        )
    record = Record(wanted["digests"])
    lock = Lock(wanted["lock"])
    hub = _hub.Hub(_cache(wanted), record, only_look=check_mode)
    try:
        # Every source is looked at before the first byte of a model is brought.
        plans = []
        for item in items:
            _model_source.check_name(item["name"])
            plan = _plan(item, wanted, hub, lock, check_mode=check_mode)
            plans.append((item["name"], plan, _model_source.held(path, plan.source) if plan else None))
        for name, plan, model in plans:
            if plan and plan.repository and not model:
                hub.reach(plan.repository, plan.source.commit, plan.files)
                if not check_mode:
                    _check_indexes(name, plan, hub)
        if not check_mode:
            lock.save()
        kept, fetched = [], {}
        for name, plan, model in plans:
            if model is None:
                fetched[name] = plan.source.size() if plan else 0
                if check_mode or plan is None:
                    continue
                model = _model_source.take(path, _fetched(plan, hub), record)
                record.save()
            kept.append(model)
        left_out = [f"{name}/{item}" for name, plan, _model in plans if plan for item in plan.left_out]
        removed = [] if check_mode else _model_source.prune(path, kept)
        return Collection(len(items), kept, fetched, left_out, removed)
    finally:
        if not check_mode:
            record.save()


def _cache(wanted: dict[str, Any]) -> str:
    cache = wanted["cache"]
    remote = [item["name"] for item in wanted["models"] if item["source"].startswith((_hub.SCHEME, _nim.SCHEME))]
    if remote and not cache:
        raise AirgapError(f"The models {', '.join(remote)} are fetched to a cache first; name its directory as cache.")
    return cache or ""


def _plan(item: dict[str, Any], wanted: dict[str, Any], hub: _hub.Hub, lock: Lock, *, check_mode: bool) -> Plan | None:
    """What a model is made of; None when check mode cannot know it."""
    name, source = item["name"], item["source"]
    update = name in wanted["update"]
    wish = Wish(tuple(item["include"]), tuple(item["exclude"]), tuple(item["allow_pickle"]))
    if source.startswith(_hub.SCHEME):
        return _plan_of_hub(name, source, wish, hub, lock, update=update)
    asked = item["nim"] or {}
    directory, beside = source, ""
    if source.startswith(_nim.SCHEME):
        command = asked.get("command") or _nim.COMMANDS[0]
        nim = _nim.parse(name, source, asked.get("profile") or "", command, wanted["cache"])
        if check_mode and (update or not nim.complete):
            return None
        _nim.bring(nim, lock, update=update)
        directory, beside = nim.directory, nim.cache
        source = f"{source}#{nim.profile}"
    elif asked:
        raise AirgapError(f"The model {name} has nim, and its source {source} is no nim://image.")
    entries = _model_source.read_directory(name, directory, beside)
    choice = choose(name, entries, wish)
    check_indexes(name, choice.kept, lambda path: _read(entries[path].path))
    return Plan(Source(name, source, {path: entries[path] for path in choice.kept}), choice.left_out)


def _plan_of_hub(name: str, source: str, wish: Wish, hub: _hub.Hub, lock: Lock, *, update: bool) -> Plan:
    repository, revision = _hub.parse(source)
    if update:
        lock.drop(source)
    listing = hub.listing(repository, lock.get(source) or revision)
    if listing.commit != revision:
        lock.set(source, listing.commit)
    choice = choose(name, listing.files, wish)
    files = {path: listing.files[path] for path in choice.kept}
    entries = {path: Entry(remote.size, sha256=remote.sha256) for path, remote in files.items()}
    stated = f"{_hub.SCHEME}{repository}@{listing.commit}"
    return Plan(Source(name, stated, entries, listing.commit, wish.narrows()), choice.left_out, repository, files)


def _check_indexes(name: str, plan: Plan, hub: _hub.Hub) -> None:
    indexes = {path: remote for path, remote in plan.files.items() if path.endswith(INDEX)}
    if indexes:
        fetched = hub.fetch(plan.repository, plan.source.commit, indexes)
        check_indexes(name, plan.files, lambda path: _read(fetched[path].path))


def _fetched(plan: Plan, hub: _hub.Hub) -> Source:
    if not plan.repository:
        return plan.source
    fetched = hub.fetch(plan.repository, plan.source.commit, plan.files)
    entries = {
        path: Entry(plan.files[path].size, os.stat(found.path).st_mtime, found.sha256, found.path)
        for path, found in fetched.items()
    }
    return plan.source._replace(entries=entries)


def _read(path: str) -> bytes:
    with open(path, "rb") as handle:
        return handle.read()
