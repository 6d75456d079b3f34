# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM takes of a GPU besides weights and KV cache, before it knows.

vLLM measures this by a run with dummy input (vllm/v1/worker/gpu_worker.py, determine_available_memory: the KV cache gets
gpu_memory_utilization times the GPU's memory, less what was consumed, less the peak of the run, less the CUDA graphs). The run is
modelled here from its sizes: max_num_batched_tokens through one layer, then logits for max_num_seqs requests
(vllm/v1/worker/gpu/model_runner.py, profile_run), and an image of the largest size through a vision tower. The constants come from
published start-up logs, listed with the figures that this model gives for them in docs/placement.md; where they cannot be known the
verdict allows for an error of UNCERTAIN of the reserve.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MIB, GIB = 2**20, 2**30

# vllm/envs.py, VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE; FlashInfer is the first choice on compute capability 10.
FLASHINFER_WORKSPACE = 394 * MIB

# What libraries take: CUDA kernels, cuBLAS workspaces, compiled kernels, allocator slack.
_LIBRARIES = 768 * MIB
# NCCL's channels and the buffers of the custom all-reduce, on every rank of several.
_COLLECTIVES = 768 * MIB
# Of a captured graph, and of the first one besides.
_GRAPH, _FIRST_GRAPH = 6 * MIB, 192 * MIB
# The driver keeps this of a GPU for itself: the difference between nvidia-smi's total and what CUDA reports.
_DRIVER, _DRIVER_SHARE = 350 * MIB, 0.0025
# A dummy image has at most this many patches in the models whose largest image is known (16,384 tokens of 4 patches in Qwen's).
_PATCHES = 65536
# So far may the reserve be off.
UNCERTAIN = 0.35


class Batch(NamedTuple):
    """What the engine schedules at most in one step."""

    tokens: int
    requests: int


class Reserve(NamedTuple):
    """Bytes on one GPU."""

    activations: int
    graphs: int
    libraries: int

    @property
    def total(self) -> int:
        return self.activations + self.graphs + self.libraries


def usable(memory_mib: int, reserved_mib: int | None = None) -> int:
    """The GPU's memory as CUDA reports it, from nvidia-smi's total."""
    total = memory_mib * MIB
    kept = reserved_mib * MIB if reserved_mib is not None else int(_DRIVER + total * _DRIVER_SHARE)
    return max(0, total - kept)


def default_batch(memory: int | None, name: str, length: int, ranks: int, cpu: bool) -> Batch:
    """max_num_batched_tokens and max_num_seqs of the server where they are not stated: vllm/engine/arg_utils.py, get_batch_defaults."""
    if cpu:
        tokens, requests = 2048 * ranks, 128 * ranks
    elif memory is not None and memory >= 160 * GIB:
        tokens, requests = 16384, 1024
    elif memory is not None and memory >= 70 * GIB and "a100" not in name.lower():
        tokens, requests = 8192, 1024
    else:
        tokens, requests = 2048, 256
    tokens = min(tokens, requests * length)
    return Batch(tokens, min(requests, tokens))


def reserve(
    model: dict[str, Any], batch: Batch, ranks: int, stages: int, element: int, eager: bool, capability: tuple[int, int]
) -> Reserve:
    libraries = _LIBRARIES + (_COLLECTIVES if ranks * stages > 1 else 0)
    if capability[0] == 10:
        libraries += FLASHINFER_WORKSPACE
    graphs = 0 if eager else _FIRST_GRAPH + _GRAPH * _graphs(batch.requests, capability)
    return Reserve(activations(model, batch, ranks, element), graphs, libraries)


def activations(model: dict[str, Any], batch: Batch, ranks: int, element: int) -> int:
    """The peak of the dummy run."""
    hidden = model.get("hidden_size") or 0
    widest = 0
    for part in model.get("attention") or []:
        heads, head = part.get("heads") or 0, part.get("head_size") or 0
        value = part.get("v_head_size") or head
        kv_heads = part.get("kv_heads") or 0
        if part.get("kind") == "latent":
            # Prefill works with keys and values of full width.
            head, kv_heads = max(head // 2, 192), heads
        widest = max(widest, (heads * (head + value) + kv_heads * (head + value)) // ranks)
    widest = max(widest, 3 * (model.get("intermediate_size") or 0) // ranks, _experts(model, hidden, ranks))
    layer = batch.tokens * element * (3 * hidden + widest)
    logits = batch.requests * (model.get("vocabulary_size") or 0) * (2 * element + 4)
    kept = batch.tokens * hidden * element * 2
    return max(layer, logits + kept, _vision(model, batch, element))


def _experts(model: dict[str, Any], hidden: int, ranks: int) -> int:
    """Every token passes through several experts at once, and each keeps its own copy."""
    if not model.get("experts"):
        return 0
    expert = model.get("moe_intermediate_size") or model.get("intermediate_size") or 0
    chosen = model.get("experts_per_token") or 2
    return int(chosen * (max(2 * expert // ranks, hidden) + max(expert // ranks, hidden)))


def _vision(model: dict[str, Any], batch: Batch, element: int) -> int:
    vision = model.get("vision") or {}
    hidden = vision.get("hidden_size") or 0
    return (
        int(_PATCHES * element * 7 * hidden + batch.tokens * (model.get("hidden_size") or 0) * element) if hidden else 0
    )


def _graphs(requests: int, capability: tuple[int, int]) -> int:
    """How many are captured, whole and in pieces: vllm/config/vllm.py, _set_cudagraph_sizes."""
    largest = min(2 * requests, 1024 if capability[0] == 10 else 512)
    sizes = [size for size in (1, 2, 4) if size <= largest]
    sizes += [*range(8, min(largest + 1, 256), 8), *range(256, largest + 1, 16)]
    return len(sizes) + sum(size <= requests for size in sizes)
