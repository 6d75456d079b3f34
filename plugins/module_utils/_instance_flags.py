# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version of an engine an image's tag states, and which options its parser does not know."""

from __future__ import annotations

import difflib
import re
from typing import Iterator

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


def too_old(image: str, engine: Engine) -> str | None:
    """Why this image's engine is too old, where its tag shows that."""
    stated, minimum = stated_version(image), engine.get("minimum_version")
    if not stated or not minimum or _numbers(stated) >= _numbers(str(minimum)):
        return None
    return f"image is {image}; below {minimum} {engine['name']} has faults that matter here. Use {minimum} or newer."


def unknown_options(instance: Instance, engine: Engine) -> Iterator[str]:
    """Options that the engine's own parser would refuse, where its flags are known for the image's version."""
    flags = engine.get("flags") or {}
    listed = flags.get("names")
    if not isinstance(listed, (list, tuple)):
        return
    version, of_version = stated_version(str(instance.get("image", ""))), str(flags.get("version") or "")
    # Without a version, they are those of all.
    if version and of_version and version != of_version.lstrip("vb"):
        return
    called = f"{engine['name']} {of_version}".rstrip()
    known = {underscored(str(name).lstrip("-")) for name in listed}
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


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
