# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host after a deploy: everything came from the depot, is sealed, and comes back by itself."""

from __future__ import annotations

import json
import subprocess
import time

import site_under_test
from testinfra.host import Host

UNIT = "airgap-inference@chat.service"


def engine(gpu_host: Host) -> dict:
    """What Docker says of the engine's container."""
    return json.loads(gpu_host.check_output("docker inspect airgap-chat"))[0]


def answered(gpu_host: Host) -> bool:
    """Whether the engine generates, asked over its socket as the gateway does."""
    request = json.dumps({"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]})
    script = (
        "import http.client, socket, sys\n"
        "c = http.client.HTTPConnection('localhost', timeout=30)\n"
        "c.sock = socket.socket(socket.AF_UNIX)\n"
        "c.sock.connect('/run/airgap-inference/chat/engine.sock')\n"
        f"c.request('POST', '/v1/chat/completions', {request!r}, {{'Content-Type': 'application/json'}})\n"
        "sys.exit(c.getresponse().status != 200)\n"
    )
    return gpu_host.run("python3 -c %s", script).rc == 0


def wait_for_answer(gpu_host: Host, seconds: int = 300) -> bool:
    """Wait until the engine generates."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answered(gpu_host):
            return True
        time.sleep(3)
    return False


def test_packages_come_from_the_depot_alone(gpu_host: Host) -> None:
    for package in ("docker.io", "nvidia-container-toolkit-base", "nvidia-persistenced"):
        policy = gpu_host.check_output(f"apt-cache policy {package}")
        assert "https://bastion/packages/debian-trixie" in policy, policy


def test_gpus_are_persistent(gpu_host: Host) -> None:
    assert gpu_host.service("nvidia-persistenced").is_running
    modes = gpu_host.check_output("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader").split()
    assert modes == ["Enabled", "Enabled"]


def test_docker_gave_the_engine_one_gpu(gpu_host: Host) -> None:
    """Docker itself resolved the CDI device: the container's environment is what the CDI file adds."""
    requests = engine(gpu_host)["HostConfig"]["DeviceRequests"]
    assert [(request["Driver"], request["DeviceIDs"]) for request in requests] == [("cdi", ["nvidia.com/gpu=0"])]
    # Of the process itself: `docker exec` would begin from Docker's configuration, which does not know CDI's edits.
    environment = gpu_host.check_output(f"cat /proc/{engine(gpu_host)['State']['Pid']}/environ")
    assert "AIRGAP_LAB_GPU_0=" in environment
    assert "AIRGAP_LAB_GPU_1=" not in environment


def test_the_engine_is_sealed_by_the_kernel(gpu_host: Host) -> None:
    pid = engine(gpu_host)["State"]["Pid"]
    status = dict(
        line.split(":", 1) for line in gpu_host.check_output(f"cat /proc/{pid}/status").splitlines() if ":" in line
    )
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert set(status["Uid"].split()) == {"2000"}
    assert gpu_host.run("docker exec airgap-chat touch /written").rc != 0
    assert gpu_host.run("docker exec airgap-chat touch /model/written").rc != 0


def test_the_image_is_pinned_by_digest(gpu_host: Host) -> None:
    assert "/docker.io/vllm/vllm-openai-cpu@sha256:" in engine(gpu_host)["Config"]["Image"]


def test_socket_is_for_the_engine_and_the_gateway_only(gpu_host: Host) -> None:
    directory = gpu_host.file("/run/airgap-inference/chat")
    assert (directory.uid, directory.gid, directory.mode) == (2000, 2101, 0o2770)
    socket = gpu_host.file("/run/airgap-inference/chat/engine.sock")
    assert (socket.uid, socket.gid) == (2000, 2101)
    assert socket.mode & 0o007 == 0


def test_nothing_listens_that_should_not(gpu_host: Host) -> None:
    """Beside SSH and the gateway, the network finds nothing."""
    listening = gpu_host.check_output("python3 -c %s", LISTENING)
    assert set(listening.split()) == {"22", "443"}


# Ports in LISTEN on an address that is not loopback, from the kernel's own tables.
LISTENING = """
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in open(table).readlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        host, port = address.split(":")
        loopback = host.endswith("7F") and len(host) == 8 or host == "00000000000000000000000001000000"
        loopback = loopback or host[24:].endswith("7F")
        if state == "0A" and not loopback:
            print(int(port, 16))
"""


def test_the_story_is_in_the_journal(gpu_host: Host) -> None:
    assert "vllm" in gpu_host.check_output(f"journalctl -u {UNIT} --no-pager -n 400").lower()


def test_a_rebooted_host_answers_again(gpu_host: Host) -> None:
    assert gpu_host.service(UNIT).is_enabled
    subprocess.run(["docker", "restart", "-t", "60", f"airgap-{site_under_test.SCENARIO_NAME}-gpu1"], check=True)
    assert wait_for_answer(gpu_host)
    assert gpu_host.service("airgap-gateway").is_running
