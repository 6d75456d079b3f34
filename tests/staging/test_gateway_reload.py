# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks nginx before and after a change: the candidates are read as they will be served, and a change that was not taken up shows."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from gateway_room import ROLE, Room, StandIn, sha256

CLIENTS = [{"name": "ward", "key_sha256": sha256("key-of-ward")}]


@pytest.fixture(name="room")
def fixture_room() -> Iterator[Room]:
    with Room() as room:
        room.engine("chat", StandIn())
        yield room


def validated(room: Room, **variables: Any) -> subprocess.CompletedProcess[str]:
    """The role's own command on the files as they are now."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["dirname"] = os.path.dirname
    described = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    known = {
        **{name: described[name] for name in ("__gateway_inside", "__gateway_inside_tls")},
        "__gateway_reference": room.image,
        "gateway_certificate": str(room.directory / "tls/host.pem"),
        "gateway_config_directory": str(room.directory / "config"),
        **{f"gateway_{name}": value for name, value in variables.items()},
    }
    command = environment.from_string(described["__gateway_validate"]).render(known)
    return subprocess.run(
        shlex.split(command.replace("%s", str(room.directory / "config"))), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("addresses", [["0.0.0.0"], ["192.0.2.7"], ["127.0.0.1", "[2001:db8::7]"], ["[::]"]])
def test_an_address_that_the_checking_container_does_not_have_is_none_of_its_business(
    room: Room, addresses: list[str]
) -> None:
    room.configure(clients=CLIENTS, addresses=addresses, port=443)
    done = validated(room, addresses=addresses)
    assert done.returncode == 0, done.stderr


def test_a_configuration_that_is_wrong_is_refused_before_it_is_in_place(room: Room) -> None:
    room.configure(clients=CLIENTS)
    config = room.directory / "config/nginx.conf"
    config.write_text(config.read_text().replace("least_conn;", "least_con;"))
    done = validated(room, addresses=["127.0.0.1"])
    assert done.returncode != 0
    assert 'unknown directive "least_con"' in done.stderr


def told(room: Room, source: str = "127.0.0.1") -> str:
    """What the gateway says of its configuration, to whom asks from there."""
    with room.connection(source=source) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = connection.recv(65536).decode().lower()
    assert head.startswith("http/1.1 401")
    return head.partition("x-airgap-configuration: ")[2].partition("\r\n")[0]


def until(room: Room, wanted: str, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if told(room) == wanted:
            return True
        time.sleep(0.2)
    return False


def generation(room: Room) -> str:
    (found,) = re.findall(r" ([0-9a-f]{40,64});", (room.directory / "config/generation.conf").read_text())
    return str(found)


def test_the_host_itself_sees_which_configuration_is_at_work(room: Room) -> None:
    room.start(clients=CLIENTS)
    first = generation(room)
    assert told(room) == first
    # Nobody else does.
    assert told(room, "127.0.0.2") == ""
    room.configure(clients=[{**CLIENTS[0], "rate": "5r/s"}])
    assert generation(room) != first
    room.reload()
    assert until(room, generation(room))
    # What nginx refuses at a reload it says nowhere else than in its log: it goes on with what it had.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        room.configure(
            clients=CLIENTS, addresses=["127.0.0.1", f"127.0.0.1:{taken.getsockname()[1]} ssl; listen 127.0.0.1"]
        )
        before = told(room)
        room.reload()
        assert not until(room, generation(room), 3)
        assert told(room) == before


def test_a_reload_is_refused_where_nginx_would_refuse_it(room: Room) -> None:
    unit = (ROLE / "templates/airgap-gateway.service.j2").read_text()
    check, signal = re.findall(r"^ExecReload=(.*)$", unit, re.MULTILINE)
    assert signal.endswith("kill --signal HUP gateway")
    argv = check.replace("/usr/bin/docker", "docker").replace("{{ __gateway_inside }}", "/etc/gateway").split()
    argv = [room.container if word == "airgap-gateway" else word for word in argv]
    room.start(clients=CLIENTS)
    subprocess.run(argv, check=True)
    assert room.ask("GET", "/v1/models", "key-of-ward").status == 200
    # A certificate without its key.
    key = room.directory / "tls/host.key"
    text = key.read_text()
    room.certificate(room.directory / "tls", "other")
    key.write_text((room.directory / "tls/other.key").read_text())
    assert subprocess.run(argv, check=False).returncode != 0
    key.write_text(text)
    subprocess.run(argv, check=True)
    room.reload()
    assert room.ask("GET", "/v1/models", "key-of-ward").status == 200


def test_both_files_of_the_certificate_are_watched() -> None:
    watched = re.findall(
        r"^PathChanged=(.*)$", (ROLE / "templates/airgap-gateway-reload.path.j2").read_text(), re.MULTILINE
    )
    assert watched == ["{{ gateway_certificate }}", "{{ gateway_certificate_key }}"]


def test_workers_are_not_as_many_as_a_large_host_has_processors_and_may_open_files(room: Room) -> None:
    project = (ROLE / "templates/compose.yml.j2").read_text()
    assert "ulimits: {nofile: {soft: 16384, hard: 16384}}" in project
    processors = {"__gateway_processors": {"stdout": "256"}}
    room.start(clients=CLIENTS, extra=processors)
    deadline = time.monotonic() + 5
    while len(workers := [pid for pid, command in room.processes().items() if "worker process" in command]) < 16:
        assert time.monotonic() < deadline, workers
        time.sleep(0.1)
    assert len(workers) == 16
    limits = Path(f"/proc/{workers[0]}/limits").read_text()
    assert re.search(r"Max open files +16384 +16384", limits)
    room.configure(clients=CLIENTS, extra={"__gateway_processors": {"stdout": "3"}})
    assert "worker_processes 3;" in (room.directory / "config/nginx.conf").read_text()


def test_a_stop_is_short_and_a_reload_is_patient() -> None:
    """A restart closes the gateway for everybody until the last stream has ended; a reload for nobody."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    assert defaults["gateway_stop"] <= 60
    assert defaults["gateway_drain"] >= defaults["gateway_read_timeout"]
    assert "stop_grace_period: {{ gateway_stop + 5 }}s" in (ROLE / "templates/compose.yml.j2").read_text()
    assert "TimeoutStopSec={{ gateway_stop + 45 }}" in (ROLE / "templates/airgap-gateway.service.j2").read_text()
    assert "worker_shutdown_timeout {{ gateway_drain }}s;" in (ROLE / "templates/nginx.conf.j2").read_text()
