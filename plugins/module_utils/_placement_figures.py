# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a placement: weights, reserve and KV cache of each GPU, and whether the longest request has room."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _kv_cache,
    _placement_host,
    _placement_memory,
    _weight_estimate,
    _weight_shards,
)
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import (
    CPU,
    CUDA,
    REFUSED,
    TIGHT,
    UNKNOWN,
    Case,
    Finding,
    gib,
    named,
)

_ELEMENT = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
# Weights that were estimated may be off by this much.
_ESTIMATE = 0.05


def compute(
    case: Case,
    chosen: Sequence[Mapping[str, Any]],
    capability: tuple[int, int] | None,
    dtype: str,
    cache: str,
    length: int,
    indivisible: bool,
    findings: list[Finding],
) -> dict[str, Any]:
    settings, model = case.settings, case.model
    ranks, stages = settings.tensor_parallel_size, settings.pipeline_parallel_size
    figures: dict[str, Any] = dict.fromkeys(
        (
            "weights_bytes_per_gpu", "activation_bytes_per_gpu", "graph_bytes_per_gpu", "library_bytes_per_gpu", "kv_cache_memory_bytes",
            "kv_cache_bytes_per_token", "kv_cache_tokens", "max_concurrency", "largest_max_model_len", "safe_max_model_len", "margin_bytes",
            "block_size",
        )
    )  # fmt: skip
    figures["weights_estimated"] = False
    if indivisible:
        return figures
    element = _ELEMENT[dtype]
    memory = min((_usable(gpu) for gpu in chosen if gpu.get("memory_mib")), default=None)
    for gpu in chosen:
        if not gpu.get("memory_mib"):
            findings.append(Finding(UNKNOWN, "gpu_memory", f"{named(gpu)} states no memory of its own (memory_mib)"))
    batch = _batch(case, chosen, memory, length)
    plan = None
    try:
        plan, figures["block_size"] = _plan(case, capability, cache, element, batch)
    except AirgapError as error:
        findings.append(Finding(UNKNOWN, "kv_cache", f"What the KV cache holds cannot be told: {error}"))
    weights = _weights(case, element, figures)
    if plan is not None:
        figures["kv_cache_bytes_per_token"] = plan.bytes_per_token
    available, slack = settings.kv_cache_bytes, 0.0
    if settings.device == CUDA:
        reserve = _placement_memory.reserve(
            model, batch, ranks, stages, element, settings.enforce_eager, capability or (9, 0)
        )
        figures["activation_bytes_per_gpu"] = reserve.activations
        figures["graph_bytes_per_gpu"] = reserve.graphs
        figures["library_bytes_per_gpu"] = reserve.libraries
        slack = reserve.total * _placement_memory.UNCERTAIN
        if figures["weights_estimated"] and weights:
            slack += weights * _ESTIMATE
        if memory is not None:
            if weights is None and settings.kv_cache_bytes is None:
                findings.append(
                    Finding(
                        UNKNOWN,
                        "weights",
                        "How large the weights are cannot be told from this configuration alone; fetch the model, or the headers of its "
                        "files, and ask again",
                    )
                )
            elif weights is not None:
                available = _available(case, chosen, memory, weights, reserve.total, findings)
    elif weights is not None:
        findings.extend(_placement_host.memory(case.host, weights, settings.kv_cache_bytes or 0, ranks * stages))
    findings.extend(_placement_host.shared_memory(case.host, ranks * stages, settings.device == CPU))
    if plan is None or available is None:
        return figures
    figures["kv_cache_memory_bytes"] = max(0, available)
    figures["kv_cache_tokens"] = plan.tokens(available, length)
    figures["max_concurrency"] = plan.concurrency(available, length)
    limit = int(model.get("context_length_max") or model.get("context_length") or length)
    slack = 0.0 if settings.kv_cache_bytes is not None else slack
    figures["largest_max_model_len"] = plan.longest(available, max(limit, length))
    figures["safe_max_model_len"] = plan.longest(available - int(slack), max(limit, length))
    if plan.groups:
        figures["margin_bytes"] = available - plan.needed(length)
        if available > 0:
            _room(figures, length, slack, plan, findings)
    return figures


def _room(figures: Mapping[str, Any], length: int, slack: float, plan: _kv_cache.Plan, findings: list[Finding]) -> None:
    """Whether one request of the full length fits, which vLLM asks for."""
    margin = figures["margin_bytes"]
    if margin < 0:
        findings.append(
            Finding(
                REFUSED,
                "memory",
                f"one request of max_model_len {length} needs {gib(plan.needed(length))} of KV cache on each GPU, and "
                f"{gib(figures['kv_cache_memory_bytes'])} are there; the longest that fits is {figures['largest_max_model_len']}",
            )
        )
    elif margin < slack:
        findings.append(
            Finding(
                TIGHT,
                "memory",
                f"{gib(margin)} of KV cache are left on each GPU beyond one request of max_model_len {length}, less than the "
                f"{gib(int(slack))} by which this estimate may be off",
            )
        )


def _available(
    case: Case,
    chosen: Sequence[Mapping[str, Any]],
    memory: int,
    weights: int,
    reserve: int,
    findings: list[Finding],
) -> int:
    """What is left for the KV cache of each GPU: its share of the memory, less weights and reserve."""
    settings = case.settings
    fixed = settings.kv_cache_bytes
    if fixed is not None:
        short = weights + reserve + fixed - memory
        if short > 0:
            findings.append(
                Finding(
                    REFUSED,
                    "memory",
                    f"weights of {gib(weights)}, a reserve of {gib(reserve)} and the stated KV cache of {gib(fixed)} are {gib(short)} more than "
                    f"the {gib(memory)} that each GPU has",
                    [({"kv_cache_bytes": fixed - short}, 2)] if fixed > short else [],
                )
            )
        return fixed
    asked = int(memory * settings.gpu_memory_utilization)
    for gpu in chosen:
        used = (gpu.get("memory_used_mib") or 0) * _placement_memory.MIB
        if gpu.get("memory_mib") and asked > _usable(gpu) - used:
            findings.append(
                Finding(
                    REFUSED,
                    "memory_used",
                    f"{named(gpu)} has {gib(used)} in use by others, and gpu_memory_utilization {settings.gpu_memory_utilization} "
                    f"asks for {gib(asked)} of its {gib(_usable(gpu))}: vLLM does not start. End what uses it, or lower "
                    "gpu_memory_utilization",
                )
            )
    if asked - weights - reserve <= 0:
        findings.append(
            Finding(
                REFUSED,
                "memory",
                f"weights of {gib(weights)} and a reserve of {gib(reserve)} leave nothing of the {gib(asked)} that gpu_memory_utilization "
                f"{settings.gpu_memory_utilization} gives on each GPU",
            )
        )
    return asked - weights - reserve


def _weights(case: Case, element: int, figures: dict[str, Any]) -> int | None:
    settings, model = case.settings, case.model
    parts = case.parts
    if parts is None:
        tensors = _weight_estimate.tensors(model, case.config)
        parts = _weight_shards.parts(tensors) if tensors else None
        figures["weights_estimated"] = parts is not None
    if parts is None:
        return None
    vision = model.get("vision") or {}
    shares = _weight_shards.Shares(
        ranks=settings.tensor_parallel_size,
        stages=settings.pipeline_parallel_size,
        layers=model.get("layers") or 0,
        heads=model["attention_heads"] or 0,
        kv_heads=max(1, model["kv_heads"] or 0),
        latent=bool(model["latent_attention"]),
        tied=bool(model.get("tied_embeddings")),
        element=element,
        tower_whole=bool(vision.get("replicated")),
        padding=_weight_shards.expert_padding(
            (model.get("quantization") or {}).get("method"),
            model.get("hidden_size") or 0,
            model.get("moe_intermediate_size") or 0,
            settings.tensor_parallel_size,
        ),
    )
    figures["weights_bytes_per_gpu"] = _weight_shards.fullest(parts, shares) + _weight_shards.extra(parts, shares)
    return int(figures["weights_bytes_per_gpu"])


def _batch(case: Case, chosen: Sequence[Mapping[str, Any]], memory: int | None, length: int) -> _placement_memory.Batch:
    settings = case.settings
    ranks = settings.tensor_parallel_size * settings.pipeline_parallel_size
    name = str(chosen[0].get("name") or "") if chosen else ""
    cpu = settings.device == CPU
    default = _placement_memory.default_batch(memory, name, length, ranks, cpu)
    tokens = settings.max_num_batched_tokens or default.tokens
    if cpu and case.model["latent_attention"]:
        # No chunked prefill there: vllm/platforms/cpu.py, check_and_update_config.
        tokens = max(length, 2048)
    return _placement_memory.Batch(tokens, settings.max_num_seqs or min(default.requests, tokens))


def _plan(
    case: Case, capability: tuple[int, int] | None, cache: str, element: int, batch: _placement_memory.Batch
) -> tuple[_kv_cache.Plan, int]:
    settings, model = case.settings, case.model
    cpu = settings.device == CPU
    if cache != "auto" and cache not in _ELEMENT:
        raise AirgapError(f"a kv_cache_dtype of {cache} packs its numbers in a way that is not known here")
    latent = bool(model["latent_attention"])
    block = settings.block_size or _kv_cache.default_block(latent, sparse(model), cpu, capability)
    text = case.config
    layers = _kv_cache.layers_of(
        model,
        settings.tensor_parallel_size,
        element if cache == "auto" else _ELEMENT[cache],
        block,
        element,
        str(text.get("mamba_ssm_cache_dtype") or text.get("mamba_ssm_dtype") or ""),
    )
    stages = settings.pipeline_parallel_size
    # Asynchronous scheduling keeps one batch more in flight: vllm/config/vllm.py, max_concurrent_batches.
    in_flight = batch.tokens * (stages if cpu else stages + 1)
    caching = settings.enable_prefix_caching and not (cpu and latent)
    plan = _kv_cache.plan(layers, in_flight, stages, 2 if caching else 1)
    return plan, max((group.block for group in plan.groups), default=block)


def sparse(model: Mapping[str, Any]) -> bool:
    return any(part.get("indexer_head_size") for part in model["attention"] or ())


def _usable(gpu: Mapping[str, Any]) -> int:
    return _placement_memory.usable(int(gpu["memory_mib"]), gpu.get("memory_reserved_mib"))
