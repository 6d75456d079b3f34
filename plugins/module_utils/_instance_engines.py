# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the engines' data together, before any instance is held against them: a site may bring its own."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._instance_types import IMAGE_ENTRYPOINT, Engine

_TASK = ("api", "probe.path", "probe.body", "probe.expects")


def faults(engines: Sequence[Engine]) -> list[str]:
    """Every fault, each with the engine that it is about."""
    listed = [str(engine.get("name") or "") for engine in engines]
    found = [
        f"engine {name}: two files of engines' data have this name; give the one in inference_engine_directories "
        "a name of its own, and instances that name as their engine."
        for name in sorted({name for name in listed if name and listed.count(name) > 1})
    ]
    for name, engine in zip(listed, engines):
        lacking = list(_lacking(engine))
        if lacking:
            found.append(
                f"engine {name or 'without a name'}: its data lack {', '.join(lacking)}. "
                "Complete the file; those of the role inference (vars/engines) show how."
            )
    return found


def _lacking(engine: Engine) -> Iterator[str]:
    for path in ("name", "container.socket_directory", "tasks"):
        if not _at(engine, path):
            yield path
    if engine.get("listens") == "tcp" and not engine.get("port"):
        yield "port"
    if _at(engine, "container.entrypoint") is not None:
        if _at(engine, "container.entrypoint") != IMAGE_ENTRYPOINT:
            yield f"container.entrypoint as {IMAGE_ENTRYPOINT} (or nothing at all)"
        elif engine.get("listens") != "tcp":
            # The umask of its socket is set before the program starts.
            yield f"listens as tcp, which container.entrypoint: {IMAGE_ENTRYPOINT} needs"
    tasks = engine.get("tasks")
    if tasks and not isinstance(tasks, Mapping):
        yield "tasks by name"
        return
    for task, data in (tasks or {}).items():
        for path in _TASK:
            if _at(data, path) is None:
                yield f"tasks.{task}.{path}"


def _at(data: Any, path: str) -> Any:
    for key in path.split("."):
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
