# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version of an engine an image's tag states, and which options its parser does not know."""

from __future__ import annotations

import difflib
import re
from typing import Any, Iterator, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _instance_presets
from ansible_collections.airgap.inference.plugins.module_utils._instance_options import own_options
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import Engine, Instance, underscored

# v0.32.0, 0.5.6.post2, 1.2.0rc1; and llama.cpp's b6000.
_VERSION = re.compile(r"v?(\d+(?:\.\w+)+)\Z|b(\d{3,})\Z")


def stated_version(image: str) -> str:
    """The version that a tag states, alone or among other words (v0.32.0-cu129, server-b6000); nothing where it states none."""
    tag = image.split("@")[0].rpartition("/")[2].partition(":")[2]
    for part in re.split(r"[-_+]", tag):
        match = _VERSION.match(part)
        if match:
            return match.group(1) or match.group(2)
    return ""


def version_of(image: str, images: Mapping[str, Any]) -> str:
    """The version that its tag states, or the tag by which the bundle has the same digest."""
    digest = image.partition("@")[2]
    same = [name for name, entry in images.items() if digest and _entry(entry).get("digest") == digest]
    return next((version for version in map(stated_version, [image, *same]) if version), "")


def too_old(image: str, engine: Engine, images: Mapping[str, Any] | None = None) -> str | None:
    """Why this image's engine is too old, where its tag shows that."""
    stated, minimum = version_of(image, images or {}), engine.get("minimum_version")
    if not stated or not minimum or _numbers(stated) >= _numbers(str(minimum)):
        return None
    return f"image is {image}; below {minimum} {engine['name']} has faults that matter here. Use {minimum} or newer."


class Known(NamedTuple):
    """The flags of an engine, in the form of options, and what the engine is called."""

    names: frozenset[str]
    called: str


def known_flags(instance: Instance, engine: Engine, images: Mapping[str, Any]) -> Known | None:
    """Those that the image itself told when it was staged; else those of the version that its tag states, or of every version."""
    image, name = str(instance.get("image", "")), str(engine["name"])
    flags = engine.get("flags") or {}
    listed, of_version = flags.get("names"), str(flags.get("version") or "")
    version = version_of(image, images)
    recorded: list[str] = []
    is_recorded = isinstance(listed, (list, tuple)) and (not of_version or version == of_version.lstrip("vb"))
    if is_recorded:
        recorded = [str(flag) for flag in listed or []]
    told = _told(image, name, images)
    if told:
        # A help may keep silent about some.
        return Known(_options_of([*told, *recorded]), f"{name} in {image}")
    return Known(_options_of(recorded), f"{name} {of_version}".rstrip()) if is_recorded else None


def unchecked(instance: Instance, engine: Engine, images: Mapping[str, Any]) -> str:
    """What could not be held against the image's engine, or nothing."""
    image = str(instance.get("image", ""))
    told = []
    if known_flags(instance, engine, images) is None:
        told.append("flags not checked (no list of its image's is known)")
    if engine.get("minimum_version") and not version_of(image, images):
        told.append("version not checked (its image's tag states none)")
    return ", ".join(told)


def unknown_options(instance: Instance, engine: Engine, images: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Options that the engine's own parser would refuse, where its flags are known for this image."""
    flags = known_flags(instance, engine, images or {})
    if flags is None:
        return
    known, called = flags
    for option, value in own_options(instance).items():
        if value is None:
            # It takes back what the engine's data or a preset state.
            continue
        # vLLM takes a part of a mapping as option.part.
        name = option.partition(".")[0]
        if name in known:
            if value is False and engine.get("negated_options") and f"no_{name}" not in known:
                yield (
                    f"options.{option} is false, and {called} has no --no-{name.replace('_', '-')} to say so. "
                    "Leave the option out, or write null to take back what the engine's data state."
                )
            continue
        if not known:
            yield f"options.{option} is stated, and {called} has no options. Remove it; what can be set is in environment."
            continue
        close = difflib.get_close_matches(name, sorted(known), n=3)
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        yield (f"options.{option} is no option of {called}. {meant}The names are the engine's own flags.")


def unknown_of_preset(
    instance: Instance, engine: Engine, images: Mapping[str, Any] | None = None, generation: str = ""
) -> Iterator[str]:
    """Options of the instance's preset that an image of another age does not have."""
    flags = known_flags(instance, engine, images or {})
    if flags is None:
        return
    known, called = flags
    own = own_options(instance)
    for option in sorted(_instance_presets.options(instance, engine, generation)):
        name = underscored(option)
        if name.partition(".")[0] not in known and name not in own:
            yield (
                f"preset {instance['preset']} sets {option}, which is no option of {called}. Write options.{option} as null to do "
                "without it, or leave the preset out."
            )


def _told(image: str, engine: str, images: Mapping[str, Any]) -> list[str]:
    """The flags that the image told; the same image may stand in the bundle by another name."""
    digest = image.partition("@")[2]
    entries = [_entry(images.get(image)), *map(_entry, images.values())]
    for position, entry in enumerate(entries):
        if position == 0 or (digest and entry.get("digest") == digest):
            told = _entry(entry.get("flags")).get(engine)
            if isinstance(told, (list, tuple)) and told:
                return [str(flag) for flag in told]
    return []


def _entry(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _options_of(flags: list[str]) -> frozenset[str]:
    return frozenset(underscored(flag.lstrip("-")) for flag in flags)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
