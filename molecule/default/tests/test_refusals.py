# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused before anything changes, with the numbers and the remedy."""

from __future__ import annotations

from typing import Any

from site_under_test import run_playbook
from testinfra.host import Host

SECRET = "a-secret-value"


def instance(**differences: Any) -> dict[str, Any]:
    """The lab's instance, but for ``differences``."""
    return {
        "name": "chat",
        "engine": "vllm",
        "image": "docker.io/vllm/vllm-openai-cpu:v0.32.0",
        "model": "tiny",
        "gpus": 1,
        "options": {"max_model_len": 512, "enforce_eager": True},
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
        **differences,
    }


def refused(gpu_host: Host, *words: str, **differences: Any) -> None:
    """Deploy something impossible: every one of ``words`` is said, and the instance is left as it was."""
    compose = gpu_host.file("/etc/airgap/instances/chat/compose.yml").sha256sum
    run = run_playbook("deploy", airgap_instances=[instance(**differences)])
    assert run.status != 0, run.output
    for word in words:
        assert word in run.output, run.output
    assert "Traceback" not in run.output
    assert SECRET not in run.output
    assert gpu_host.file("/etc/airgap/instances/chat/compose.yml").sha256sum == compose


def test_heads_that_do_not_divide(gpu_host: Host) -> None:
    """vLLM itself would die here with a bare AssertionError."""
    refused(gpu_host, "10 attention heads", "5 key-value heads", "1, 5, 10", model="heads-10-5", gpus=2)


def test_more_gpus_than_the_host_has(gpu_host: Host) -> None:
    refused(
        gpu_host,
        "3 GPUs are asked for",
        "has 2",
        gpus=3,
        options={"tensor_parallel_size": 1, "pipeline_parallel_size": 3},
    )


def test_a_model_that_was_not_carried(gpu_host: Host) -> None:
    refused(gpu_host, "left-behind", "bundle", model="left-behind")


def test_an_image_that_was_not_carried(gpu_host: Host) -> None:
    refused(gpu_host, "docker.io/library/other:1", "bundle", image="docker.io/library/other:1")


def test_an_engine_that_is_not_known(gpu_host: Host) -> None:
    refused(gpu_host, "unheard-of", "vllm", engine="unheard-of")


def test_an_option_that_the_engine_does_not_have(gpu_host: Host) -> None:
    """With the one that was meant; vLLM would say so at its start only."""
    refused(gpu_host, "max_modle_len", "max_model_len", options={"max_modle_len": 512})


def test_a_draft_that_was_not_carried(gpu_host: Host) -> None:
    refused(gpu_host, "left-behind", "bundle", draft_model="left-behind")


def test_two_models_by_one_name(gpu_host: Host) -> None:
    refused(gpu_host, "tiny", adapters=[{"name": "tiny", "model": "tiny-adapter"}])


def test_a_token_in_the_isolated_room(gpu_host: Host) -> None:
    refused(gpu_host, "HF_TOKEN", environment={"HF_TOKEN": SECRET})
