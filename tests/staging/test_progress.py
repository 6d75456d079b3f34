# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long steps in real playbooks: the lines that they show, the results that they leave, and their end."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _manifest, _signature
from ansible_collections.airgap.inference.tests.unit.plugins.module_utils import sealed

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
LINE = re.compile(
    r"^slow step on localhost: \d\.\d of \d+\.\d GB \(\d+ %\), [345]\d\d MB/s, \d+ s left, file-\d+$",
    re.MULTILINE,
)
CASES: list[dict[str, Any]] = [
    {},
    {"secret": "hushed"},
    {"end": "fail"},
    {"end": "crash"},
    {"end": "killed"},
    {"nonsense": 1},
    {"seconds": 6},
    {"seconds": 6, "end": "fail"},
]


class Play:
    """A directory with the slow step, with the action plugin or without it."""

    def __init__(self, directory: Path, action: bool = True) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        shutil.copytree(Path(__file__).with_name("progress"), directory)
        if not action:
            shutil.rmtree(directory / "action_plugins")
        self.temporary.mkdir()
        # The directory of a session is found by this; another user must reach it, too.
        self.temporary.chmod(0o1777)

    def command(self, tasks: list[dict[str, Any]]) -> tuple[list[str], dict[str, str]]:
        play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
        (self.directory / "play.json").write_text(json.dumps(play))
        environment = {
            **os.environ,
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "TMPDIR": str(self.temporary),
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        # One that another user reaches, too.
        variables = "ansible_python_interpreter=/usr/bin/python3"
        return [str(PLAYBOOK), "-i", "localhost,", "-e", variables, str(self.directory / "play.json")], environment

    def run(self, tasks: list[dict[str, Any]], **more: str) -> str:
        command, environment = self.command(tasks)
        done = subprocess.run(
            command,
            env={**environment, **more},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def left(self) -> list[str]:
        """What a session has left, after the two seconds in which it sees that it is not needed any more."""
        return [path.name for path in self.temporary.glob("airgap-*")]


def results(directory: Path, action: bool, **environment: str) -> Any:
    """What a playbook registers of each way in which a step can end."""
    play = Play(directory, action)
    tasks = [
        {"slow_step": "{{ item }}", "loop": CASES, "register": "each", "ignore_errors": True}
        | {"loop_control": {"label": "{{ ansible_loop.index }}", "extended": True}},
        {"slow_step": {"seconds": 6}, "check_mode": True, "register": "checked"},
        {"slow_step": {}, "async": 60, "poll": 1, "register": "own_async"},
        {"slow_step": {"seconds": 6, "secret": "unspoken"}, "no_log": True, "register": "hidden"},
        {
            "copy": {
                "content": "{{ {'each': each, 'checked': checked, 'async': own_async, 'hidden': hidden} | to_nice_json }}",
                "dest": str(directory / "results.json"),
            }
        },
    ]
    output = play.run(tasks, **environment)
    assert "unspoken" not in output
    assert not play.left()
    text = (directory / "results.json").read_text()
    # What differs from run to run.
    for pattern in (r"ansible-tmp-[\d.-]+", r"payload_\w+", r"j?\d{9,}\.\d+", re.escape(str(directory))):
        text = re.sub(pattern, "", text)
    return json.loads(text)


def test_results_are_those_of_the_module(tmp_path: Path) -> None:
    # They sleep most of the time.
    with ThreadPoolExecutor(max_workers=4) as pool:
        with_action, without, pipelined, without_pipelined = pool.map(
            lambda case: results(tmp_path / case[0], case[1], ANSIBLE_PIPELINING=case[2]),
            [("a", True, "0"), ("b", False, "0"), ("c", True, "1"), ("d", False, "1")],
        )
    assert with_action == without
    assert pipelined == without_pipelined
    assert [bool(item.get("failed")) for item in without["each"]["results"]] == [
        case.get("end", "well") != "well" or "nonsense" in case for case in CASES
    ]
    assert without["checked"]["changed"] is False


def test_a_log_has_a_line_every_five_seconds(tmp_path: Path) -> None:
    output = Play(tmp_path / "play").run([{"slow_step": {"seconds": 12}}])
    assert len(LINE.findall(output)) == 2, output


def test_a_module_of_the_collection_shows_its_bytes(tmp_path: Path) -> None:
    bundle = sealed.make_bundle(tmp_path)
    # A hole has no bytes on the disk and is read like any other; its digest is wrong, and the check says so at the end.
    hole = _manifest.File("models/tiny/0123456789abcdef/hole", 16_000_000_000, "0" * 64)
    with (bundle.root / hole.path).open("wb") as handle:
        handle.truncate(hole.size)
    manifest = sealed.make_manifest(sealed.CONTENT)
    data = _manifest.render(manifest._replace(files=[*manifest.files, hole]))
    (bundle.root / "manifest.json").write_bytes(data)
    (bundle.root / "manifest.json.sig").write_bytes(_signature.sign(data, str(bundle.key), _signature.NAMESPACE))
    arguments = {"path": str(bundle.root), "allowed_signers": str(bundle.allowed_signers)}
    check = {"airgap.inference.bundle_check": arguments, "register": "checked", "failed_when": "not checked.problems"}
    output = Play(tmp_path / "play").run([check])
    assert re.search(r"^.* on localhost: \d+\.\d of 16\.0 GB \(\d+ %\), .*B/s, \d+ s left", output, re.MULTILINE), (
        output
    )


def test_a_terminal_shows_the_same(tmp_path: Path) -> None:
    command, environment = Play(tmp_path / "play").command([{"slow_step": {"seconds": 6}}])
    master, slave = pty.openpty()
    with subprocess.Popen(command, env=environment, stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                output += os.read(master, 65536)
            except OSError:
                break
    os.close(master)
    assert process.returncode == 0
    assert len(LINE.findall(output.decode().replace("\r\n", "\n"))) == 1, output


def test_what_is_hidden_stays_so(tmp_path: Path) -> None:
    output = Play(tmp_path / "play").run([{"slow_step": {"seconds": 6}, "no_log": True}])
    assert "slow step on localhost" in output
    assert "file-" not in output


def test_json_stays_json(tmp_path: Path) -> None:
    output = Play(tmp_path / "play").run([{"slow_step": {"seconds": 6}}], ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert json.loads(output)["stats"]["localhost"]["ok"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user without a password")
def test_another_user(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == "root" and parent != Path("/") and parent != Path("/tmp"):
            parent.chmod(0o755)
    play = Play(tmp_path / "play")
    become = {"become": True, "become_method": "su", "become_user": "nobody", "become_flags": "-s /bin/sh"}
    check = {"assert": {"that": "step.user == 'nobody'"}}
    output = play.run([{"slow_step": {"seconds": 6}, "register": "step", **become}, check])
    assert len(LINE.findall(output)) == 1, output
    assert not play.left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_ends_the_step_and_its_programs(tmp_path: Path, number: signal.Signals) -> None:
    play, mark = Play(tmp_path / "play"), tmp_path / "mark"
    command, environment = play.command([{"slow_step": {"seconds": 60, "mark": str(mark)}}])
    # As a terminal does, not as a shell's background, where an interrupt is ignored.
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        output = ""
        for line in process.stdout:
            output += line
            if LINE.search(output):
                break
        (session,) = play.temporary.glob("airgap-*")
        group = int((session / "pid").read_text())
        assert "sleep" in members(group)
        process.send_signal(number)
        process.stdout.read()
    began = time.monotonic()
    while not mark.exists() and time.monotonic() - began < 20:
        time.sleep(0.2)
    assert mark.read_text() == "put away\n"
    time.sleep(1)
    # The watch itself makes sure for half a minute.
    assert not [name for name in members(group) if name.startswith("python")]


def members(group: int) -> list[str]:
    """What lives in a process group; what has ended may wait for the host's first process to take note."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, rest = path.read_text().split("(", 1)[1].rsplit(") ", 1)
            state, _parent, its_group = rest.split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(name)
    return found


def test_a_killed_session_is_told(tmp_path: Path) -> None:
    play = Play(tmp_path / "play")
    command, environment = play.command([{"slow_step": {"seconds": 60}}])
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout
        output = ""
        for line in run.stdout:
            output += line
            if LINE.search(output):
                break
        (session,) = play.temporary.glob("airgap-*")
        os.killpg(int((session / "pid").read_text()), signal.SIGKILL)
        output += run.stdout.read()
    assert run.returncode == 2
    assert "The module ended on localhost without a result" in output
    assert not play.left()
