# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a model's weights are quantised, in one shape for every method's own spelling."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.airgap.inference.plugins.module_utils import _model_values as values

# The methods that vLLM 0.32 knows: vllm/model_executor/layers/quantization/__init__.py, QuantizationMethods, without those that quantise
# while loading. bitsandbytes and GGUF are gone from it.
ENGINE_METHODS = frozenset((
    "awq", "auto_awq", "fp8", "fbgemm_fp8", "fp_quant", "modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "auto_gptq", "gptq",
    "gptq_marlin", "awq_marlin", "humming", "compressed-tensors", "experts_int8", "quark", "moe_wna16", "torchao", "inc", "auto-round", "mxfp4",
    "gpt_oss_mxfp4", "deepseek_v4_fp8",
))  # fmt: skip
# As sentences name it.
ENGINE = "vLLM 0.32"
_MAX_MODULES = 20_000
# vLLM 0.32: vllm/utils/torch_utils.py, MODELOPT_TO_VLLM_KV_CACHE_DTYPE_MAP
_CACHE_ALGORITHMS = {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}


def find(config: dict[str, Any], text: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The part of the configuration that describes the quantisation."""
    for part in (config, text):
        for key in ("quantization_config", "compression_config"):
            found = values.table(part, key, path)
            if found is not None:
                return found
    return None


def describe(found: dict[str, Any] | None, path: str) -> dict[str, Any] | None:
    """What is quantised, how finely, and what was left as it was."""
    if found is None:
        return None
    inner = values.table(found, "quantization", path) or {}
    method = _method(found, inner)
    described: dict[str, Any] = {
        "method": method,
        "engine_support": method in ENGINE_METHODS if method else None,
        "bits": _integer(found, "bits"),
        "weight_type": None,
        "activation_bits": None,
        "group_size": _integer(found, "group_size"),
        "block_size": _block(found.get("weight_block_size")),
        "per_tensor": False,
        "mixed": False,
        "modules_to_not_convert": _modules(found, inner),
        "kv_cache_scheme": _cache(found, inner),
    }
    read = _READERS.get(method or "")
    if read:
        described.update(read(found, inner, path))
    return described


def cache_dtype(quantization: dict[str, Any] | None) -> str | None:
    """The type in which vLLM keeps the cache of such a checkpoint when nothing else is asked for.

    vLLM 0.32: vllm/utils/torch_utils.py, get_kv_cache_quant_algo_string, and vllm/model_executor/layers/attention/attention.py, where a
    scheme of compressed-tensors makes fp8 of auto.
    """
    scheme = quantization["kv_cache_scheme"] if quantization else None
    if quantization is None or scheme is None:
        return None
    if quantization["method"] == "compressed-tensors":
        return "fp8"
    if not (quantization["method"] or "").startswith("modelopt"):
        return None
    if scheme.get("type") == "float":
        if scheme.get("num_bits") == 8 and scheme.get("dynamic") is False:
            return "fp8_e4m3"
        return "nvfp4" if scheme.get("num_bits") == 4 else None
    return _CACHE_ALGORITHMS.get(str(scheme.get("algorithm")).lower())


def _method(found: dict[str, Any], inner: dict[str, Any]) -> str | None:
    stated = values.text(found, "quant_method")
    producer = found.get("producer")
    modelopt = isinstance(producer, dict) and producer.get("name") == "modelopt"
    if modelopt or (stated or "").lower() == "modelopt":
        algorithm = str(inner.get("quant_algo") or found.get("quant_algo") or "").upper()
        if "NVFP4" in algorithm:
            return "modelopt_fp4"
        if algorithm.startswith("MXFP8"):
            return "modelopt_mxfp8"
        return "modelopt_mixed" if algorithm.startswith("MIXED") else "modelopt"
    if stated is None:
        return "bitsandbytes" if found.get("load_in_4bit") or found.get("load_in_8bit") else None
    lowered = stated.lower()
    return "compressed-tensors" if lowered == "compressed_tensors" else lowered


def _fp8(found: dict[str, Any], _inner: dict[str, Any], _path: str) -> dict[str, Any]:
    return {
        "bits": 8,
        "weight_type": "float",
        "activation_bits": 8,
        "per_tensor": _block(found.get("weight_block_size")) is None,
    }


def _awq(found: dict[str, Any], _inner: dict[str, Any], _path: str) -> dict[str, Any]:
    return {
        "bits": _integer(found, "bits") or _integer(found, "w_bit"),
        "group_size": _integer(found, "group_size") or _integer(found, "q_group_size"),
        "weight_type": "int",
    }


def _gptq(_found: dict[str, Any], _inner: dict[str, Any], _path: str) -> dict[str, Any]:
    return {"weight_type": "int"}


def _mxfp4(_found: dict[str, Any], _inner: dict[str, Any], _path: str) -> dict[str, Any]:
    # The format's own block: 32 elements of 4 bits share a scale of 8 (OCP Microscaling Formats specification 1.0).
    return {"bits": 4, "group_size": 32, "weight_type": "float"}


def _bitsandbytes(found: dict[str, Any], _inner: dict[str, Any], _path: str) -> dict[str, Any]:
    four = found.get("load_in_4bit") is True
    return {"bits": 4 if four else 8, "weight_type": "float" if four else "int"}


def _modelopt(found: dict[str, Any], inner: dict[str, Any], path: str) -> dict[str, Any]:
    described = _groups(found, path) if isinstance(found.get("config_groups"), dict) else {}
    algorithm = str(inner.get("quant_algo") or found.get("quant_algo") or "").upper()
    described["group_size"] = (
        _integer(inner, "group_size") or _integer(found, "group_size") or described.get("group_size")
    )
    if "NVFP4" in algorithm:
        described.update(bits=4, weight_type="float", group_size=described["group_size"] or 16)
        described["activation_bits"] = 16 if "A16" in algorithm else 4
    elif algorithm == "FP8_PB_WO":
        described.update(bits=8, weight_type="float", activation_bits=None, block_size=[128, 128])
    elif "FP8" in algorithm:
        described.update(bits=8, weight_type="float", activation_bits=8, per_tensor=algorithm == "FP8")
    described["mixed"] = algorithm.startswith("MIXED")
    return described


def _groups(found: dict[str, Any], path: str) -> dict[str, Any]:
    """compressed-tensors: groups of layers, each with its own scheme; the first speaks for all unless they differ."""
    groups = values.table(found, "config_groups", path) or {}
    schemes = [_scheme(group, path) for group in groups.values() if isinstance(group, dict)]
    if not schemes:
        return {}
    return {**schemes[0], "mixed": any(scheme != schemes[0] for scheme in schemes)}


def _scheme(group: dict[str, Any], path: str) -> dict[str, Any]:
    weights = values.table(group, "weights", path) or {}
    activations = values.table(group, "input_activations", path) or {}
    strategy = weights.get("strategy")
    return {
        "bits": _integer(weights, "num_bits"),
        "weight_type": values.text(weights, "type"),
        "activation_bits": _integer(activations, "num_bits"),
        "group_size": _integer(weights, "group_size") if strategy in ("group", "tensor_group") else None,
        "block_size": _block(weights.get("block_structure")) if strategy == "block" else None,
        "per_tensor": strategy == "tensor",
    }


def _compressed(found: dict[str, Any], _inner: dict[str, Any], path: str) -> dict[str, Any]:
    return _groups(found, path)


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], str], dict[str, Any]]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "awq": _awq,
    "auto_awq": _awq,
    "awq_marlin": _awq,
    "gptq": _gptq,
    "auto_gptq": _gptq,
    "gptq_marlin": _gptq,
    "mxfp4": _mxfp4,
    "gpt_oss_mxfp4": _mxfp4,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "modelopt_mxfp8": _modelopt,
    "modelopt_mixed": _modelopt,
}


def _modules(found: dict[str, Any], inner: dict[str, Any]) -> list[str]:
    """What was left unquantised, under whichever of its names."""
    for part in (found, inner):
        for key in ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules"):
            modules = part.get(key)
            if isinstance(modules, list) and modules:
                return [name[:300] for name in modules[:_MAX_MODULES] if isinstance(name, str)]
    return []


def _cache(found: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any] | None:
    for part in (inner, found):
        scheme = part.get("kv_cache_scheme")
        if isinstance(scheme, dict) and scheme:
            return {key: scheme.get(key) for key in ("type", "num_bits", "dynamic", "strategy")}
        algorithm = values.text(part, "kv_cache_scheme") or values.text(part, "kv_cache_quant_algo")
        if algorithm:
            return {"algorithm": algorithm}
    return None


def _integer(part: dict[str, Any], key: str) -> int | None:
    value = part.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**40 else None


def _block(value: Any) -> list[int] | None:
    two = isinstance(value, list) and len(value) == 2
    return (
        value
        if two and all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 2**20 for side in value)
        else None
    )
