# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would make it fit: changes of the settings, the smallest first, each tried by asking again."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils import _model, _placement
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import (
    CPU,
    CUDA,
    FITS,
    NOTE,
    REFUSED,
    TIGHT,
    Case,
    Outcome,
)

# vLLM leaves the rest to CUDA and to fragments; above it starts fail for lack of a few MiB.
_HIGHEST_UTILIZATION = 0.95
_SMALL_BATCH = 2048
_SMALLEST_LENGTH = 1024
_MOST = 6
_LARGEST_GPU_MIB = 1024 * 1024


class Remedy(NamedTuple):
    """A change of settings with its words; no change where only hardware or another model helps."""

    change: Mapping[str, Any]
    text: str


def place(case: Case) -> dict[str, Any]:
    """The whole answer: verdict, reasons, remedies and figures."""
    outcome = _placement.evaluate(case)
    found = list(remedies(case, outcome)) if outcome.verdict != FITS else []
    return {
        "verdict": outcome.verdict,
        "reasons": [finding.text for finding in outcome.findings if finding.level != NOTE],
        "notes": [finding.text for finding in outcome.findings if finding.level == NOTE],
        "remedies": [remedy.text for remedy in found],
        "changes": [dict(remedy.change) for remedy in found],
        **outcome.figures,
    }


def remedies(case: Case, outcome: Outcome) -> Iterator[Remedy]:
    """Those changes that take a refusal away, or make of tight a fit, and bring no other."""
    worked: list[tuple[int, int, Remedy]] = []
    tried: list[Mapping[str, Any]] = []
    for change, cost in _candidates(case, outcome):
        if change in tried or all(getattr(case.settings, key) == value for key, value in change.items()):
            continue
        tried.append(change)
        answer = _placement.evaluate(case._replace(settings=case.settings._replace(**change)))
        if _better(answer, outcome):
            worked.append((cost, len(worked), Remedy(change, _told(case, change, answer))))
    for _cost, _order, remedy in sorted(worked, key=lambda entry: entry[:2])[:_MOST]:
        yield remedy
    if not worked and "memory" in _topics(outcome, REFUSED):
        yield from _other_hardware(case, outcome)


def _candidates(case: Case, outcome: Outcome) -> Iterator[tuple[dict[str, Any], int]]:
    settings = case.settings
    for finding in outcome.findings:
        for change, cost in finding.changes:
            yield dict(change), cost
    topics = _topics(outcome, REFUSED) | _topics(outcome, TIGHT)
    if topics & {"tensor_parallel_size", "pipeline_parallel_size", "gpus"}:
        yield from _splits(case, 2)
    if "memory" not in topics:
        return
    if settings.device == CUDA and settings.kv_cache_bytes is None:
        if settings.gpu_memory_utilization < _HIGHEST_UTILIZATION:
            yield {"gpu_memory_utilization": _HIGHEST_UTILIZATION}, 1
        if (settings.max_num_batched_tokens or _SMALL_BATCH + 1) > _SMALL_BATCH:
            yield {"max_num_batched_tokens": _SMALL_BATCH, "max_num_seqs": min(settings.max_num_seqs or 256, 256)}, 2
        if not settings.enforce_eager:
            yield {"enforce_eager": True}, 5
    yield from _shorter(outcome)
    if settings.kv_cache_dtype == "auto" and outcome.figures["kv_cache_dtype"] == "auto":
        yield {"kv_cache_dtype": "fp8"}, 4
    yield from _splits(case, 6)
    if settings.kv_cache_bytes is not None and settings.device == CPU:
        needed = _needed(outcome)
        if needed:
            yield {"kv_cache_bytes": needed}, 2


def _shorter(outcome: Outcome) -> Iterator[tuple[dict[str, Any], int]]:
    """The longest that surely fits, and the longest that should; less than half of what was asked for is a large change."""
    figures = outcome.figures
    for length in (figures["safe_max_model_len"], figures["largest_max_model_len"]):
        rounded = (length or 0) // 256 * 256
        if _SMALLEST_LENGTH <= rounded < figures["max_model_len"]:
            yield {"max_model_len": rounded}, 3 if rounded * 2 >= figures["max_model_len"] else 7


def _splits(case: Case, cost: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Other ways over the GPUs that are free, few GPUs first."""
    settings = case.settings
    free = [gpu for gpu in case.gpus if not gpu.get("promised_to")]
    asked = settings.tensor_parallel_size * settings.pipeline_parallel_size * settings.data_parallel_size
    most = len(free) if case.gpus else asked
    for other in _model.alternatives(case.model, asked) if asked <= most else []:
        yield dict(other), cost
    for size in case.model["tensor_parallel_sizes"]:
        if size <= most:
            change = {"tensor_parallel_size": size, "pipeline_parallel_size": 1, "data_parallel_size": 1}
            yield change, cost + 1 + (abs(size - asked) > asked)
    for stages in range(2, min(most, case.model.get("layers") or 1) + 1):
        yield {"tensor_parallel_size": 1, "pipeline_parallel_size": stages, "data_parallel_size": 1}, cost + 3


def _other_hardware(case: Case, outcome: Outcome) -> Iterator[Remedy]:
    """The least memory of a GPU with which it would fit, and how many more of the same GPUs, by asking for them."""
    settings = case.settings
    if settings.device != CUDA or outcome.figures["weights_bytes_per_gpu"] is None:
        return
    number = settings.tensor_parallel_size * settings.pipeline_parallel_size * settings.data_parallel_size
    sample = dict(case.gpus[0]) if case.gpus else {}

    def works(gpus: int, memory: int | None, **change: Any) -> bool:
        larger = {} if memory is None else {"memory_mib": memory}
        copies = [
            {**sample, **larger, "index": index, "memory_used_mib": 0, "promised_to": None} for index in range(gpus)
        ]
        answer = _placement.evaluate(case._replace(gpus=copies, settings=settings._replace(**change)))
        return not _topics(answer, REFUSED) & {"memory", "tensor_parallel_size"}

    ways = []
    for size in case.model["tensor_parallel_sizes"]:
        if size > number and works(
            size, None, tensor_parallel_size=size, pipeline_parallel_size=1, data_parallel_size=1
        ):
            ways.append(f"{size} such GPUs with tensor_parallel_size {size}")
            break
    low, high = 1, _LARGEST_GPU_MIB
    if works(number, high):
        while high - low > 256:
            middle = (low + high) // 2
            if works(number, middle):
                high = middle
            else:
                low = middle
        ways.append(f"{'a GPU' if number == 1 else f'{number} GPUs'} of at least {-(-high // 1024)} GiB")
    ways.append("a smaller or quantised model")
    yield Remedy(
        {},
        f"No setting alone helps on these GPUs; for max_model_len {outcome.figures['max_model_len']} it takes {', '.join(ways[:-1])}"
        f"{', or ' if ways[:-1] else ''}{ways[-1]}",
    )


def _better(answer: Outcome, before: Outcome) -> bool:
    refused, refused_before = _topics(answer, REFUSED), _topics(before, REFUSED)
    if refused_before:
        return refused < refused_before
    return not refused and _topics(answer, TIGHT) < _topics(before, TIGHT)


def _topics(outcome: Outcome, level: str) -> set[str]:
    return {finding.topic for finding in outcome.findings if finding.level == level}


def _told(case: Case, change: Mapping[str, Any], answer: Outcome) -> str:
    """Only what differs, with the value that stands there now."""
    parts = []
    for key, value in change.items():
        now = getattr(case.settings, key)
        if now == value:
            continue
        if key == "max_model_len" and now is None:
            now = "the model's own"
        parts.append(
            f"{key} {str(value).lower() if isinstance(value, bool) else value}"
            + (f" instead of {now}" if now is not None else "")
        )
    tokens = answer.figures["kv_cache_tokens"]
    tight = " tightly" if answer.verdict == TIGHT else ""
    rest = _topics(answer, REFUSED)
    if rest:
        result = "mends this, not the rest"
    elif tokens:
        result = f"fits{tight}: {tokens} tokens of KV cache"
    else:
        result = f"works{tight}"
    return f"Set {' and '.join(parts)}: {result}"


def _needed(outcome: Outcome) -> int | None:
    margin, memory = outcome.figures["margin_bytes"], outcome.figures["kv_cache_memory_bytes"]
    return memory - margin if margin is not None and margin < 0 and memory is not None else None
