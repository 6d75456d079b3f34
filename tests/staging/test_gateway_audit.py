# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log before those who would fill it: lines have an end, and strangers a budget."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from gateway_raw import Line, message
from gateway_room import Room, StandIn, sha256

KEY = "a-key-that-is-good"


@pytest.fixture(name="room", scope="module")
def fixture_room() -> Iterator[Room]:
    with Room() as room:
        room.engine("chat", StandIn())
        clients = [
            {"name": "ward", "key_sha256": sha256(KEY)},
            {"name": "monitor", "key_sha256": sha256("m"), "metrics": True},
        ]
        room.start(clients=clients, audit_strangers=80)
        yield room


def test_a_line_has_an_end_whatever_a_client_writes(room: Room) -> None:
    before = len(room.log.read_bytes())
    line = Line(room.port, room.ca)
    for path in (
        "/" + "x" * 16_000,
        "/" + "%01" * 5_000,
        "/" + "%f0%9f%98%80" * 1_300,
        "/" + '"' * 16_000,
        "/" + "%5c" * 5_000,
    ):
        for key in (None, KEY):
            line.send(message("GET", path, key))
    line.send(message("X" * 5_000, "/", KEY))
    line.ask("POST", "/v1/chat/completions", KEY, b'{"model": "' + b"\\u0001" * 10_000 + b'"}')
    room.audit()
    told = room.log.read_bytes()[before:].splitlines()
    assert len(told) == 12
    # Less than what a pipe takes in one piece.
    assert max(map(len, told)) < 4096
    assert room.audit()[-3]["path"].endswith("\u2026")


def test_strangers_cannot_fill_the_log(room: Room) -> None:
    for _number in range(40):
        assert room.ask("GET", "/v1/models", "wrong").status == 401
    strangers = [line for line in room.audit() if not line["client"]]
    # A quarter for one address.
    assert len(strangers) == 20
    answer = room.ask("GET", "/v1/models", KEY)
    # With the lines of the test before.
    unlogged = room.audited(answer)["unlogged"]
    assert unlogged == 40 + 5 - 20
    assert room.audited(room.ask("GET", "/v1/models", KEY))["unlogged"] == 0
    assert f"airgap_gateway_unlogged_total {unlogged}\n" in room.ask("GET", "/metrics", "m").body


def test_strangers_from_many_addresses_share_a_days_lines(room: Room) -> None:
    line = Line(room.port, room.ca)
    for number in range(2, 8):
        for _turn in range(25):
            plain = socket.create_connection(("127.0.0.1", room.port), 10, (f"127.0.0.{number}", 0))
            with line.context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(message("GET", "/"))
                assert connection.recv(12) == b"HTTP/1.1 401"
    told = [entry["address"] for entry in room.audit() if not entry["client"]]
    assert {address: told.count(address) for address in told} == {f"127.0.0.{number}": 20 for number in range(1, 5)}
