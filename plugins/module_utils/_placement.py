# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model works on given GPUs with given settings, and how well: a pure function of what is known of each.

The engine is vLLM 0.32. What it would refuse is a refusal here; what works with little to spare, or otherwise than meant, is tight; what
cannot be told is said to be unknown.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _compute_capability,
    _model,
    _placement_figures,
    _placement_host,
)
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import (
    CPU,
    CUDA,
    NOTE,
    REFUSED,
    TIGHT,
    UNKNOWN,
    Case,
    Finding,
    Outcome,
    named,
)

# vllm/config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS
_NOT_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")


def evaluate(case: Case) -> Outcome:
    """The findings and figures of one case, without remedies."""
    settings, model = case.settings, case.model
    findings: list[Finding] = []
    chosen = _chosen(case, findings)
    ggml = model.get("format") == "gguf"
    refusal = None if ggml else _model.tensor_parallel_refusal(model, settings.tensor_parallel_size)
    if refusal:
        findings.append(Finding(REFUSED, "tensor_parallel_size", refusal))
    layers = model.get("layers") or 0
    if layers and settings.pipeline_parallel_size > layers:
        findings.append(
            Finding(
                REFUSED,
                "pipeline_parallel_size",
                f"{layers} layers cannot be given to {settings.pipeline_parallel_size} pipeline stages",
            )
        )
    findings.extend(_loads(model))
    capability = _capability(chosen)
    dtype = _dtype(case, capability, findings)
    cache = _cache_dtype(case)
    if settings.device == CUDA:
        findings.extend(_placement_host.capabilities(model, dtype, cache, chosen, case.image))
        findings.extend(_placement_host.driver(case.image, case.host))
        findings.extend(_placement_host.links(chosen, settings.tensor_parallel_size))
    elif _placement_figures.sparse(model):
        findings.append(Finding(REFUSED, "device", "vLLM has no sparse attention on CPUs, and the model asks for it"))
    findings.extend(_placement_host.disks(case.disks))
    length = _length(case, findings)
    figures = {
        "max_model_len": length,
        "dtype": dtype,
        "kv_cache_dtype": cache,
        "tensor_parallel_sizes": list(model["tensor_parallel_sizes"]),
        "gpus": [gpu.get("index", position) for position, gpu in enumerate(chosen)],
    }
    figures.update(
        _placement_figures.compute(case, chosen, capability, dtype, cache, length, bool(refusal) or ggml, findings)
    )
    return Outcome(findings, figures)


def _loads(model: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the engine knows such a model at all."""
    if model.get("known_architecture") is False:
        yield Finding(
            UNKNOWN,
            "architecture",
            f"the architecture {model['architecture']} is none that vLLM 0.32 has a model of its own for: whether it runs, and what it keeps, "
            "is not known here",
        )
    elif model.get("known_architecture") is None and model.get("format") != "gguf":
        yield Finding(NOTE, "architecture", "the configuration names no architecture; vLLM needs one to load it")
    if model.get("format") == "gguf":
        yield Finding(
            REFUSED,
            "format",
            "the weights are GGUF, which vLLM 0.32 does not load. Take the model as safetensors, or another engine",
        )
    missing = (model.get("weights") or {}).get("missing_files")
    if missing:
        yield Finding(
            NOTE,
            "weights",
            f"{len(missing)} of the weight files that the index names are not there; their size is computed",
        )
    quantization = model.get("quantization") or {}
    if quantization.get("engine_support") is False:
        yield Finding(
            REFUSED,
            "quantization",
            f"the weights are quantised by {quantization['method']}, which vLLM 0.32 does not load. Take the model in another quantisation",
        )
    elif quantization and not quantization.get("method"):
        yield Finding(UNKNOWN, "quantization", "the configuration has a quantisation without the name of its method")


def _chosen(case: Case, findings: list[Finding]) -> list[Mapping[str, Any]]:
    """The GPUs that the instance gets: the first that are promised to no other."""
    settings = case.settings
    if settings.device == CPU:
        return []
    needed = settings.tensor_parallel_size * settings.pipeline_parallel_size * settings.data_parallel_size
    free = [gpu for gpu in case.gpus if not gpu.get("promised_to")]
    if not case.gpus:
        findings.append(Finding(UNKNOWN, "gpus", "No GPUs are stated, so their memory and generation are not judged"))
    if case.gpus and len(free) < needed:
        taken = ", ".join(
            f"{named(gpu)} is promised to {gpu['promised_to']}" for gpu in case.gpus if gpu.get("promised_to")
        )
        findings.append(
            Finding(
                REFUSED,
                "gpus",
                f"{needed} GPUs are asked for and {len(free)} are free of the host's {len(case.gpus)}"
                + (f": {taken}" if taken else ""),
            )
        )
    return free[:needed]


def _capability(gpus: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """The least of the GPUs', since the engine works alike on all."""
    found = [_compute_capability.read(gpu.get("compute_capability")) for gpu in gpus]
    return min((capability for capability in found if capability), default=None)


def _dtype(case: Case, capability: tuple[int, int] | None, findings: list[Finding]) -> str:
    """The type that the engine computes with: vllm/config/model.py, _resolve_auto_dtype."""
    stated = case.settings.dtype
    model_type = case.model.get("model_type")
    old = case.settings.device == CUDA and capability is not None and capability < _compute_capability.BFLOAT16.least
    if stated != "auto":
        stated = {"half": "float16", "float": "float32"}.get(stated, stated)
        if stated == "float16" and model_type in _NOT_FLOAT16:
            findings.append(
                Finding(
                    REFUSED,
                    "dtype",
                    f"dtype is float16, in which vLLM does not run models of type {model_type}: it is not exact enough for them",
                )
            )
        return stated
    wanted = case.model.get("dtype")
    preferred = "float16" if old else "bfloat16"
    if preferred == "float16" and model_type in _NOT_FLOAT16:
        preferred = "float32"
    if wanted not in ("float16", "bfloat16") or (old and wanted == "bfloat16"):
        if wanted == "bfloat16" and capability is not None:
            findings.append(
                Finding(
                    TIGHT,
                    "dtype",
                    f"the model's dtype is bfloat16, which needs compute capability 8.0, and the GPUs have "
                    f"{_compute_capability.shown(capability)}: vLLM computes in {preferred} instead, with larger errors or overflows",
                )
            )
        return preferred
    return str(wanted)


def _cache_dtype(case: Case) -> str:
    stated = case.settings.kv_cache_dtype
    return str(case.model.get("kv_cache_dtype_hint") or "auto") if stated == "auto" else stated


def _length(case: Case, findings: list[Finding]) -> int:
    """The length that the engine takes; vLLM refuses more than the model was made for."""
    stated, model = case.settings.max_model_len, case.model
    default = model.get("context_length_scaled") or model.get("context_length") or 2048
    largest = model.get("context_length_max") or default
    if stated is None:
        return int(default)
    if stated > largest:
        findings.append(
            Finding(
                REFUSED,
                "max_model_len",
                f"max_model_len is {stated}, and the model's configuration allows {largest}",
                [({"max_model_len": int(largest)}, 1)],
            )
        )
    return stated
