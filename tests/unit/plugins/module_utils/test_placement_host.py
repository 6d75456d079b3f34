# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _compute_capability
from ansible_collections.airgap.inference.plugins.module_utils import _placement_host as host

GIB = 2**30
# As NVIDIA's images of CUDA have it, shortened.
REQUIRE = "cuda>=13.0 brand=unknown,driver>=535,driver<536 brand=tesla,driver>=535,driver<536 brand=tesla,driver>=570,driver<571"


@pytest.mark.parametrize(
    ("image", "machine", "level"),
    [
        ({"cuda_version": "13.0.2"}, {"driver_version": "580.95.05", "cuda_version": "13.0"}, None),
        ({"cuda_version": "13.0.2"}, {"driver_version": "570.195.03"}, "refused"),
        ({"cuda_version": "12.9.1"}, {"driver_version": "535.261.03"}, None),
        ({"cuda_version": "12.9.1"}, {"driver_version": "470.256.02"}, "refused"),
        ({"cuda_version": "13.0.2", "require_cuda": REQUIRE}, {"driver_version": "535.261.03", "gpus": [{"name": "NVIDIA H100 80GB HBM3"}]}, "tight"),
        ({"cuda_version": "13.0.2", "require_cuda": REQUIRE}, {"driver_version": "550.163.01", "gpus": [{"name": "NVIDIA H100 80GB HBM3"}]}, "refused"),
        ({"cuda_version": "13.0.2", "require_cuda": REQUIRE}, {"driver_version": "535.261.03", "gpus": [{"name": "NVIDIA GeForce RTX 4090"}]}, "refused"),
        ({"cuda_version": "12.9.1", "require_cuda": "cuda>=12.9"}, {"driver_version": "535.261.03", "cuda_version": "12.2"}, "tight"),
        ({}, {"driver_version": "535.261.03"}, None),
        ({"cuda_version": "13.0.2"}, {}, None),
        ({"cuda_version": "99.0"}, {"driver_version": "580.1"}, None),
    ],
    ids=["new", "old", "minor", "older", "data-centre", "not-listed", "desktop", "asks-for-more", "no-image", "no-host", "future"],
)  # fmt: skip
def test_the_driver_and_the_images_cuda(image: dict[str, Any], machine: dict[str, Any], level: str | None) -> None:
    assert [finding.level for finding in host.driver(image, machine)] == ([level] if level else [])


def test_a_driver_that_is_too_old_has_its_remedy() -> None:
    (finding,) = host.driver({"cuda_version": "13.0.2"}, {"driver_version": "550.163.01"})
    assert (
        "built with CUDA 13.0.2, which needs a driver of branch 580 or newer, and the host has 550.163.01"
        in finding.text
    )
    assert "gpu_host_branch: '580'" in finding.text


def test_gpus_without_nvlink_are_a_note() -> None:
    with_it, without = {"index": 0, "nvlink": True}, {"index": 1, "nvlink": False}
    (finding,) = host.links([with_it, without], 2)
    assert (finding.level, "since GPU 1 has no NVLink" in finding.text) == ("note", True)
    assert not list(host.links([with_it, with_it], 2))
    assert not list(host.links([{"index": 0}, {"index": 1}], 2))
    assert not list(host.links([without], 1))


def test_an_engine_on_cpus_needs_memory_for_every_rank() -> None:
    (finding,) = host.memory({"memory_mib": 8192}, 2 * GIB, GIB, 2)
    assert "2 processes need 12.00 GiB of the host's memory" in finding.text
    assert not list(host.memory({"memory_mib": 16384}, 2 * GIB, GIB, 2))
    assert not list(host.memory({}, 2 * GIB, GIB, 2))


@pytest.mark.parametrize(
    ("shm", "ranks", "cpu", "refused"),
    [
        (64, 2, False, True),
        (64, 1, False, False),
        (64, 1, True, True),
        (1024, 8, False, False),
        (None, 8, False, False),
    ],
)
def test_shared_memory(shm: int | None, ranks: int, cpu: bool, refused: bool) -> None:
    found = list(host.shared_memory({"shm_mib": shm}, ranks, cpu))
    assert bool(found) is refused
    if found:
        assert "Set the instance's shm_size to 1g" in found[0].text


def test_disks() -> None:
    stops = [
        {"name": "depot", "path": "/srv/airgap", "free_bytes": 10 * GIB, "needed_bytes": 20 * GIB},
        {"name": "docker", "path": "/var/lib/docker", "free_bytes": 21 * GIB, "needed_bytes": 20 * GIB},
        {"name": "store", "path": "/srv/models", "free_bytes": 99 * GIB, "needed_bytes": 20 * GIB},
        {"name": "else", "path": "/x", "free_bytes": 0, "needed_bytes": None},
    ]
    found = list(host.disks(stops))
    assert [finding.level for finding in found] == ["refused", "tight"]
    assert found[0].text.startswith("depot (/srv/airgap) needs 20.00 GiB and has 10.00 GiB free: 10.00 GiB are missing")


def test_an_image_without_code_for_old_gpus() -> None:
    found = list(
        host.capabilities(
            {}, "float16", "auto", [{"index": 0, "compute_capability": "7.0"}], {"cuda_version": "13.0.2"}
        )
    )
    assert "has no code for GPUs below compute capability 7.5" in found[0].text


def test_like_gpus_are_told_of_once() -> None:
    gpus = [{"index": index, "compute_capability": 7.0} for index in range(8)]
    assert len(list(host.capabilities({}, "bfloat16", "auto", gpus, {}))) == 1


@pytest.mark.parametrize(
    ("quantization", "what", "least", "native"),
    [
        (None, None, None, None),
        ({"method": None}, None, None, None),
        ({"method": "unheard-of"}, None, None, None),
        ({"method": "fp8"}, "FP8", (7, 5), (8, 9)),
        ({"method": "awq_marlin"}, "AWQ", (7, 5), None),
        ({"method": "gptq"}, "GPTQ", (6, 0), None),
        ({"method": "mxfp4"}, "MXFP4", (8, 0), None),
        ({"method": "modelopt_fp4"}, "NVFP4", (7, 5), (10, 0)),
        ({"method": "auto-round"}, "AutoRound", (6, 0), None),
        ({"method": "compressed-tensors", "bits": 8, "weight_type": "float", "activation_bits": 8}, "FP8", (7, 5), (8, 9)),
        ({"method": "compressed-tensors", "bits": 8, "weight_type": "float"}, "FP8", (7, 5), None),
        ({"method": "compressed-tensors", "bits": 8, "weight_type": "float", "activation_bits": 8, "group_size": 32}, "MXFP8", (7, 5), (10, 0)),
        ({"method": "compressed-tensors", "bits": 4, "weight_type": "float", "group_size": 16}, "NVFP4", (7, 5), (10, 0)),
        ({"method": "compressed-tensors", "bits": 4, "weight_type": "float", "group_size": 32}, "MXFP4", (8, 0), None),
        ({"method": "compressed-tensors", "bits": 8, "weight_type": "int", "activation_bits": 8}, "INT8", (7, 5), None),
        ({"method": "compressed-tensors", "bits": 4, "weight_type": "int", "activation_bits": 8}, "INT4 with FP8", (9, 0), None),
        ({"method": "compressed-tensors", "bits": 4, "weight_type": "int", "group_size": 128}, "INT4", (7, 5), None),
    ],
)  # fmt: skip
def test_what_a_quantisation_needs(
    quantization: dict[str, Any] | None, what: str | None, least: Any, native: Any
) -> None:
    need = _compute_capability.quantization_need(quantization)
    assert (need and need.what, need and need.least, need and need.native) == (what, least, native)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("9.0", (9, 0)),
        (8.9, (8, 9)),
        (9, (9, 0)),
        ([10, 0], (10, 0)),
        ("12.1", (12, 1)),
        (None, None),
        ("new", None),
        ("9.0.1", None),
    ],
    ids=str,
)
def test_capabilities_are_read(value: Any, read: tuple[int, int] | None) -> None:
    assert _compute_capability.read(value) == read
