# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What model_placement is asked, read and checked: the model's directory, the GPUs in the forms that they come in, the settings."""

from __future__ import annotations

import os
from typing import Any, Mapping

from ansible_collections.airgap.inference.plugins.module_utils import _model, _safetensors, _weight_shards
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._json import read_object
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import CPU, CUDA, Case, Settings

_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
_POSITIVE = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "max_model_len", "kv_cache_bytes", "max_num_batched_tokens",
    "max_num_seqs", "block_size",
)  # fmt: skip
_LARGEST = 2**50
_LARGEST_PARALLEL = 4096


def read(parameters: Mapping[str, Any]) -> Case:
    """The case that a module's parameters describe."""
    path = str(parameters["path"])
    model = _model.read(path, complete=False)
    weights = model.get("weights")
    parts = None
    # Of weights that are there in part, the configuration tells more.
    if weights and not weights["missing_files"] and model.get("format") == "safetensors":
        parts = _weight_shards.parts(_tensor(name, tensor) for name, tensor in _model.tensors(path).items())
    gpus, host = _gpus(parameters.get("gpus"))
    host.update({key: value for key, value in (parameters.get("host") or {}).items() if value is not None})
    disks = [dict(disk) for disk in parameters.get("disks") or ()]
    for disk in disks:
        if disk.get("needed_bytes") is None and weights and not weights["missing_files"]:
            disk["needed_bytes"] = weights["bytes"]
    return Case(
        model=model,
        settings=settings(parameters, bool(gpus)),
        gpus=gpus,
        parts=parts,
        config=_configuration(os.path.join(path, _model.CONFIG)),
        image={key: value for key, value in (parameters.get("image") or {}).items() if value},
        host=host,
        disks=disks,
    )


def settings(parameters: Mapping[str, Any], gpus: bool) -> Settings:
    """The engine's settings, each in its bounds."""
    for key in _POSITIVE:
        value = parameters.get(key)
        largest = _LARGEST_PARALLEL if key.endswith("parallel_size") else _LARGEST
        if value is not None and not 1 <= value <= largest:
            raise AirgapError(f"{key} is {value}; a whole number from 1 to {largest} is needed")
    utilization = parameters.get("gpu_memory_utilization")
    if utilization is not None and not 0 < utilization <= 1:
        raise AirgapError(
            f"gpu_memory_utilization is {utilization}; a share of the GPU's memory above 0 and up to 1 is needed"
        )
    device = parameters.get("device") or "auto"
    if device == "auto":
        fixed = parameters.get("kv_cache_bytes") is not None
        device = CPU if fixed and not gpus else CUDA
    stated = {key: parameters[key] for key in Settings._fields if key != "device" and parameters.get(key) is not None}
    return Settings(**stated, device=device)


def _gpus(value: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A list of GPUs, or all that gpu_info says of a host."""
    host: dict[str, Any] = {}
    if isinstance(value, Mapping) and "gpus" in value:
        host = {key: value[key] for key in ("driver_version", "cuda_version") if value.get(key)}
        value = value["gpus"]
    if value is None:
        return [], host
    if not isinstance(value, list) or not all(isinstance(gpu, Mapping) for gpu in value):
        raise AirgapError(f"gpus is {str(value)[:100]!r}; a list of GPUs, or the result of gpu_info, is needed")
    gpus = []
    for position, gpu in enumerate(value):
        read_gpu = {"index": position, **gpu}
        for key in ("memory_mib", "memory_used_mib", "memory_reserved_mib"):
            read_gpu[key] = _megabytes(read_gpu.get(key), f"gpus[{position}].{key}")
        gpus.append(read_gpu)
    host["gpus"] = gpus
    return gpus, host


def _megabytes(value: Any, where: str) -> int | None:
    """Templates make strings of numbers."""
    if value is None:
        return None
    try:
        size = int(value)
    except (TypeError, ValueError):
        size = -1
    if isinstance(value, bool) or not 0 <= size <= _LARGEST:
        raise AirgapError(f"{where} is {str(value)[:100]!r}; a number of MiB is needed")
    return size


def _tensor(name: str, tensor: _safetensors.Tensor) -> _weight_shards.Tensor:
    return _weight_shards.Tensor(name, tensor.dtype, tensor.elements, tensor.bytes)


def _configuration(path: str) -> dict[str, Any]:
    """The part of the configuration that describes the language model; a GGUF file needs none."""
    if not os.path.lexists(path):
        return {}
    config = read_object(path, _model.MAX_CONFIG)
    for _level in _NESTED:
        nested = next((config[key] for key in _NESTED if isinstance(config.get(key), dict)), None)
        if nested is None:
            break
        config = nested
    return config
