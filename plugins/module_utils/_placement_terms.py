# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a placement: the settings, the case that is judged, what is found, and the answer."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils._weight_shards import Part

# How much a finding weighs.
REFUSED, TIGHT, UNKNOWN, NOTE = "refused", "tight", "unknown", "note"
FITS, DOES_NOT_FIT = "fits", "does not fit"
CUDA, CPU = "cuda", "cpu"
MIB, GIB = 2**20, 2**30

CACHE_DTYPES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2")
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")


class Finding(NamedTuple):
    """Something that stands in the way, or nearly; with changes of settings that may mend it and what each costs."""

    level: str
    topic: str
    text: str
    changes: Sequence[tuple[Mapping[str, Any], int]] = ()


class Settings(NamedTuple):
    """The engine's options, under their own names."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.92  # vllm/config/cache.py
    kv_cache_dtype: str = "auto"
    kv_cache_bytes: int | None = None
    dtype: str = "auto"
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    block_size: int | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    device: str = CUDA


class Case(NamedTuple):
    """Everything that an answer depends on."""

    model: dict[str, Any]
    settings: Settings
    gpus: Sequence[Mapping[str, Any]] = ()
    parts: Sequence[Part] | None = None
    config: Mapping[str, Any] = {}
    image: Mapping[str, Any] = {}
    host: Mapping[str, Any] = {}
    disks: Sequence[Mapping[str, Any]] = ()


class Outcome(NamedTuple):
    """What was found, and the figures."""

    findings: list[Finding]
    figures: dict[str, Any]

    @property
    def verdict(self) -> str:
        levels = {finding.level for finding in self.findings}
        return next((word for word in (REFUSED, UNKNOWN, TIGHT) if word in levels), FITS).replace(REFUSED, DOES_NOT_FIT)


def gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def named(gpu: Mapping[str, Any]) -> str:
    """The GPU as a person finds it."""
    parts = [f"GPU {gpu['index']}" if gpu.get("index") is not None else "a GPU"]
    parts.extend(str(gpu[key]) for key in ("name", "uuid", "pci_address") if gpu.get(key))
    return parts[0] + (f" ({', '.join(parts[1:])})" if parts[1:] else "")
