# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has besides the memory of its GPUs, held against what an instance needs."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import _compute_capability
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import (
    GIB,
    MIB,
    NOTE,
    REFUSED,
    TIGHT,
    UNKNOWN,
    Finding,
    gib,
    named,
)

# The oldest driver on which programs of a CUDA release run, and of its minor releases.
# NVIDIA, CUDA Compatibility, "Minor Version Compatibility": https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
_OLDEST_DRIVER = {13: 580, 12: 525, 11: 450}
# vLLM's ring buffer between engine and workers (vllm/distributed/device_communicators/shm_broadcast.py); with less it does not start.
_RING = 160 * MIB
# What NCCL shares for each rank: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html, "Shared Memory"
_RANK = 32 * MIB
# A process of the engine, besides weights and cache.
_PROCESS = 3 * GIB
# A disk that is filled to the last byte stops other things.
_DISK_MARGIN = 2 * GIB
# GPUs of data centres, on which an image's forward compatibility package works.
# NVIDIA, CUDA Compatibility, "Forward Compatibility": https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
_DATA_CENTRE = re.compile(r"\b(?:Tesla|[ABHVLTP]\d{1,3}S?|GH200|GB\d{3}|RTX PRO 6000 Blackwell Server)\b")


def capabilities(
    model: Mapping[str, Any],
    dtype: str,
    cache: str,
    gpus: Sequence[Mapping[str, Any]],
    image: Mapping[str, Any],
) -> Iterator[Finding]:
    """Each GPU's generation against weights, dtype, cache and image; like GPUs are told of once."""
    told: set[tuple[int, int]] = set()
    for gpu in gpus:
        capability = _compute_capability.read(gpu.get("compute_capability"))
        if capability is None:
            if gpu.get("compute_capability") is not None:
                yield Finding(
                    UNKNOWN,
                    "compute_capability",
                    f"{named(gpu)}: compute_capability is {gpu['compute_capability']!r}; 9.0 is of the form that is known",
                )
            continue
        if capability in told:
            continue
        told.add(capability)
        yield from _capability(model, dtype, cache, gpu, capability, image)
    if len(told) > 1:
        shown = ", ".join(_compute_capability.shown(capability) for capability in sorted(told))
        yield Finding(
            TIGHT,
            "compute_capability",
            f"the GPUs are of different generations (compute capability {shown}): the slowest decides, and vLLM was not made for it",
        )


def _capability(
    model: Mapping[str, Any],
    dtype: str,
    cache: str,
    gpu: Mapping[str, Any],
    capability: tuple[int, int],
    image: Mapping[str, Any],
) -> Iterator[Finding]:
    shown = _compute_capability.shown
    has = f"{named(gpu)} has {shown(capability)}"
    weights = _compute_capability.quantization_need(model.get("quantization"))
    if weights is not None and capability < weights.least:
        yield Finding(
            REFUSED,
            "quantization",
            f"{weights.what} weights need compute capability {shown(weights.least)} and {has} ({weights.source}). Take a model in another "
            "quantisation, or another GPU",
        )
    elif weights is not None and weights.native and capability < weights.native:
        yield Finding(
            TIGHT,
            "quantization",
            f"{weights.what} needs compute capability {shown(weights.native)} to compute in and {has}: vLLM keeps the weights small and computes in "
            f"{dtype} (Marlin kernels), so it works, slower than on newer GPUs",
        )
    if dtype == "bfloat16" and capability < _compute_capability.BFLOAT16.least:
        yield Finding(
            REFUSED,
            "dtype",
            f"bfloat16 needs compute capability 8.0 and {has} ({_compute_capability.BFLOAT16.source}). Set dtype to half",
            [({"dtype": "half"}, 1)],
        )
    need = _compute_capability.cache_need(cache, bool(model.get("latent_attention")))
    if need is not None and capability < need.least:
        yield Finding(
            REFUSED,
            "kv_cache_dtype",
            f"{need.what} needs compute capability {shown(need.least)} and {has} ({need.source}). Set kv_cache_dtype to {dtype}",
            [({"kv_cache_dtype": dtype}, 1)],
        )
    major = _major(image.get("cuda_version"))
    if major is not None and major >= 13 and capability < _compute_capability.CUDA_13:
        yield Finding(
            REFUSED,
            "image",
            f"the image is built with CUDA {image['cuda_version']}, which has no code for GPUs below compute capability 7.5, and {has}. Take an "
            "image of an engine's release for CUDA 12",
        )


def driver(image: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[Finding]:
    """The host's driver against the CUDA release that the image was built with, and what the image itself asks for."""
    version, installed = image.get("cuda_version"), host.get("driver_version")
    branch = _major(installed)
    major = _major(version)
    oldest = _OLDEST_DRIVER.get(major) if major is not None else None
    if branch is not None and oldest is not None and branch < oldest:
        compatible = _alternative(image, host, branch)
        if compatible:
            yield Finding(
                TIGHT,
                "driver",
                f"the image is built with CUDA {version} and the driver is {installed}: it runs only through the forward compatibility package "
                f"in the image, which NVIDIA supports on data centre GPUs. A driver of branch {oldest} or newer needs none (gpu_host_branch)",
            )
        else:
            yield Finding(
                REFUSED,
                "driver",
                f"the image is built with CUDA {version}, which needs a driver of branch {oldest} or newer, and the host has {installed}. Carry "
                f"a newer driver over (gpu_host_branch: '{oldest}'), or take an image for an older CUDA",
            )
        return
    served = _version(host.get("cuda_version"))
    wanted = _required(image)
    if served and wanted and served < wanted and not _alternative(image, host, branch):
        yield Finding(
            TIGHT,
            "driver",
            f"the image asks for CUDA {_shown(wanted)} (NVIDIA_REQUIRE_CUDA) and the driver {installed or ''} serves {_shown(served)}: the classic "
            "NVIDIA runtime refuses to start it, CDI does not ask. Take a newer driver of the branch",
        )


def links(gpus: Sequence[Mapping[str, Any]], ranks: int) -> Iterator[Finding]:
    """Tensor parallelism talks after every layer, so it matters what the GPUs talk over."""
    if ranks < 2 or not gpus:
        return
    known = [gpu.get("nvlink") for gpu in gpus]
    if all(link is None for link in known):
        return
    without = [gpu for gpu in gpus if gpu.get("nvlink") is False]
    if without:
        yield Finding(
            NOTE,
            "nvlink",
            f"tensor parallelism over {ranks} GPUs goes over PCIe, since {', '.join(named(gpu) for gpu in without)} "
            f"{'has' if len(without) == 1 else 'have'} no NVLink: it works, and every token waits for the bus. Pipeline parallelism sends less",
        )


def memory(host: Mapping[str, Any], weights: int, cache: int, ranks: int) -> Iterator[Finding]:
    """An engine on CPUs keeps weights and cache of all ranks in the host's memory."""
    size = host.get("memory_mib")
    if not size:
        return
    needed = ranks * (weights + cache + _PROCESS)
    if needed > size * MIB:
        yield Finding(
            REFUSED,
            "host_memory",
            f"{ranks} processes need {gib(needed)} of the host's memory (weights {gib(weights)}, KV cache {gib(cache)} and {gib(_PROCESS)} each), "
            f"and it has {gib(size * MIB)}",
        )


def shared_memory(host: Mapping[str, Any], ranks: int, cpu: bool) -> Iterator[Finding]:
    """The container's /dev/shm: with Docker's own 64 MiB several processes cannot talk."""
    size = host.get("shm_mib")
    if not size or (ranks < 2 and not cpu):
        return
    needed = _RING + ranks * _RANK
    if size * MIB < needed:
        yield Finding(
            REFUSED,
            "shm_size",
            f"{ranks} processes of the engine talk through {needed // MIB} MiB of shared memory, and the container gets {size} MiB. Set the "
            f"instance's shm_size to {-(-needed // GIB)}g",
        )


def disks(stops: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """The free space wherever model and image come to lie."""
    for stop in stops:
        free, needed = stop.get("free_bytes"), stop.get("needed_bytes")
        if free is None or not needed:
            continue
        where = f"{stop.get('name') or 'disk'} ({stop.get('path') or 'no path stated'})"
        if needed > free:
            yield Finding(
                REFUSED,
                "disk",
                f"{where} needs {gib(needed)} and has {gib(free)} free: {gib(needed - free)} are missing. Free them, or state another path",
            )
        elif free - needed < _DISK_MARGIN:
            yield Finding(
                TIGHT, "disk", f"{where} has {gib(free - needed)} left after the {gib(needed)} that come to it"
            )


def _alternative(image: Mapping[str, Any], host: Mapping[str, Any], branch: int | None) -> bool:
    """Whether one of the image's own alternatives is met: NVIDIA_REQUIRE_CUDA lists them, each of several conditions.

    NVIDIA Container Toolkit, "Specialized Configurations with Docker": spaces mean or, commas mean and.
    """
    if branch is None:
        return False
    names = [str(gpu.get("name") or "") for gpu in host.get("gpus") or ()]
    data_centre = bool(names) and all(_DATA_CENTRE.search(name) for name in names)
    for alternative in str(image.get("require_cuda") or "").split():
        conditions = alternative.split(",")
        bounds = [re.match(r"driver(>=|<|<=|>|=)(\d+)", condition) for condition in conditions]
        brands = [condition[6:] for condition in conditions if condition.startswith("brand=")]
        limits = [(bound.group(1), int(bound.group(2))) for bound in bounds if bound]
        if (
            limits
            and data_centre
            and ("tesla" in brands or not brands)
            and all(_met(branch, *limit) for limit in limits)
        ):
            return True
    return False


def _met(branch: int, relation: str, limit: int) -> bool:
    return {
        ">=": branch >= limit,
        ">": branch > limit,
        "<": branch < limit,
        "<=": branch <= limit,
        "=": branch == limit,
    }[relation]


def _required(image: Mapping[str, Any]) -> tuple[int, int] | None:
    match = re.search(r"(?:^|[\s,])cuda>=(\d+)\.(\d+)", str(image.get("require_cuda") or ""))
    return (int(match.group(1)), int(match.group(2))) if match else None


def _version(value: Any) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", str(value or ""))
    return (int(match.group(1)), int(match.group(2))) if match else None


def _major(value: Any) -> int | None:
    match = re.match(r"(\d{1,4})(?:\.|\Z)", str(value or ""))
    return int(match.group(1)) if match else None


def _shown(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
