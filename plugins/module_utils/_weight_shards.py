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


# What becomes of a tensor.
DIVIDED, WHOLE, KEY_VALUE, FUSED, HEAD, EMBEDDING = "divided", "whole", "key_value", "fused", "head", "embedding"
TOWER, TOWER_WHOLE, PREDICTION, UNPACKED, EXPERTS = "tower", "tower_whole", "prediction", "unpacked", "experts"


class Tensor(NamedTuple):
    """One tensor: its name, the type in which it is stored, its elements and bytes."""

    name: str
    dtype: str
    elements: int
    bytes: int


class Part(NamedTuple):
    """Like tensors of one layer together. Numbers of plain types take the model's dtype in memory; everything else stays as it is."""

    role: str
    layer: int
    plain: int
    stored: int


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
    # How much larger the kernels make the experts: expert_padding().
    padding: float = 1.0


def parts(tensors: Iterable[Tensor]) -> list[Part]:
    """The tensors by what becomes of them; there may be a hundred thousand, and the answer is asked for often."""
    sums: dict[tuple[str, int], list[int]] = {}
    for tensor in tensors:
        role, layer = _role(tensor.name), _LAYER.search(tensor.name)
        entry = sums.setdefault(
            (role, int(layer.group(1)) if layer and role not in (TOWER, TOWER_WHOLE) else -1), [0, 0]
        )
        if tensor.dtype in _FLOATS and not _KEPT.search(tensor.name):
            entry[0] += tensor.elements
        else:
            entry[1] += tensor.bytes
        if (
            role == DIVIDED
            and ".kv_b_proj." in tensor.name
            and tensor.name.endswith("weight")
            and tensor.dtype not in _FLOATS
        ):
            # Counted once more, and not among the weights: see extra().
            sums.setdefault((UNPACKED, -1), [0, 0])[0] += tensor.elements
    return [Part(role, layer, plain, stored) for (role, layer), (plain, stored) in sums.items()]


def fullest(found: Iterable[Part], shares: Shares) -> int:
    """Bytes of the weights on the GPU that holds most."""
    stages = [0] * shares.stages
    last = shares.stages - 1
    starts = _starts(shares)
    for part in found:
        size = _share(part, shares)
        if part.role in (PREDICTION, UNPACKED) or (part.role == HEAD and shares.tied and last == 0):
            continue
        if part.role in (TOWER, TOWER_WHOLE):
            stages[0] += size
        elif part.role == EMBEDDING:
            stages[0] += size
            if shares.tied and last:
                stages[last] += size
        elif part.layer < 0:
            stages[last] += size
        elif part.layer < max(shares.layers, 1):
            stages[max(stage for stage, start in enumerate(starts) if start <= part.layer)] += size
    return max(stages)


def extra(found: Iterable[Part], shares: Shares) -> int:
    """What latent attention keeps besides: quantised up-projections, unpacked for decoding (mla_attention.py, W_UV and W_UK_T)."""
    if not shares.latent:
        return 0
    return sum(part.plain * shares.element // shares.ranks for part in found if part.role == UNPACKED) // shares.stages


def expert_padding(method: str | None, hidden: int, width: int, ranks: int) -> float:
    """MXFP4 experts fill whole tiles of their kernels: fused_moe/oracle/mxfp4.py, mxfp4_round_up_hidden_size_and_intermediate_size."""
    if method not in ("mxfp4", "gpt_oss_mxfp4") or not hidden or width < ranks:
        return 1.0
    own = width // ranks
    return (-(-own // 128) * 128 / own) * (-(-hidden // 256) * 256 / hidden)


def _role(name: str) -> str:
    if name.startswith("mtp."):
        return PREDICTION
    whole = _REPLICATED.search(name) or _ROW_BIAS.search(name)
    if _TOWER.search(name):
        return TOWER_WHOLE if whole else TOWER
    if whole:
        return WHOLE
    if _HEAD.search(name):
        return HEAD
    if _EMBEDDING.search(name):
        return EMBEDDING
    if ".experts." in name:
        return EXPERTS
    if _FUSED.search(name):
        return FUSED
    return KEY_VALUE if _KEY_VALUE.search(name) else DIVIDED


def _share(part: Part, shares: Shares) -> int:
    size = part.plain * shares.element + part.stored
    if part.role == EXPERTS:
        size = int(size * shares.padding)
    if shares.ranks == 1 or part.role in (WHOLE, TOWER_WHOLE) or (part.role == TOWER and shares.tower_whole):
        return size
    if not shares.latent and shares.kv_heads < shares.ranks:
        if part.role == FUSED:
            return size * (shares.heads // shares.ranks + 2) // (shares.heads + 2 * shares.kv_heads)
        if part.role == KEY_VALUE:
            return size // shares.kv_heads
    return -(-size // shares.ranks)


def _starts(shares: Shares) -> Sequence[int]:
    """The first layer of every pipeline stage: vllm/distributed/utils.py, get_pp_indices."""
    sizes = [shares.layers // shares.stages] * shares.stages
    for offset in range(2, shares.layers % shares.stages + 2):
        sizes[-offset] += 1
    return [sum(sizes[:stage]) for stage in range(shares.stages)]
