# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``verify`` passes on a good host and fails on one that only looks good."""

from __future__ import annotations

import json
from typing import Iterator

import pytest
from site_under_test import run_playbook
from testinfra.host import Host

INSTANCE = {
    "engine": "vllm",
    "image": "docker.io/vllm/vllm-openai-cpu:v0.32.0",
    "gpus": 1,
    "options": {"max_model_len": 512, "enforce_eager": True},
    "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
}

UNTIL_HEALTHY = """
import http.client, socket, sys, time
for _second in range(240):
    time.sleep(1)
    connection = http.client.HTTPConnection("engine", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect("/run/airgap-inference/chat/engine.sock")
        connection.request("GET", "/health")
        if connection.getresponse().status == 200:
            sys.exit()
    except OSError:
        pass
sys.exit("the engine never said that it is healthy")
"""


def test_a_good_host_passes() -> None:
    run = run_playbook("verify")
    assert run.status == 0, run.output
    assert "streamed" in run.output


def test_a_wrong_key_fails(bastion: Host) -> None:
    bastion.check_output("sh -c %s", "umask 077; echo not-the-key > /etc/airgap/wrong.key")
    run = run_playbook("verify", acceptance_api_key_file="/etc/airgap/wrong.key")
    assert run.status != 0
    assert "401" in run.output
    assert "not-the-key" not in run.output


@pytest.mark.usefixtures("broken_engine")
def test_an_engine_that_is_healthy_but_cannot_generate_fails(gpu_host: Host) -> None:
    """Head size 16 on the CPU engine: /health answers, the first completion ends the engine."""
    # The deploy's own gate has just ended it; systemd starts it again, and it claims to be healthy.
    gpu_host.check_output("python3 -c %s", UNTIL_HEALTHY)
    run = run_playbook("verify", airgap_instances=[{**INSTANCE, "name": "chat", "model": "tiny-broken"}])
    assert run.status != 0, run.output
    assert "cannot generate" in run.output, run.output


@pytest.fixture
def broken_engine() -> Iterator[None]:
    """Deploy the model that cannot generate in place of the good one; afterwards the good one again."""
    broken = run_playbook("deploy", airgap_instances=[{**INSTANCE, "name": "chat", "model": "tiny-broken"}])
    assert broken.status != 0, "deploy let an engine through that cannot generate"
    assert "generat" in broken.output, broken.output
    yield
    mended = run_playbook("deploy")
    assert mended.status == 0, mended.output


def test_a_client_is_streamed_to(bastion: Host) -> None:
    """The answer as a client gets it, with the site's CA and the key from a file."""
    body = {"model": "tiny", "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
    streamed = bastion.check_output(
        "curl -sSN --fail-with-body --cacert /srv/airgap/ca.pem --header @/etc/airgap/client.header "
        "--header 'Content-Type: application/json' --data %s https://gpu1/v1/chat/completions",
        json.dumps(body),
    )
    assert streamed.count("data: ") > 2
    assert streamed.rstrip().endswith("data: [DONE]")
