# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance's options: the engine's, the task's, a preset's, a draft's and adapters', its own; and how the engine spells them."""

from __future__ import annotations

import json
from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _instance_presets, _instance_words
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import (
    Engine,
    Instance,
    task_data,
    underscored,
)

# Under these names engines divide a model: vLLM's and SGLang's long ones, TensorRT-LLM's and SGLang's short ones.
_TENSOR = ("tensor_parallel_size", "tp_size", "tp")
_PIPELINE = ("pipeline_parallel_size", "pp_size", "pp")
_DATA = ("data_parallel_size", "dp_size", "dp")
_PARALLEL = (*_TENSOR, *_PIPELINE, *_DATA)
# With it, SGLang's data parallel size divides the same GPUs once more (python/sglang/srt/server_args.py).
_SAME_GPUS = "enable_dp_attention"


def own_options(instance: Instance) -> dict[str, Any]:
    """What the person wrote, by names with underscores."""
    return {underscored(str(name)): value for name, value in (instance.get("options") or {}).items()}


def options(instance: Instance, engine: Engine, generation: str = "") -> dict[str, Any]:
    """All options by names with underscores; what stands later in this module's title replaces what stands before."""
    own = own_options(instance)
    values = _instance_words.words(instance, engine)
    merged: dict[str, Any] = {}
    for stated in (
        engine.get("options"),
        task_data(instance, engine).get("options"),
        _instance_presets.options(instance, engine, generation),
    ):
        merged.update(_of_data(stated, values))
    gpu_option = engine.get("gpu_option")
    if gpu_option and int(instance.get("gpus") or 0) > 1 and not any(option in own for option in _PARALLEL):
        merged[gpu_option] = int(instance["gpus"])
    needed = mounted_options(instance, engine)
    merged = _deep(merged, _of_data(needed, values))
    for option, value in own.items():
        # The person says how many tokens a draft proposes, and need not repeat where it is.
        both = option in needed and isinstance(value, Mapping) and isinstance(merged[option], Mapping)
        merged[option] = _deep(merged[option], value) if both else value
    return merged


def mounted_options(instance: Instance, engine: Engine) -> dict[str, Any]:
    """What the engine must be told of a draft and of adapters, as its data have it."""
    found: dict[str, Any] = {}
    for key, of_engine in (("draft_model", "draft_options"), ("adapters", "adapter_options")):
        if instance.get(key):
            stated = {underscored(str(name)): value for name, value in (engine.get(of_engine) or {}).items()}
            found = _deep(found, stated)
    return found


def sizes(instance: Instance, engine: Engine) -> tuple[int, int]:
    """Tensor parallel size, and how many GPUs all kinds of parallelism together need."""
    own = own_options(instance)
    count = int(instance.get("gpus") or 0)
    if not engine.get("gpu_option"):
        # It divides a model as it likes.
        return 1, count
    if not any(option in own for option in _PARALLEL):
        return max(count, 1), count
    tensor, pipeline, data = (
        next((int(own[option] or 1) for option in spellings if option in own), 1)
        for spellings in (_TENSOR, _PIPELINE, _DATA)
    )
    return tensor, tensor * pipeline * (1 if own.get(_SAME_GPUS) else data)


def arguments(instance: Instance, engine: Engine, generation: str = "") -> list[str]:
    """All options as the engine's command line has them, sorted by name."""
    argv: list[str] = []
    for option, value in sorted(options(instance, engine, generation).items()):
        argv.extend(
            option_arguments(
                option,
                value,
                negated=bool(engine.get("negated_options", False)),
                style=str(engine.get("option_style", "")),
                lists=str(engine.get("list_style", "")),
            )
        )
    return argv


def option_arguments(option: str, value: Any, negated: bool = True, style: str = "", lists: str = "") -> list[str]:
    """One option in the engine's own spelling.

    true is the bare flag; false its --no- form where the engine has these, else nothing; null is nothing;
    a list is the flag followed by its values, or by one text with commas where that is the engine's style; a mapping is JSON.
    """
    flag = "--" + (option if style == "underscores" else option.replace("_", "-"))
    if value is None:
        return []
    if value is True:
        return [flag]
    if value is False:
        return ["--no-" + flag[2:]] if negated else []
    if isinstance(value, Mapping):
        return [flag, json.dumps(value, sort_keys=True, separators=(",", ":"))]
    if isinstance(value, (list, tuple)):
        parts = [json.dumps(part) if isinstance(part, Mapping) else str(part) for part in value]
        if lists == "comma":
            parts = [",".join(parts)] if parts else []
        return [flag, *parts] if parts else []
    return [flag, str(value)]


def drain(instance: Instance, engine: Engine) -> int:
    """How many seconds a stop lets running requests finish: what the engine is told, or what its data allow it."""
    option = engine.get("drain_option")
    if option:
        return int(options(instance, engine).get(underscored(str(option))) or 0)
    return int(engine.get("drain_seconds") or 0)


def _of_data(stated: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    return {underscored(str(name)): _instance_words.filled(value, values) for name, value in (stated or {}).items()}


def _deep(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _deep(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
