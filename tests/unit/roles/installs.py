# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads roles and playbooks for all that brings packages or images to a machine, and holds it against what a bundle reads.

What a task installs must come from variables, and these from the variables that the bundle is made from; a name that
stands in the task itself would be missing beyond the gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from jinja2 import nodes

# The two ways in: packages from the depot's repository, images from its registry.
PACKAGES = {"airgap.inference.packages": ("packages", "hold")}
IMAGES = {"airgap.inference.image_pull": ("images",)}
# All of these reach for something that a bundle does not hold, whatever they are given.
_PAST_THE_DEPOT = re.compile(
    r"(^|\.)(apk|apt|apt_repository|deb822_repository|dnf5?|docker_compose_v2(_pull)?|docker_container|docker_image(_pull|_load)?"
    r"|flatpak|gem|get_url|git|homebrew|npm|package|pip|pipx|podman_(container|image)|rpm_key|snap|unarchive|yum|yum_repository|zypper)$"
)
_COMMANDS = ("command", "shell", "raw", "script")
_INSTALLING = re.compile(
    r"\b((apt|apt-get|aptitude|dnf|microdnf|yum|zypper|apk|snap|gem|npm|pipx?|pip3|uv)\b[^|;&\n]*\s(install|add|upgrade)\b"
    r"|(dpkg|rpm)\s+(-i|-U|--install|--upgrade)\b|(docker|podman|nerdctl)\s+(image\s+)?(pull|load|import)\b|(curl|wget|git\s+clone)\s+\S)"
)
_RUNNING = re.compile(r"\b(docker|podman)\s+(container\s+)?(run|create)\b")
# Filters that leave things out, or ask things of them, and bring nothing in.
_NARROWING = {
    "difference",
    "first",
    "flatten",
    "intersect",
    "list",
    "map",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
}
_NARROWING |= {"sort", "split", "unique"}
_KEYWORDS = {"block", "rescue", "always"}


class Reader(NamedTuple):
    """What the bundle is made from, and what the collection's variables say."""

    packages: set[str]
    images: set[str]
    variables: dict[str, Any]

    def faults(self, path: Path) -> list[str]:
        """What a file of tasks or plays would install that a bundle does not hold."""
        found = []
        for task in _tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found += [f"{path.name}: {task.get('name', 'a task')}: {fault}" for fault in self._task_faults(task)]
        return found

    def text_faults(self, path: Path) -> list[str]:
        """The same of a template or a file of variables: images that are named, commands that fetch."""
        text = path.read_text(encoding="utf-8")
        # Comments say what they like.
        lines = [re.sub(r"\s#\s.*", "", line) for line in text.splitlines() if not re.match(r"\s*(#|\{#)", line)]
        found = [
            f"{path.name}: {line.strip()}: the image is named here"
            for line in lines
            if re.match(r"\s*image:\s*[^\s{]", line)
        ]
        found += [f"{path.name}: {line.strip()}: fetches" for line in lines if _INSTALLING.search(line)]
        if any(map(_RUNNING.search, lines)) and not any(name in text for name in self.images):
            found.append(f"{path.name}: a container runs from an image that no bundle holds")
        return found

    def _task_faults(self, task: dict[str, Any]) -> Iterator[str]:
        for module, arguments in task.items():
            if _PAST_THE_DEPOT.search(module) and not module.startswith("airgap."):
                yield f"{module} does not install from the depot"
            if module.rpartition(".")[2] in _COMMANDS:
                for text in _strings(arguments, together=True):
                    if _INSTALLING.search(text) or (
                        _RUNNING.search(text) and not any(name in text for name in self.images)
                    ):
                        yield f"the command fetches: {text}"
            for kinds, known in ((PACKAGES, self.packages), (IMAGES, self.images)):
                for option in kinds.get(module, ()):
                    for text in _strings((arguments or {}).get(option)):
                        yield from (f"{option}: {fault}" for fault in self._expression_faults(text, known, set()))

    def _expression_faults(self, text: str, known: set[str], seen: set[str]) -> Iterator[str]:
        """What in a template comes from elsewhere than the known variables."""
        for part in jinja2.Environment(autoescape=False).parse(text).body:
            for node in getattr(part, "nodes", [part]):
                if isinstance(node, nodes.TemplateData):
                    if node.data.strip():
                        yield f"{node.data.strip()} is named in the task"
                else:
                    yield from self._node_faults(node, known, seen)

    def _node_faults(self, node: nodes.Node, known: set[str], seen: set[str]) -> Iterator[str]:
        if isinstance(node, nodes.Name):
            value = self.variables.get(node.name)
            if node.name in known or node.name in seen:
                return
            if value is None:
                yield f"{node.name} is not among what the bundle reads"
            else:
                for text in _strings(value):
                    yield from self._expression_faults(text, known, seen | {node.name})
        elif isinstance(node, nodes.Const):
            if isinstance(node.value, str) and re.search(r"\w", node.value):
                yield f"{node.value} is named in the task"
        elif isinstance(node, nodes.CondExpr):
            # What is only asked about is not installed.
            for branch in (node.expr1, node.expr2):
                if branch is not None:
                    yield from self._node_faults(branch, known, seen)
        elif isinstance(node, nodes.Filter) and node.node is not None and node.name in _NARROWING:
            yield from self._node_faults(node.node, known, seen)
        else:
            for child in node.iter_child_nodes():
                yield from self._node_faults(child, known, seen)


def _tasks(items: Any) -> Iterator[dict[str, Any]]:
    """Every task of a file: those of plays and blocks too."""
    for item in items or []:
        yield {key: value for key, value in item.items() if key not in _KEYWORDS}
        for key in (*sorted(_KEYWORDS), "pre_tasks", "tasks", "post_tasks", "handlers"):
            yield from _tasks(item.get(key))


def _strings(value: Any, together: bool = False) -> list[str]:
    """The texts in a value; those of a command's list together, as they are run."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item, together)]
    if isinstance(value, list):
        texts = [text for item in value for text in _strings(item)]
        return [" ".join(texts)] if together else texts
    return []
