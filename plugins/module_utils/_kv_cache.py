# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tokens a KV cache holds: vLLM's own arithmetic, so that the figures are those of the engine's log.

Read in vLLM 0.32: vllm/v1/kv_cache_interface.py (what a block of each kind of layer takes, and how many blocks a request needs) and
vllm/v1/core/kv_cache_utils.py (get_kv_cache_groups, get_kv_cache_config_from_groups, get_max_concurrency_for_kv_cache_config,
_check_enough_kv_cache_memory). Layers of one kind form groups of equal length; all groups draw blocks of one size from one pool, and
one block is never handed out.
"""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _recurrent_state
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

FULL, SLIDING, CHUNKED, LATENT, STATE = "full", "sliding", "chunked", "latent", "state"
# What a model's description calls layers with a state of fixed size instead of keys and values.
RECURRENT = ("recurrent", "linear")

# vllm/config/cache.py (DEFAULT_BLOCK_SIZE); vllm/platforms/cpu.py (check_and_update_config).
CUDA_BLOCK, CPU_BLOCK, CPU_LATENT_BLOCK = 16, 128, 16
# FlashInfer's kernel for latent attention, the first choice on compute capability 10: vllm/v1/attention/backends/mla/flashinfer_mla.py.
BLACKWELL_LATENT_BLOCK = 32
# The kernels of sparse attention: vllm/v1/attention/backends/mla/indexer.py. Its FP8 row has scales and unpacked positions
# (mla_attention.py, fp8_ds_mla), and its index a byte for each number and a scale for each 128 (models/deepseek_v2.py).
SPARSE_BLOCK, SPARSE_FP8_ROW, INDEX_SCALE = 64, 656, 128
# The page of a state is fitted to whole kernel blocks: vllm/platforms/interface.py (_align_hybrid_block_size).
STATE_LATENT_ALIGNMENT = 128


class Layers(NamedTuple):
    """Equal layers on one rank: a block of one layer holds `block` tokens in `page` bytes."""

    kind: str
    layers: int
    block: int
    page: int
    window: int | None = None
    # Key-value heads, size of a head's keys and of its values: unlike layers share no group, though their pages be alike.
    shape: tuple[int, int, int] = (1, 0, 0)


class Group(NamedTuple):
    """Layers that share a block table; `page` is what one block of all of them takes."""

    kind: str
    block: int
    page: int
    window: int | None = None


class Plan(NamedTuple):
    """How the engine divides the memory of its KV cache."""

    groups: tuple[Group, ...]
    bytes_per_block: int
    bytes_per_token: int
    in_flight: int
    states: int

    def blocks_per_request(self, length: int) -> int:
        """The blocks that one request of this length takes from the pool."""
        return sum(self._blocks(group, length) for group in self.groups)

    def concurrency(self, memory: int, length: int) -> float:
        """How many requests of this length the memory holds, as the engine logs it."""
        if not self.groups:
            return 0.0
        return max(0, memory) // self.bytes_per_block / self.blocks_per_request(length)

    def tokens(self, memory: int, length: int) -> int:
        """The engine's "KV cache size": its concurrency times the length."""
        return int(self.concurrency(memory, length) * length)

    def needed(self, length: int) -> int:
        """The least memory with which the engine starts; one block of the pool is never handed out."""
        return self.bytes_per_block * (self.blocks_per_request(length) + 1) if self.groups else 0

    def longest(self, memory: int, limit: int) -> int:
        """The largest length up to the limit for which one request fits; 0 when not even one token does."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if self.needed(middle) <= memory:
                low = middle
            else:
                high = middle - 1
        return low

    def _blocks(self, group: Group, length: int) -> int:
        if group.kind == STATE:
            return self.states
        if group.kind == SLIDING:
            # The window may begin inside a block.
            return _ceil(min((group.window or 1) - 1 + self.in_flight, length), group.block) + 1
        if group.kind == CHUNKED:
            return _ceil(min((group.window or 0) + self.in_flight, length), group.block)
        return _ceil(length, group.block)


def plan(layers: Sequence[Layers], in_flight: int, pipeline: int = 1, states: int = 2) -> Plan:
    """The engine's groups and block size for these layers.

    in_flight: tokens that are scheduled and not settled, max_num_batched_tokens times the batches at a time.
    pipeline: stages; the fullest of them decides, since all get the same number of blocks.
    states: what a request keeps of each state layer, 2 with prefix caching and 1 without.
    """
    layers = [part for part in layers if part.layers > 0]
    per_token = sum(_ceil(part.layers, pipeline) * part.page // part.block for part in layers if part.kind != STATE)
    if any(part.kind == CHUNKED for part in layers):
        # vLLM switches its hybrid manager off for chunked attention (VllmConfig, "latency regression").
        layers = _promoted(layers)
    if not layers:
        return Plan((), 0, 0, in_flight, states)
    groups, bytes_per_block = _groups(layers, pipeline)
    return Plan(tuple(groups), bytes_per_block, per_token, in_flight, states)


def layers_of(
    model: dict[str, Any],
    ranks: int,
    element: int,
    block: int,
    model_element: int,
    state_dtype: str | None = None,
) -> list[Layers]:
    """The model's layers on one rank. `element`: bytes of a number in the cache; `model_element`: of the model's own dtype."""
    if model["attention"] is None:
        raise AirgapError("the configuration states in no known form what its layers keep for a token")
    found: list[Layers] = []
    states: list[tuple[int, int]] = []
    latent = False
    for part in model["attention"]:
        kind, count = str(part["kind"]), int(part["layers"])
        if not part.get("cached", True):
            continue
        if kind in RECURRENT:
            size = _recurrent_state.size(
                part.get("state") or {}, ranks, model_element, state_dtype, model.get("model_type")
            )
            if not size:
                raise AirgapError(
                    f"what the {count} {kind} layers of architecture {model.get('architecture')} keep is not known here"
                )
            states.append((count, size))
            continue
        if kind == LATENT:
            latent = True
            found.extend(_latent(part, count, block, element))
            continue
        if kind not in (FULL, SLIDING, CHUNKED):
            raise AirgapError(f"layers of kind {kind!r} are not known here")
        heads = max(1, _size(part, "kv_heads") // ranks)
        width = _size(part, "head_size") + (part.get("v_head_size") or _size(part, "head_size"))
        window = part.get("window") if kind != FULL else None
        shape = (heads, _size(part, "head_size"), width)
        found.append(Layers(kind if window else FULL, count, block, block * heads * width * element, window, shape))
    return _with_states(found, states, STATE_LATENT_ALIGNMENT if latent else 1) if states else found


def default_block(latent: bool, sparse: bool, cpu: bool, capability: tuple[int, int] | None) -> int:
    """The engine's block size where none is stated."""
    if sparse:
        return SPARSE_BLOCK
    if cpu:
        return CPU_LATENT_BLOCK if latent else CPU_BLOCK
    if latent and capability is not None and capability[0] == 10:
        return BLACKWELL_LATENT_BLOCK
    return CUDA_BLOCK


def _latent(part: dict[str, Any], count: int, block: int, element: int) -> Iterator[Layers]:
    """One vector for keys and values, the same on every rank; sparse attention keeps the keys of its index beside it."""
    size, index = _size(part, "head_size"), part.get("indexer_head_size")
    row = SPARSE_FP8_ROW if index and element == 1 else size * element
    yield Layers(LATENT, count, block, block * row, None, (1, size, 0))
    if index:
        yield Layers(LATENT, count, block, block * (index + index // INDEX_SCALE * 4), None, (1, index, 0))


def _with_states(layers: list[Layers], states: list[tuple[int, int]], alignment: int) -> list[Layers]:
    """Attention's block grows until it holds the largest state, and every state is padded to it."""
    if not layers:
        return [Layers(STATE, count, 1, size) for count, size in states]
    first = layers[0]
    per_token = first.page // first.block
    step = max(first.block, alignment)
    block = max(first.block, step * _ceil(max(size for _count, size in states), step * per_token))
    grown = [part._replace(block=block, page=part.page // part.block * block) for part in layers]
    return [*grown, Layers(STATE, sum(count for count, _size in states), block, block * per_token)]


def _promoted(layers: list[Layers]) -> list[Layers]:
    if not any(part.kind in (FULL, LATENT) for part in layers):
        return layers
    return [part._replace(kind=FULL, window=None) if part.kind in (SLIDING, CHUNKED) else part for part in layers]


def _groups(layers: Sequence[Layers], pipeline: int) -> tuple[list[Group], int]:
    if _uniform(layers):
        page = sum(_ceil(part.layers, pipeline) * part.page for part in layers)
        first = layers[0]
        return [Group(first.kind, first.block, page, first.window)], page
    buckets: dict[Layers, int] = {}
    for part in _same_page(layers):
        alike = part._replace(layers=0)
        buckets[alike] = buckets.get(alike, 0) + part.layers
    size = min(buckets.values())
    # Padding a little is better than twice as many groups.
    if max(buckets.values()) < size * 1.5:
        size = max(buckets.values())
    groups: list[Group] = []
    for alike, count in buckets.items():
        number = _ceil(count, size)
        longest = _ceil(_ceil(count, number), pipeline)
        groups.extend([Group(alike.kind, alike.block, longest * alike.page, alike.window)] * number)
    return groups, max(group.page for group in groups)


def _uniform(layers: Sequence[Layers]) -> bool:
    """Whether every layer needs the same number of blocks for the same request."""
    first = layers[0]
    return all(
        part.block == first.block
        and part.window == first.window
        and (part.kind == first.kind or {part.kind, first.kind} == {FULL, LATENT})
        and (part.kind != STATE or part.page == first.page)
        for part in layers
    )


def _same_page(layers: Sequence[Layers]) -> list[Layers]:
    """A smaller page gets more tokens where the largest is a multiple of it, and padding where it is not."""
    largest = max(part.page for part in layers)
    same = []
    for part in layers:
        if part.page != largest and part.kind != STATE and largest % part.page == 0:
            part = part._replace(block=part.block * (largest // part.page))
        elif part.page != largest and part.kind == LATENT:
            raise AirgapError(
                "latent attention beside layers whose KV cache is larger and no multiple of it is not known here"
            )
        same.append(part._replace(page=largest))
    return same


def _size(part: dict[str, Any], key: str) -> int:
    value = part.get(key)
    if not value:
        raise AirgapError(f"the {key} of its {part.get('kind')} attention layers is not stated")
    return int(value)


def _ceil(value: int, by: int) -> int:
    return -(-value // by)
