# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several instances on a host: each sealed and with a socket of its own, started when it answers, and survived by its replica."""

from __future__ import annotations

import concurrent.futures
import json
import time
from typing import Any

import openai
import pytest
from seat import Seat
from site_under_test import instances, run_playbook
from testinfra.host import Host

SOCKETS = "/run/airgap-inference"
INSTANCES = ("chat", "small-1", "small-2", "embed")
# What their probes ask, as the gateway would.
ASK = """
import http.client, json, socket, sys
name, model, path = sys.argv[1:]
connection = http.client.HTTPConnection("engine", timeout=30)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/airgap-inference/" + name + "/engine.sock")
body = {"model": model, "prompt": "hi", "max_tokens": 1} if path.endswith("completions") else {"model": model, "input": "hi"}
connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
sys.exit(connection.getresponse().status != 200)
"""


def unit(name: str) -> str:
    """The unit of an instance."""
    return f"airgap-inference@{name}.service"


def answers(gpu_host: Host, name: str, model: str, path: str = "/v1/completions") -> bool:
    """Whether an instance answers, asked once over its socket."""
    return gpu_host.run("python3 -c %s %s %s %s", ASK, name, model, path).rc == 0


def inspect(gpu_host: Host, container: str) -> dict[str, Any]:
    """What Docker says of a container."""
    return dict(json.loads(gpu_host.check_output("docker inspect %s", container))[0])


def containers(gpu_host: Host) -> dict[str, str]:
    """The containers of all instances, relays too, each with its instance."""
    listed = gpu_host.check_output("docker ps --format '{{.Names}} {{.Label \"com.docker.compose.project\"}}'")
    pairs = (line.split() for line in listed.splitlines())
    return {
        container: project[len("airgap-") :] for container, project in pairs if project[len("airgap-") :] in INSTANCES
    }


def test_each_instance_runs_and_one_has_a_relay(gpu_host: Host) -> None:
    running = sorted(containers(gpu_host).values())
    assert running == sorted([*INSTANCES, "embed"]), containers(gpu_host)
    for name in INSTANCES:
        assert gpu_host.service(unit(name)).is_running
        assert gpu_host.service(unit(name)).is_enabled


def test_every_container_is_sealed_by_the_kernel(gpu_host: Host) -> None:
    for container in containers(gpu_host):
        shown = inspect(gpu_host, container)
        lines = gpu_host.check_output(f"cat /proc/{shown['State']['Pid']}/status").splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        assert int(status["CapEff"], 16) == 0, container
        assert status["NoNewPrivs"].strip() == "1", container
        assert status["Seccomp"].strip() == "2", container
        assert "0" not in status["Uid"].split(), container
        host = shown["HostConfig"]
        assert host["ReadonlyRootfs"] and host["PidsLimit"] > 0 and host["IpcMode"] != "host", container
        assert "@sha256:" in shown["Config"]["Image"], container
        written = [mount["Destination"] for mount in shown["Mounts"] if mount["RW"]]
        assert not [path for path in written if path.startswith(("/model", "/draft", "/adapters"))], container


@pytest.mark.parametrize("name", INSTANCES)
def test_sockets_are_for_the_engine_and_the_gateway_only(gpu_host: Host, name: str) -> None:
    directory = gpu_host.file(f"{SOCKETS}/{name}")
    assert (directory.uid, directory.gid, directory.mode) == (2000, 2101, 0o2770)
    socket = gpu_host.file(f"{SOCKETS}/{name}/engine.sock")
    assert socket.is_socket
    assert (socket.uid, socket.gid) == (2000, 2101)
    if name != "embed":
        # nginx opens a socket for all, which the directory does not.
        assert socket.mode & 0o007 == 0
    assert gpu_host.run("runuser -u nobody -- ls %s", f"{SOCKETS}/{name}").rc != 0


def test_the_port_of_an_engine_is_not_the_hosts(gpu_host: Host) -> None:
    """The engine on a port has a loopback of its own."""
    assert gpu_host.run("timeout 2 bash -c '< /dev/tcp/127.0.0.1/8080'").rc != 0
    pid = inspect(gpu_host, "airgap-embed")["State"]["Pid"]
    assert gpu_host.run(f"nsenter --target {pid} --net timeout 2 bash -c '< /dev/tcp/127.0.0.1/8080'").rc == 0


def test_one_replica_dies_and_no_client_sees_it(gpu_host: Host, seat: Seat) -> None:
    client = seat.client()

    def ask(until: float) -> list[str]:
        failures = []
        while time.monotonic() < until:
            begin = time.monotonic()
            try:
                client.completions.create(
                    model="tiny-gguf", prompt="The bundle", max_tokens=100, extra_body={"ignore_eos": True}
                )
            except openai.OpenAIError as error:
                failures.append(repr(error))
            # Below what the client may ask in a second.
            time.sleep(max(0.0, begin + 0.4 - time.monotonic()))
        return failures

    before = inspect(gpu_host, "airgap-small-1")["State"]["Pid"]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, time.monotonic() + 12) for _client in range(3)]
        time.sleep(3)
        gpu_host.check_output(f"kill -9 {before}")
        failures = [failure for each in asking for failure in each.result()]
    assert failures == []
    deadline = time.monotonic() + 120
    while not answers(gpu_host, "small-1", "tiny-gguf"):
        assert time.monotonic() < deadline, "the replica did not come back"
        time.sleep(1)
    assert inspect(gpu_host, "airgap-small-1")["State"]["Pid"] != before


def test_a_relay_that_dies_comes_back(gpu_host: Host) -> None:
    relay = next(name for name, of in containers(gpu_host).items() if of == "embed" and name != "airgap-embed")
    gpu_host.check_output(f"kill -9 {inspect(gpu_host, relay)['State']['Pid']}")
    deadline = time.monotonic() + 120
    while not answers(gpu_host, "embed", "tiny-embed", "/v1/embeddings"):
        assert time.monotonic() < deadline, "the instance did not come back"
        time.sleep(1)


@pytest.mark.parametrize(
    ("name", "model", "path"),
    [("small-2", "tiny-gguf", "/v1/completions"), ("embed", "tiny-embed", "/v1/embeddings")],
)
def test_a_start_returns_when_the_instance_answers(gpu_host: Host, name: str, model: str, path: str) -> None:
    gpu_host.check_output("systemctl stop %s", unit(name))
    assert name not in containers(gpu_host).values()
    gpu_host.check_output("systemctl start %s", unit(name))
    assert answers(gpu_host, name, model, path)


def test_a_stop_lets_a_stream_finish(gpu_host: Host, seat: Seat) -> None:
    """And the start that follows takes as long as vLLM's loading: it returns when the engine answers."""
    stream = seat.client().completions.create(
        model="tiny", prompt="The bundle", max_tokens=400, stream=True, extra_body={"ignore_eos": True}
    )
    chunks = [next(stream)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(gpu_host.run, f"systemctl stop {unit('chat')}")
        chunks.extend(stream)
        assert stopping.result().rc == 0
    assert "length" in [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert "chat" not in containers(gpu_host).values()
    with pytest.raises(openai.APIStatusError) as refused:
        seat.client().completions.create(model="tiny", prompt="hi", max_tokens=1)
    assert refused.value.status_code in (502, 503)
    gpu_host.check_output("systemctl start %s", unit("chat"))
    assert answers(gpu_host, "chat", "tiny")


@pytest.mark.usefixtures("mended")
def test_a_model_that_does_not_load_fails_at_once_in_the_engines_words(gpu_host: Host) -> None:
    chat = inspect(gpu_host, "airgap-chat")["State"]["StartedAt"]
    begin = time.monotonic()
    run = run_playbook("deploy", airgap_instances=instances(small={"model": "tiny-gguf-broken", "replicas": 1}))
    assert run.status != 0, run.output
    assert "token_embd.weight" in run.output and "wrong shape" in run.output, run.output
    assert "small" in run.output and "Traceback" not in run.output
    assert time.monotonic() - begin < 240
    # The others were not disturbed.
    assert inspect(gpu_host, "airgap-chat")["State"]["StartedAt"] == chat
    assert answers(gpu_host, "embed", "tiny-embed", "/v1/embeddings")


def test_an_adapter_is_a_model_for_clients(seat: Seat) -> None:
    client = seat.client()
    said = {
        model: client.completions.create(model=model, prompt="The bundle", max_tokens=16, temperature=0).choices[0].text
        for model in ("tiny", "letters")
    }
    assert said["tiny"] != said["letters"]


def test_a_draft_is_used(seat: Seat) -> None:
    """It is seen in nothing but what the engine counts."""
    drafted = seat.client().completions.create(model="tiny-gguf", prompt="The bundle", max_tokens=16)
    assert drafted.timings["draft_n"] > 0, "llama.cpp has the draft and does not use it"
