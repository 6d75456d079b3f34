# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a model travel, whether they belong together, and under which licence they are.

Patterns are those of huggingface_hub: fnmatch on the whole path, and a pattern that ends in a slash is a directory.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from typing import Callable, Collection, Iterable, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._manifest import printable

INDEX = ".index.json"
_SAFE = ".safetensors"
# Loading these can run whatever code their author has put in.
_PICKLED = (".bin", ".ckpt", ".dill", ".joblib", ".nemo", ".pickle", ".pkl", ".pt", ".pth")
# The same weights for other programs. No engine of this collection loads them where there are safetensors.
_OTHER_FORMATS = (
    ".ggml",
    ".gguf",
    ".h5",
    ".keras",
    ".mlmodel",
    ".msgpack",
    ".npz",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".tflite",
)
_OTHER_DIRECTORIES = ("coreml", "flax", "gguf", "metal", "onnx", "openvino", "original")
_PAPERS = re.compile(r"(readme|model_card|licen[cs]e|copying|notice|use_policy)[^/]*\Z", re.IGNORECASE)
_LICENCES = re.compile(r"(licen[cs]e|copying)[^/]*\Z", re.IGNORECASE)
_CARDS = re.compile(r"(readme|model_card)\.md\Z", re.IGNORECASE)


class Wish(NamedTuple):
    """What the inventory says about a model's files."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_pickle: tuple[str, ...] = ()

    def narrows(self) -> bool:
        """Whether it changes which files travel."""
        return bool(self.include or self.exclude)


class Choice(NamedTuple):
    """What travels, and what was left out because the same weights are there as safetensors."""

    kept: list[str]
    left_out: list[str]


def choose(name: str, paths: Iterable[str], wish: Wish) -> Choice:
    """The files that travel. Licence and card always do; pickled weights only when they are allowed by name."""
    everything = sorted(paths)
    wanted = [path for path in everything if _wanted(path, wish)]
    if not any(not _PAPERS.match(path) for path in wanted):
        raise AirgapError(
            f"Nothing of the model {name} is left by include: {_listed(wish.include)} and exclude: {_listed(wish.exclude)}. "
            f"It has: {_listed(everything)}."
        )
    left_out = [] if wish.include else _duplicates(wanted)
    kept = [path for path in wanted if path not in left_out]
    pickled = [path for path in kept if path.endswith(_PICKLED) and not _allowed(path, wish.allow_pickle)]
    if pickled:
        raise AirgapError(
            f"The model {name} has pickled files, which can run code where they are loaded: {_listed(pickled)}. "
            f"Take a revision that has safetensors; or leave them out by exclude, or allow them by allow_pickle: "
            f"both take names, as in [{os.path.basename(pickled[0])}]."
        )
    return Choice(kept, left_out)


def check_indexes(name: str, kept: Collection[str], read: Callable[[str], bytes]) -> None:
    """Refuse a model whose index of shards names a file that does not travel with it."""
    for path in sorted(path for path in kept if path.endswith(INDEX)):
        try:
            shards = set(json.loads(read(path).decode("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AirgapError(
                f"The index {path} of the model {name} cannot be read: {error!r}. Fetch the model anew."
            ) from error
        missing = sorted(str(shard) for shard in shards if _beside(path, str(shard)) not in kept)
        if missing:
            raise AirgapError(
                f"The index {path} of the model {name} names files that are not there: {_listed(missing)}. "
                "Complete the model, or mend its include and exclude."
            )


def licence(kept: Iterable[str], read: Callable[[str], bytes]) -> str:
    """What the card says, else the name of the licence file, else nothing."""
    top = sorted(path for path in kept if "/" not in path)
    for path in (path for path in top if _CARDS.match(path)):
        said = _card_licence(read(path).decode("utf-8", "replace"))
        if said:
            return said
    return next((path for path in top if _LICENCES.match(path)), "")


def _card_licence(card: str) -> str:
    front = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---", card, re.DOTALL)
    if not front:
        return ""
    fields = dict(re.findall(r"^(license(?:_name)?)[ \t]*:[ \t]*(.*?)[ \t]*\r?$", front[1], re.MULTILINE))
    said = fields.get("license", "")
    if not said:
        # A card may name several.
        several = re.search(
            r"^license[ \t]*:[ \t]*\r?\n((?:[ \t]*-[ \t]*\S+[ \t]*\r?\n?)+)", front[1] + "\n", re.MULTILINE
        )
        said = ", ".join(re.findall(r"-[ \t]*(\S+)", several[1])) if several else ""
    if said.strip("'\"") == "other":
        said = fields.get("license_name") or said
    return printable(said.strip("[]'\""))[:200]


def _wanted(path: str, wish: Wish) -> bool:
    if _PAPERS.match(path):
        return True
    return (not wish.include or _matches(path, wish.include)) and not _matches(path, wish.exclude)


def _duplicates(paths: list[str]) -> list[str]:
    """Where there are safetensors: the same weights in other formats, each by its file and the index of its shards."""
    real = [path for path in paths if path.endswith(_SAFE) and not _elsewhere(path)]
    directories = {os.path.dirname(path) for path in real if not _consolidated(path)}
    return [path for path in paths if real and _duplicate(path, directories)]


def _duplicate(path: str, directories: set[str]) -> bool:
    weights = path[: -len(INDEX)] if path.endswith(INDEX) else path
    if _elsewhere(weights) or weights.endswith(_OTHER_FORMATS):
        return True
    # A part of a model may have nothing but pickled weights; that is no duplicate, and choose() has a word on it.
    return os.path.dirname(weights) in directories and (weights.endswith(_PICKLED) or _consolidated(weights))


def _elsewhere(path: str) -> bool:
    return path.split("/", 1)[0] in _OTHER_DIRECTORIES and "/" in path


def _consolidated(path: str) -> bool:
    return os.path.basename(path).startswith("consolidated") and path.endswith(_SAFE)


def _allowed(path: str, names: Collection[str]) -> bool:
    return _matches(path, names) or _matches(os.path.basename(path), names)


def _matches(path: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, f"{item}*" if item.endswith("/") else item) for item in patterns)


def _beside(index: str, shard: str) -> str:
    directory = os.path.dirname(index)
    return f"{directory}/{shard}" if directory else shard


def _listed(names: Collection[str], limit: int = 12) -> str:
    shown = [printable(name) for name in list(names)[:limit]]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(shown) or "none") + more
