# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel counts, and the smallest of name servers."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _network_watch
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# As Linux writes them.
SNMP = """\
Ip: Forwarding DefaultTTL InReceives OutRequests OutDiscards OutNoRoutes ReasmTimeout
Ip: 1 64 167 167 0 7 0
Tcp: RtoAlgorithm MaxConn ActiveOpens
Tcp: 1 -1 0
Udp: InDatagrams NoPorts InErrors
Udp: 0 3 0
UdpLite: InDatagrams NoPorts InErrors
UdpLite: 0 9 0
"""
SNMP6 = "Ip6InNoRoutes                   \t0\nIp6OutNoRoutes                  \t2\n"


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def test_counts_are_those_of_missing_routes() -> None:
    assert _network_watch.counts(SNMP + SNMP6) == (7, 2, 3)
    assert _network_watch.counts("") == (0, 0, 0)


def test_names_are_read_from_questions_and_nothing_from_noise() -> None:
    assert _network_watch.asked_name(question("hub.example.org")) == "hub.example.org"
    for noise in (b"", b"\0" * 12, b"x" * 11, os.urandom(3), b"\0" * 12 + b"\x3fshort", question("a\x1bb.c")[:-6]):
        assert "\x1b" not in _network_watch.asked_name(noise)


def test_the_answer_is_a_failure_of_the_server_with_the_question_in_it() -> None:
    asked = question("stats.example.org")
    answer = _network_watch.failure(asked)
    number, flags, questions, answers, authorities, further = struct.unpack("!6H", answer[:12])
    assert (number, flags & 0x800F, questions, answers, authorities, further) == (4711, 0x8002, 1, 0, 0, 0)
    assert answer[12:] == asked[12:]


def test_attempts_say_what_and_how_often() -> None:
    assert not _network_watch.Attempts(0, 0, ())
    assert str(_network_watch.Attempts(2, 1, ("hub.example.org",))) == (
        "it asked for the address of hub.example.org; "
        "connections or datagrams for which the kernel had no route: 2 over IPv4 and 1 over IPv6"
    )
    assert str(_network_watch.Attempts(0, 0, ("a.example.org",))) == "it asked for the address of a.example.org"


def test_a_process_that_is_gone_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(AirgapError, match="has just stopped"):
        _network_watch.Watch(1, proc=str(tmp_path))


def test_counters_are_read_again_each_time(tmp_path: Path) -> None:
    (tmp_path / "7/net").mkdir(parents=True)
    (tmp_path / "7/ns").mkdir()
    # Not a namespace, so nobody listens there.
    (tmp_path / "7/ns/net").write_text("")
    counter = tmp_path / "7/net/snmp"
    counter.write_text(SNMP.replace(" 7 ", " 0 "))
    with _network_watch.Watch(7, proc=str(tmp_path)) as watch:
        assert not watch.attempts()
        counter.write_text(SNMP)
        assert watch.attempts() == (7, 0, ())
