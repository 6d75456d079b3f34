# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one GPU holds of a model's weights: which tensors vLLM divides among the ranks, and which every rank has whole.

Tensors are told by their names, as the models of vLLM 0.32 (vllm/model_executor/models) load them: column and row parallel layers are
divided, norms and routers repeated, key and value heads repeated where there are fewer of them than ranks. Layers of multi-token
prediction are left where they are unless speculative decoding asks for them.
"""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple, Sequence

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer|block)\.(\d{1,5})\.")
_TOWER = re.compile(
    r"(?:^|\.)(?:vision\w*|visual\w*|audio\w*|multi_modal_projector|mm_projector|image_newline|mlp1|vpm|resampler)\b"
)
_REPLICATED = re.compile(
    r"norm|(?:^|[._])ln(?:_|\d|\.)|q_a_proj|kv_a_proj|fused_qkv_a|\.gate\.|router|wpe\.|position_emb|embed_positions|rotary|correction_bias"
    r"|shared_expert_gate|patch_embed|\.indexer\."
)
# The bias of a row parallel layer is added once, and every rank has it.
_ROW_BIAS = re.compile(
    r"(?:o_proj|out_proj|down_proj|dense_4h_to_h|c_proj|self_attention\.dense|attention\.dense|fc2|w2)\.bias\Z"
)
_KEY_VALUE = re.compile(r"[._](?:k_proj|v_proj|wk|wv|key|value)\.")
_FUSED = re.compile(r"(?:qkv_proj|query_key_value|Wqkv|wqkv|c_attn|qkv)\.")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output)\.weight\Z")
_EMBEDDING = re.compile(r"(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight\Z")
# These keep the type in which they are stored; every other plain number becomes the model's.
_KEPT = re.compile(r"scale|zero|qzeros|g_idx|correction_bias|A_log")
_FLOATS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}


class Tensor(NamedTuple):
    """One tensor: its name, the type in which it is stored, its elements and bytes."""

    name: str
    dtype: str
    elements: int
    bytes: int


class Shares(NamedTuple):
    """How a model is divided: the ranks, and the heads and layers that decide what is repeated."""

    ranks: int
    stages: int
    layers: int
    heads: int
    kv_heads: int
    latent: bool
    tied: bool
    # Bytes of a number of the model's dtype.
    element: int
    # An uneven vision tower stays whole on each GPU.
    tower_whole: bool = False


def fullest(tensors: Iterable[Tensor], shares: Shares) -> int:
    """Bytes of the weights on the GPU that holds most."""
    stages = [0] * shares.stages
    last = shares.stages - 1
    starts = _starts(shares)
    for tensor in tensors:
        if tensor.name.startswith("mtp.") or (shares.tied and _HEAD.search(tensor.name) and last == 0):
            continue
        size = _share(tensor, shares)
        if _TOWER.search(tensor.name):
            stages[0] += size
            continue
        layer = _LAYER.search(tensor.name)
        if layer:
            index = int(layer.group(1))
            if index < max(shares.layers, 1):
                stages[max(stage for stage, start in enumerate(starts) if start <= index)] += size
        elif _EMBEDDING.search(tensor.name):
            stages[0] += size
            if shares.tied and last:
                stages[last] += size
        else:
            stages[last] += size
    return max(stages)


def extra(tensors: Iterable[Tensor], shares: Shares) -> int:
    """What latent attention keeps besides: quantised up-projections, unpacked for decoding (mla_attention.py, W_UV and W_UK_T)."""
    if not shares.latent:
        return 0
    per_stage = sum(
        tensor.elements * shares.element // shares.ranks
        for tensor in tensors
        if ".kv_b_proj." in tensor.name and tensor.name.endswith("weight") and tensor.dtype not in _FLOATS
    )
    return per_stage // shares.stages


def _share(tensor: Tensor, shares: Shares) -> int:
    name, size = tensor.name, tensor.bytes
    if tensor.dtype in _FLOATS and not _KEPT.search(name):
        size = tensor.elements * shares.element
    if shares.ranks == 1 or _REPLICATED.search(name) or _ROW_BIAS.search(name):
        return size
    if _TOWER.search(name):
        return size if shares.tower_whole else -(-size // shares.ranks)
    if not shares.latent and shares.kv_heads < shares.ranks:
        if _FUSED.search(name):
            whole = shares.heads + 2 * shares.kv_heads
            return size * (shares.heads // shares.ranks + 2) // whole
        if _KEY_VALUE.search(name):
            return size // shares.kv_heads
    return -(-size // shares.ranks)


def _starts(shares: Shares) -> Sequence[int]:
    """The first layer of every pipeline stage: vllm/distributed/utils.py, get_pp_indices."""
    sizes = [shares.layers // shares.stages] * shares.stages
    for offset in range(2, shares.layers % shares.stages + 2):
        sizes[-offset] += 1
    return [sum(sizes[:stage]) for stage in range(shares.stages)]
