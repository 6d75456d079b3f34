# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import socket
import ssl
import threading
import time
from typing import Any, Iterator

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _http
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._http import Address, parse_url
from ansible_collections.airgap.inference.plugins.module_utils._openai import Question, key_refusal, read_key, wait_for
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils.openai_server import (
    DONE,
    GOOD,
    Behaviour,
    delta,
    event,
    make_authority,
    make_certificate,
    serve,
    usage,
)


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def address(behaviour: Behaviour) -> Iterator[Address]:
    with serve(behaviour) as port:
        yield Address("127.0.0.1", port)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("authority")
    make_authority(directory)
    return directory


def ask(address: Address, wait: int = 0, **question: Any) -> dict[str, Any]:
    return wait_for(Question(address, **{"timeout": 10, **question}), wait)


def refusal(address: Address, wait: int = 0, **question: Any) -> str:
    with pytest.raises(AirgapError) as caught:
        ask(address, wait, **question)
    return str(caught.value)


def test_a_streamed_answer(address: Address, behaviour: Behaviour) -> None:
    behaviour.pause = 0.05
    result = ask(address, prompt="Who are you?", max_tokens=5)
    assert result["models"] == ["tiny", "large"]
    assert result["generation"] == {"model": "tiny", "text": "Hello", "chunks": 3, "tokens": 2, "finish_reason": "stop"}
    # The first text is in the second chunk, which two pauses precede; five come in all.
    assert 90 < result["ttft_ms"] < result["total_ms"] - 90
    assert result["total_ms"] > 240
    assert result["attempts"] == 1
    assert behaviour.asked == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Who are you?"}],
            "max_tokens": 5,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert behaviour.paths == ["/v1/models", "/v1/chat/completions"]


def test_an_answer_in_one_piece(address: Address, behaviour: Behaviour) -> None:
    result = ask(address, stream=False, model="large")
    assert result["generation"]["text"] == "Hello"
    assert result["generation"]["model"] == "large"
    assert result["ttft_ms"] is None
    assert "stream_options" not in behaviour.asked[0]


def test_completions(address: Address, behaviour: Behaviour) -> None:
    behaviour.stream = [
        event(choices=[{"text": "once"}]),
        event(choices=[{"text": " upon", "finish_reason": "length"}]),
        DONE,
    ]
    result = ask(address, endpoint="completions", prompt="Tell:")
    assert result["generation"] == {
        "model": "tiny",
        "text": "once upon",
        "chunks": 2,
        "tokens": None,
        "finish_reason": "length",
    }
    assert behaviour.asked[0]["prompt"] == "Tell:"
    assert behaviour.paths[-1] == "/v1/completions"


def test_a_reasoning_model(address: Address, behaviour: Behaviour) -> None:
    behaviour.stream = [event(choices=[{"delta": {"reasoning_content": "Hm. "}}]), *GOOD]
    assert ask(address)["generation"]["text"] == "Hm. Hello"


def test_tokens_without_text_are_a_generation(address: Address, behaviour: Behaviour) -> None:
    behaviour.stream = [delta(""), delta("", "length"), usage(2), DONE]
    result = ask(address)
    assert result["generation"]["text"] == ""
    assert result["ttft_ms"] is not None


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_events_may_be_cut_anywhere(address: Address, behaviour: Behaviour, size: int) -> None:
    whole = b": a comment\r\n\r\n" + b"".join(GOOD).replace(b"\n", b"\r\n").replace(b"Hel", "Hél".encode())
    behaviour.stream = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert ask(address)["generation"]["text"] == "Héllo"


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (
            [event(error={"message": "CUDA error: device-side assert", "code": 500}), DONE],
            "reports an error: CUDA error: device-side assert",
        ),
        ([delta("He"), event(object="error", message="engine is dead")], "reports an error: engine is dead"),
        ([DONE], "ended without a single token"),
        ([], "was cut off; nothing had come"),
        ([delta("He")], "was cut off; 1 chunks had come"),
        ([delta("", "stop"), usage(0), DONE], "ended without a single token"),
        ([delta(""), DONE], "ended without a single token"),
        ([delta("He", "abort"), DONE], "ended with finish_reason 'abort'"),
        ([b"data: {\n\n"], "it sent '{', which is not JSON"),
        ([b"data: [1]\n\n"], "it sent [1]"),
        ([b"data: " + b"x" * 2000000], "one event of the stream is larger than"),
    ],
)
def test_up_and_cannot_generate(address: Address, behaviour: Behaviour, stream: list[bytes], reason: str) -> None:
    behaviour.stream = stream
    message = refusal(address, wait=30)
    assert message.startswith(f"{address} answers /health and cannot generate: /v1/chat/completions ")
    assert reason in message
    assert "journalctl" in message


def test_a_connection_cut_in_the_stream(address: Address, behaviour: Behaviour) -> None:
    behaviour.stream, behaviour.cut = [delta("He")], True
    assert "cannot generate" in refusal(address, health_path="")
    assert "cut its answer to /v1/chat/completions off before the end; 1 chunks had come" in refusal(address)


def test_an_error_answer(address: Address, behaviour: Behaviour) -> None:
    behaviour.status = 500
    assert "cannot generate: /v1/chat/completions answers 500 Internal Server Error: the worker died" in refusal(
        address
    )
    behaviour.status, behaviour.error = 400, {"object": "error", "message": "no chat template"}
    assert "answers 400 Bad Request: no chat template" in refusal(address)
    behaviour.status, behaviour.error = 502, b"<html>"
    assert "cannot generate: /v1/chat/completions answers 502 Bad Gateway: <html>" in refusal(address)
    behaviour.status = 429
    assert "limits are used up" in refusal(address)
    behaviour.status = 404
    assert "lists the model 'tiny' and answers /v1/chat/completions with 404" in refusal(address)


def test_a_broken_whole_answer(address: Address, behaviour: Behaviour) -> None:
    for answer, reason in [
        ({}, "without a single token"),
        ([], "it sent []"),
        (b"{", "is not JSON"),
        ({"choices": [], "usage": {"completion_tokens": 3}}, "without a single token"),
        ({"choices": [None], "usage": None}, "without a single token"),
    ]:
        behaviour.answer = answer
        assert reason in refusal(address, stream=False)


def test_an_unknown_model(address: Address, behaviour: Behaviour) -> None:
    assert refusal(address, model="huge") == f"{address} does not serve the model 'huge'. It serves: large, tiny"
    assert behaviour.asked == []


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ({"data": []}, "serves no model"),
        ({}, "something else than a list of models"),
        ([], "something else than a list of models"),
        (b"<html>hello</html>", "<html>hello</html>"),
        ({"data": [{"id": 3}]}, "something else than a list of models"),
        ({"data": None}, "something else than a list of models"),
        (b" " * 5_000_000, "larger than"),
    ],
)
def test_a_broken_list_of_models(address: Address, behaviour: Behaviour, models: Any, reason: str) -> None:
    behaviour.models = models
    message = refusal(address)
    assert reason in message
    assert str(address) in message


def test_keys(address: Address, behaviour: Behaviour, tmp_path: pathlib.Path) -> None:
    behaviour.key = "correct-horse"
    assert "401: it wants an API key, and none was given" in refusal(address)
    message = refusal(address, key="wrong-key")
    assert "does not accept this API key" in message
    assert "wrong-key" not in message
    (tmp_path / "key").write_text("correct-horse\n", encoding="utf-8")
    assert ask(address, key=read_key(str(tmp_path / "key")))["generation"]["text"] == "Hello"


def test_unusable_keys(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AirgapError, match="cannot be read: No such file"):
        read_key(str(tmp_path / "absent"))
    (tmp_path / "key").write_text(" \n", encoding="utf-8")
    with pytest.raises(AirgapError, match="is empty"):
        read_key(str(tmp_path / "key"))
    for key in ("", "a b", "a\r\nX-Injected: 1", "schlüssel"):
        assert "HTTP header" in str(key_refusal(key, Address(tls=True)))
    assert "in the clear" in str(key_refusal("k", Address("gpu1", 80)))
    for local in (Address("127.0.0.1", 80), Address("::1", 80), Address("localhost", 80), Address(unix="/x")):
        assert key_refusal("k", local) is None


def test_an_ill_service(address: Address, behaviour: Behaviour) -> None:
    behaviour.health = 500
    assert f"{address} answers /health with 500" in refusal(address)
    behaviour.health = 404
    assert "state health_path, or leave it empty" in refusal(address)
    assert ask(address, health_path="")["generation"]["text"] == "Hello"
    assert "points to 'https://elsewhere.example.org/'" in refusal(address, health_path="/moved")


def test_waiting_until_it_is_ready(address: Address, behaviour: Behaviour) -> None:
    behaviour.health = 503
    threading.Timer(1.2, lambda: setattr(behaviour, "health", 200)).start()
    assert ask(address, wait=20)["attempts"] == 3


def test_waiting_has_an_end(address: Address, behaviour: Behaviour) -> None:
    behaviour.health = 503
    assert "503 Service Unavailable: the engine is starting, or is down" in refusal(address)
    assert "(tried 2 times in 1 seconds)" in refusal(address, wait=1)


def test_what_waiting_does_not_mend_is_not_waited_for(address: Address, behaviour: Behaviour) -> None:
    behaviour.status = 500
    started = time.monotonic()
    assert "cannot generate" in refusal(address, wait=30)
    assert time.monotonic() - started < 5


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        message = refusal(Address("127.0.0.1", port))
    assert f"http://127.0.0.1:{port} cannot be reached: Connection refused" in message


def test_a_name_that_does_not_exist() -> None:
    assert "cannot be resolved" in refusal(Address("does-not-exist.invalid", 443, tls=True))


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that takes the connection and says nothing but a byte now and then."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    def accept(server: socket.socket) -> None:
        while True:
            try:
                connection, _peer = server.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        stop.set()


def test_a_service_that_never_finishes(silent: int) -> None:
    started = time.monotonic()
    assert "gave no complete answer to /health in time" in refusal(Address("127.0.0.1", silent), timeout=1)
    assert time.monotonic() - started < 3


def test_a_stream_that_never_finishes(address: Address, behaviour: Behaviour) -> None:
    behaviour.stream, behaviour.pause = [delta("He")] * 100, 0.2
    started = time.monotonic()
    message = refusal(address, timeout=1, wait=30)
    assert "cannot generate" in message
    assert "in time" in message
    assert "chunks had come" in message
    assert time.monotonic() - started < 3


def test_something_else_than_http(tmp_path: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _time in range(2):
                connection, _peer = server.accept()
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        assert "does not speak HTTP" in refusal(Address("127.0.0.1", port))
        assert "does not speak TLS" in refusal(Address("127.0.0.1", port, tls=True))


def test_a_body_shorter_than_stated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _peer = server.accept()
            connection.recv(1000)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data": [{"id": "a"}]}')
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        message = refusal(Address("127.0.0.1", server.getsockname()[1]), health_path="")
    assert "cut its answer to /v1/models off before the end" in message


def test_tls(authority: pathlib.Path, behaviour: Behaviour) -> None:
    ca = str(authority / "ca.pem")
    with serve(behaviour, tls=make_certificate(authority, "good", "IP:127.0.0.1,DNS:localhost")) as port:
        assert ask(Address("127.0.0.1", port, tls=True, ca_path=ca))["generation"]["text"] == "Hello"
        assert ask(parse_url(f"https://localhost:{port}/v1/", ca))["models"] == ["tiny", "large"]
        message = refusal(Address("127.0.0.1", port, tls=True))
        assert f"https://127.0.0.1:{port} is not trusted" in message
        assert "State the site's CA in ca_path (in use: the authorities of the system)" in message
        for content, reason in (
            ("no certificate", "holds no certificate in PEM form"),
            (None, "cannot be read: No such file"),
        ):
            path = authority / "other.pem"
            path.unlink() if path.exists() else None
            if content is not None:
                path.write_text(content, encoding="utf-8")
            assert reason in refusal(Address("127.0.0.1", port, tls=True, ca_path=str(path)))
        # A stream over TLS that never finishes is cut as well.
        behaviour.stream, behaviour.pause = [delta("He")] * 100, 0.2
        assert "in time" in refusal(Address("127.0.0.1", port, tls=True, ca_path=ca), timeout=1)


def test_tls_of_another_name_and_of_yesterday(authority: pathlib.Path, behaviour: Behaviour) -> None:
    ca = str(authority / "ca.pem")
    with serve(behaviour, tls=make_certificate(authority, "other", "DNS:other.example.org")) as port:
        assert "issued for other addresses" in refusal(Address("127.0.0.1", port, tls=True, ca_path=ca))
        assert "issued for other names" in refusal(Address("localhost", port, tls=True, ca_path=ca))
    with serve(behaviour, tls=make_certificate(authority, "old", "IP:127.0.0.1", days="-1")) as port:
        assert "has expired" in refusal(Address("127.0.0.1", port, tls=True, ca_path=ca))


def test_a_certificate_that_strict_clients_refuse() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 92, "CA cert does not include key usage extension"
    assert "Issue it again: the authority with" in str(_http._translate(error, Address(tls=True), "/health", False))


def test_tls_where_none_is_spoken(address: Address) -> None:
    assert "does not speak TLS" in refusal(address._replace(tls=True))


def test_a_unix_socket(tmp_path: pathlib.Path, behaviour: Behaviour) -> None:
    path = str(tmp_path / "engine.sock")
    assert f"{path} cannot be reached: No such file or directory. Is the engine running" in refusal(Address(unix=path))
    with serve(behaviour, unix=path):
        assert ask(Address(unix=path), key="k")["generation"]["text"] == "Hello"
    assert "nobody listens: the engine that made it is gone" in refusal(Address(unix=path))
    assert "path too long" in refusal(Address(unix="/tmp/" + "x" * 200))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://gpu1", "https://gpu1:443"),
        ("https://gpu1:8443/", "https://gpu1:8443"),
        ("https://gpu1/v1", "https://gpu1:443"),
        ("https://gpu1/chat/v1/", "https://gpu1:443/chat"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert str(parse_url(url, None)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "gpu1",
        "gpu1:443",
        "ftp://gpu1",
        "https://",
        "https://u:secret@gpu1",
        "https://gpu1/?a=b",
        "https://gpu1:x",
        "https://[::1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(AirgapError) as caught:
        parse_url(url, None)
    assert "secret" not in str(caught.value)
