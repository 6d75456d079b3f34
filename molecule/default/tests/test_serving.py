# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients get from the gateway, asked with the official openai client, and what the audit log says of it."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import time
from typing import Any

import openai
import pytest
from seat import Seat
from site_under_test import run_playbook
from testinfra.host import Host

# One of vLLM, one of llama.cpp.
TALKING = ("tiny", "tiny-gguf")
TALK = [{"role": "user", "content": "hi"}]
MARK = "a-word-that-nobody-may-read"


def audited(gpu_host: Host, request: str) -> dict[str, Any]:
    """The audit line of a request, which is written when the answer has ended."""
    for _attempt in range(50):
        lines = gpu_host.check_output(
            "journalctl --namespace=airgap-gateway --output=cat --no-pager --grep=%s --lines=5 || :", request
        )
        for line in lines.splitlines():
            if line.startswith("{") and json.loads(line).get("id") == request:
                return dict(json.loads(line))
        time.sleep(0.2)
    raise AssertionError(f"no audit line of request {request}")


def test_models_are_those_that_a_client_may_use(seat: Seat) -> None:
    assert {model.id for model in seat.client().models.list()} == {"tiny", "letters", "tiny-gguf", "tiny-embed"}
    assert [model.id for model in seat.client("ward").models.list()] == ["tiny-gguf"]
    assert list(seat.client("monitoring").models.list()) == []
    assert seat.client().models.retrieve("tiny-embed").id == "tiny-embed"
    with pytest.raises((openai.NotFoundError, openai.PermissionDeniedError)):
        seat.client("ward").models.retrieve("tiny")


@pytest.mark.parametrize("model", TALKING)
def test_a_chat(seat: Seat, model: str) -> None:
    answer = seat.client().chat.completions.create(model=model, messages=TALK, max_tokens=8)
    assert answer.model == model
    assert answer.usage.completion_tokens > 0
    assert isinstance(answer.choices[0].message.content, str)


@pytest.mark.parametrize("model", TALKING)
def test_a_stream(seat: Seat, model: str) -> None:
    chunks = list(
        seat.client().chat.completions.create(
            model=model, messages=TALK, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 1
    assert chunks[-1].usage.completion_tokens > 0


@pytest.mark.parametrize("model", TALKING)
def test_a_completion(seat: Seat, model: str) -> None:
    assert seat.client().completions.create(model=model, prompt="The bundle", max_tokens=4).usage.completion_tokens > 0


def test_embeddings_by_way_of_the_relay(seat: Seat) -> None:
    texts = ["The bundle crosses the gap.", "Banks ask the model."]
    answer = seat.client().embeddings.create(model="tiny-embed", input=texts)
    assert [len(entry.embedding) for entry in answer.data] == [512, 512]
    assert answer.data[0].embedding != answer.data[1].embedding


def test_a_client_gets_no_other_model(seat: Seat) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        seat.client("ward").chat.completions.create(model="tiny", messages=TALK, max_tokens=1)
    assert refused.value.code == "model_not_allowed"
    assert seat.client("ward").chat.completions.create(model="tiny-gguf", messages=TALK, max_tokens=1).id


def test_a_model_that_nobody_serves(seat: Seat) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        seat.client().chat.completions.create(model="left-behind", messages=TALK, max_tokens=1)
    assert refused.value.code == "model_not_found"


def test_a_path_that_the_model_does_not_have(seat: Seat) -> None:
    """llama.cpp would chat with any model; an instance that embeds is not asked to."""
    with pytest.raises(openai.APIStatusError) as refused:
        seat.client().chat.completions.create(model="tiny-embed", messages=TALK, max_tokens=1)
    assert 400 <= refused.value.status_code < 500


def test_nobody_without_a_key(seat: Seat) -> None:
    with pytest.raises(openai.AuthenticationError):
        seat.client(key="0" * 64).models.list()
    assert seat.get("/v1/models").status_code == 401
    assert seat.get("/health", "lab").status_code == 200


def test_instances_have_no_paths_of_their_own(seat: Seat) -> None:
    for path in ("/chat/v1/models", "/small-1/v1/models", "/v1/internal", "/load"):
        assert seat.get(path, "lab").status_code == 404, path


def test_a_rate_bites(seat: Seat) -> None:
    """One in a second, and three more at once."""
    answers = [seat.get("/v1/models", "trial") for _request in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused, [answer.status_code for answer in answers]
    assert int(refused[-1].headers["Retry-After"]) > 0
    assert refused[-1].json()["error"]["code"] == "rate_limit_exceeded"


def test_concurrency_bites(seat: Seat) -> None:
    """Four at a time; the room has nobody else."""

    def ask(client: Any) -> int:
        try:
            client.chat.completions.create(
                model="tiny-gguf", messages=TALK, max_tokens=300, extra_body={"ignore_eos": True}
            )
        except openai.APIStatusError as refused:
            return refused.status_code
        return 200

    time.sleep(2)
    client = seat.client()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        came = sorted(pool.map(ask, [client] * 8))
    assert set(came) == {200, 429} and came.count(200) >= 4, came


def test_metrics_are_for_the_monitoring_client(seat: Seat) -> None:
    for path in ("/metrics", "/metrics/chat", "/metrics/small-1", "/metrics/embed"):
        assert seat.get(path, "monitoring").status_code == 200, path
        assert seat.get(path, "lab").status_code in (403, 404), path
        assert seat.get(path).status_code == 401, path
    assert "llamacpp:" in seat.get("/metrics/small-2", "monitoring").text
    assert "vllm:" in seat.get("/metrics/chat", "monitoring").text
    with pytest.raises(openai.PermissionDeniedError):
        seat.client("monitoring").chat.completions.create(model="tiny", messages=TALK, max_tokens=1)


@pytest.mark.parametrize(("model", "instances"), [("tiny", {"chat"}), ("tiny-gguf", {"small-1", "small-2"})])
@pytest.mark.parametrize("stream", [False, True])
def test_an_audit_line_of_an_answer(seat: Seat, gpu_host: Host, model: str, instances: set[str], stream: bool) -> None:
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    raw = seat.client().chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": MARK}], max_tokens=5, **options
    )
    answer = raw.parse()
    usage = list(answer)[-1].usage if stream else answer.usage
    line = audited(gpu_host, raw.headers["X-Request-Id"])
    assert (line["client"], line["method"], line["path"]) == ("lab", "POST", "/v1/chat/completions")
    assert (line["model"], int(line["status"])) == (model, 200)
    assert line["instance"] in instances
    assert not line["refused"]
    assert int(line["prompt_tokens"]) == usage.prompt_tokens
    assert int(line["completion_tokens"]) == usage.completion_tokens
    assert 0 < float(line["first_byte_s"]) <= float(line["duration_s"])


def test_an_audit_line_of_a_refusal(seat: Seat, gpu_host: Host) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        seat.client("ward").chat.completions.create(model="tiny", messages=[{"role": "user", "content": MARK}])
    line = audited(gpu_host, refused.value.response.headers["X-Request-Id"])
    assert (line["client"], line["model"], int(line["status"])) == ("ward", "tiny", 403)
    assert line["refused"]


def test_the_audit_log_knows_no_prompts_and_no_keys(seat: Seat, gpu_host: Host) -> None:
    """Nor does the machine's own journal."""
    for journal in ("--namespace=airgap-gateway", "--unit=airgap-gateway", "--unit=airgap-inference@*"):
        said = gpu_host.check_output(f"journalctl {journal} --output=cat --no-pager || :")
        assert MARK not in said, journal
        for key in seat.keys.values():
            assert key not in said, journal


def test_the_audit_log_has_a_journal_of_its_own_which_is_cut_and_kept(seat: Seat, gpu_host: Host) -> None:
    raw = seat.client().models.with_raw_response.list()
    namespace = "journalctl --namespace=airgap-gateway"
    audited(gpu_host, raw.headers["X-Request-Id"])
    gpu_host.check_output(f"{namespace} --rotate")
    audited(gpu_host, raw.headers["X-Request-Id"])
    # What journald itself says of the bounds that it keeps to.
    assert "max 2G" in gpu_host.check_output(f"{namespace} --output=cat --no-pager --grep 'System Journal'")


def test_vllms_own_load_tool(seat: Seat, gpu_host: Host) -> None:
    """`vllm bench serve`, from the engine's image, through TLS and with a key, within what the client may."""
    image = gpu_host.check_output("docker inspect --format '{{.Config.Image}}' airgap-chat")
    model = gpu_host.check_output("docker inspect --format '{{json .Mounts}}' airgap-chat")
    (weights,) = (mount["Source"] for mount in json.loads(model) if mount["Destination"] == "/model")
    gpu_host.check_output(
        "umask 077; printf 'OPENAI_API_KEY=%%s\nSSL_CERT_FILE=/ca.pem\nHF_HUB_OFFLINE=1\n' %s > /run/load-tool",
        seat.keys["lab"],
    )
    said = gpu_host.check_output(
        "docker run --rm --network host --env-file /run/load-tool --volume /etc/airgap/ca.pem:/ca.pem:ro "
        f"--volume {weights}:/tokenizer:ro --tmpfs /tmp --entrypoint vllm {image} bench serve --backend openai-chat "
        "--base-url https://gpu1 --endpoint /v1/chat/completions --model tiny --tokenizer /tokenizer --dataset-name random "
        "--random-input-len 16 --random-output-len 16 --num-prompts 20 --max-concurrency 4 --request-rate 5 2>&1; rm /run/load-tool"
    )
    counted = dict(line.split(":", 1) for line in said.splitlines() if line.count(":") == 1)
    assert counted["Successful requests"].strip() == "20", said
    assert counted["Failed requests"].strip() == "0", said


def serial(seat: Seat) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with socket.socket(socket.AF_UNIX) as bare:
        bare.connect(str(seat.path))
        with seat.context.wrap_socket(bare, server_hostname=seat.name) as connection:
            return str(connection.getpeercert()["serialNumber"])


def test_a_renewed_certificate_is_served_and_no_stream_is_dropped(seat: Seat) -> None:
    before, deadline = serial(seat), time.monotonic() + 300

    def stream() -> set[str]:
        """Streams, one after the other without a pause, until new connections see another certificate; how they ended."""
        ends = set()
        while serial(seat) == before and time.monotonic() < deadline:
            chunks = seat.client().completions.create(
                model="tiny-gguf", prompt="The bundle", max_tokens=400, stream=True, extra_body={"ignore_eos": True}
            )
            ends.add([choice.finish_reason for chunk in chunks for choice in chunk.choices][-1])
        return ends

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        streams = pool.submit(stream)
        # Every certificate is too old for it.
        run = run_playbook("deploy", base_certificate_renew_days=100000)
        assert streams.result() == {"length"}
    assert run.status == 0, run.output
    assert serial(seat) != before, "the gateway shows its old certificate"
