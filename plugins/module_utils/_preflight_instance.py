# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance's description as the options of model_placement, and where in the inventory each of them stands."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _instance_options,
    _instance_presets,
    _instance_types,
)

# vllm/utils/argparse_utils.py, human_readable_int: 1k is 1000, 1K is 1024, and only the first may have a fraction.
_COUNT = re.compile(r"(\d+)(?:\.(\d+))?([kKmMgGtT]?)\Z")
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# As Compose reads sizes (Compose specification, "Specifying byte values"): b, k or kb, m or mb, g or gb.
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmg]?)b?\Z", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_MIB, _GIB = 2**20, 2**30

# The options of vLLM that a placement depends on, and their names there; by the kind of their values.
_COUNTS = {
    "max_model_len": "max_model_len",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "max_num_seqs": "max_num_seqs",
    "block_size": "block_size",
    "kv_cache_memory_bytes": "kv_cache_bytes",
    "tensor_parallel_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size",
    "data_parallel_size": "data_parallel_size",
}
_SHARES = ("gpu_memory_utilization",)
_SWITCHES = ("enforce_eager", "enable_prefix_caching")
_CHOICES = {
    "kv_cache_dtype": ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "dtype": ("auto", "half", "float16", "bfloat16", "float", "float32"),
}
KNOWN_ENGINES = ("vllm",)
_MORE_MODELS = ("draft_model", "adapters")
# The longest that fits, which vLLM's max_model_len auto asks for.
AS_FITS = -1

# Where a person changes what a finding of this topic is about: first the option that decides, then what else may.
_PLACES = {
    "tensor_parallel_size": ("options.tensor_parallel_size", "gpus"),
    "pipeline_parallel_size": ("options.pipeline_parallel_size",),
    "gpus": ("gpus",),
    "memory": ("options.gpu_memory_utilization", "options.max_model_len"),
    "memory_used": ("options.gpu_memory_utilization",),
    "max_model_len": ("options.max_model_len",),
    "dtype": ("options.dtype",),
    "kv_cache_dtype": ("options.kv_cache_dtype",),
    "kv_cache": ("model",),
    "quantization": ("model",),
    "architecture": ("model",),
    "format": ("model",),
    "weights": ("model",),
    "image": ("image",),
    "driver": ("image",),
    "shm_size": ("shm_size",),
    "host_memory": ("environment.VLLM_CPU_KVCACHE_SPACE",),
}
# Not a matter of the instance, but of its host.
_OF_THE_HOST = {
    "driver": ("gpu_host_branch",),
    "compute_capability": ("gpu_host_expected.compute_capability",),
    "gpu_memory": ("gpu_host_expected.memory_mib",),
    "disk": ("model_store_directory", "container_runtime_data_root"),
}


class Wish(NamedTuple):
    """What an instance asks of its GPUs, as model_placement reads it; what of it cannot be read, and what cannot be reckoned with."""

    parameters: dict[str, Any]
    faults: list[str]
    unknown: list[str]


def options(instance: Mapping[str, Any], engine: Mapping[str, Any], expected: Any = None) -> dict[str, Any]:
    """The options of the engine, the task and the preset, and the instance's own, by their names with underscores."""
    return {
        **(engine.get("options") or {}),
        **(_instance_types.task_data(instance, engine).get("options") or {}),
        **_instance_presets.options(instance, engine, _instance_presets.generation(expected)),
        **_instance_options.own_options(instance),
    }


def wish(instance: Mapping[str, Any], engine: Mapping[str, Any], expected: Any = None) -> Wish:
    """The instance's settings. What cannot be read is said, with the path of its variable below the instance."""
    stated = options(instance, engine, expected)
    parameters: dict[str, Any] = {}
    faults: list[str] = []
    unknown: list[str] = [
        f"{key} takes memory as well, which cannot be reckoned with here" for key in _MORE_MODELS if instance.get(key)
    ]
    for option, name in _COUNTS.items():
        if stated.get(option) is None:
            continue
        if option == "max_model_len" and str(stated[option]).strip().lower() in ("auto", "-1"):
            parameters[name] = AS_FITS
            continue
        number = count(stated[option])
        if number is None:
            faults.append(f"options.{option} is {stated[option]!r}; a whole number is needed, such as 32768 or 32K")
        else:
            parameters[name] = number
    for option in _SHARES:
        value = _share(stated.get(option))
        if stated.get(option) is not None and value is None:
            faults.append(f"options.{option} is {stated[option]!r}; a share above 0 and up to 1 is needed")
        elif value is not None:
            parameters[option] = value
    for option in _SWITCHES:
        value = stated.get(option)
        if value is not None and not isinstance(value, bool):
            faults.append(f"options.{option} is {value!r}; true or false is needed")
        elif value is not None:
            parameters[option] = value
    for option, choices in _CHOICES.items():
        value = stated.get(option)
        if value is not None and value not in choices:
            unknown.append(f"options.{option} is {value!r}, and what can be reckoned with here is {', '.join(choices)}")
        elif value is not None:
            parameters[option] = value
    gpus = instance.get("gpus") or 0
    if not any(
        option in parameters for option in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    ):
        parameters["tensor_parallel_size"] = max(gpus, 1) if isinstance(gpus, int) else 1
    faults.extend(_sizes(instance))
    if on_cpu(instance, engine):
        parameters["device"] = "cpu"
        faults.extend(_cpu_cache(instance, parameters))
    else:
        parameters["device"] = "cuda"
    return Wish(parameters, faults, unknown)


def on_cpu(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> bool:
    """Whether the engine computes on the CPU: it has no GPUs, or its image is a build for CPUs."""
    image = str(instance.get("image") or "").split("@", maxsplit=1)[0]
    repository = image.rpartition(":")[0] if "/" not in image.rpartition(":")[2] else image
    builds = (engine.get("rehearsal") or {}).get("cpu_images") or []
    return not instance.get("gpus") or any(fnmatch(repository, str(pattern)) for pattern in builds)


def count(value: Any) -> int | None:
    """A whole number, also as vLLM's own command line takes it."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    match = _COUNT.match(str(value).strip())
    if match is None or (match.group(2) and match.group(3) not in ("k", "m", "g", "t")):
        return None
    number = int(float(f"{match.group(1)}.{match.group(2)}") * _DECIMAL[match.group(3)]) if match.group(2) else 0
    number = number or int(match.group(1)) * _DECIMAL[match.group(3)]
    return number if number > 0 else None


def size(value: Any) -> int | None:
    """Bytes, as Compose reads them."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    match = _SIZE.match(str(value).strip())
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()]) if match else None


def shared_memory_mib(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> int | None:
    """What the container of the instance gets."""
    stated = size(instance.get("shm_size") or (engine.get("container") or {}).get("shm_size"))
    return stated // _MIB if stated else None


def memory_mib(instance: Mapping[str, Any], host_mib: int | None) -> int | None:
    """The host's memory, or the limit of the instance where that is less."""
    limit = size(instance.get("memory")) if instance.get("memory") else None
    stated = [value for value in (host_mib, limit // _MIB if limit else None) if value]
    return min(stated) if stated else None


def places(variable: str, position: int, instance: Mapping[str, Any], topics: Sequence[str]) -> list[str]:
    """Where findings of these topics are changed, each with the value that stands there."""
    found: dict[str, None] = {}
    for topic in topics:
        for path in _PLACES.get(topic, ()):
            found[f"{variable}[{position}].{path} {_shown(instance, path)}"] = None
        for path in _OF_THE_HOST.get(topic, ()):
            found[path] = None
    return list(found)


def _shown(instance: Mapping[str, Any], path: str) -> str:
    value: Any = instance
    for key in path.split("."):
        value = value.get(key, value.get(key.replace("_", "-"))) if isinstance(value, Mapping) else None
    return "is not stated" if value is None else f"is {value!r}"


def _share(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if not isinstance(value, bool) and 0 < number <= 1 else None


def _sizes(instance: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} is {instance[key]!r}; a size is needed, such as 16gb"
        for key in ("shm_size", "memory")
        if instance.get(key) is not None and not size(instance[key])
    ]


def _cpu_cache(instance: Mapping[str, Any], parameters: dict[str, Any]) -> list[str]:
    """vLLM on CPUs has its cache stated in GiB (vllm/platforms/cpu.py)."""
    stated = (instance.get("environment") or {}).get("VLLM_CPU_KVCACHE_SPACE")
    if stated in (None, ""):
        return []
    number = count(stated)
    if number is None:
        return [f"environment.VLLM_CPU_KVCACHE_SPACE is {stated!r}; a number of GiB is needed"]
    parameters["kv_cache_bytes"] = number * _GIB
    return []
