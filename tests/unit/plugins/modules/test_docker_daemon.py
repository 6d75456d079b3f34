# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a host whose systemctl, docker and dockerd are small scripts that obey daemon.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.airgap.inference.plugins.modules import docker_daemon

PROGRAMS = {
    "systemctl": """
echo "$*" >> calls
case "$1" in
    is-active) test -e running ;;
    reload) cp daemon.json in-force ;;
    restart) if grep -q wont-start daemon.json; then rm -f running; exit 1; fi; touch running; cp daemon.json in-force ;;
esac
""",
    "journalctl": """
echo 'docker.service: Failed with result exit-code.'
echo 'failed to start daemon: wont-start is no driver'
""",
    "dockerd": """
for last; do :; done
if grep -q no-such "${last#--config-file=}"; then echo 'no-such: no configuration option' >&2; exit 1; fi
""",
    "docker": """
test -e running || exit 1
restore=false; grep -Eq '"live-restore": ?true' in-force && restore=true
echo '{"ServerVersion": "26.1.5", "DockerRootDir": "'$PWD/docker'", "LiveRestoreEnabled": '$restore',
 "LoggingDriver": "json-file", "CDISpecDirs": ["/etc/cdi"], "Containers": 1, "ContainersRunning": 1, "Images": 1}' | tr -d '\\n'
""",
}


class Machine:
    """A folder that stands for a host."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        self.configuration = root / "daemon.json"
        (root / "bin").mkdir()
        for name, script in PROGRAMS.items():
            program = root / "bin" / name
            program.write_text(f"#!/bin/sh\ncd {root}\n{script}", encoding="utf-8")
            program.chmod(0o755)
        (root / "in-force").write_text("{}", encoding="utf-8")
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        monkeypatch.setattr(docker_daemon, "CONFIGURATION", str(self.configuration))
        monkeypatch.setattr(docker_daemon, "CERTIFICATES", str(root / "certs.d"))

    def starts(self, text: str) -> None:
        """A daemon runs with this configuration."""
        self.configuration.write_text(text, encoding="utf-8")
        (self.root / "in-force").write_text(text, encoding="utf-8")
        (self.root / "running").touch()

    def call(self, check: bool = False, **arguments: Any) -> dict[str, Any]:
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            docker_daemon.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result

    def calls(self) -> list[str]:
        """What was asked of systemctl that changes something."""
        path = self.root / "calls"
        asked = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [call.split()[0] for call in asked if not call.startswith("is-active")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


def test_check_run_check_run(machine: Machine) -> None:
    machine.starts('{"bip": "10.0.0.1/24"}')
    (machine.root / "ca.pem").write_text("CA\n", encoding="utf-8")
    drop_in = machine.root / "docker.service.d/airgap.conf"
    arguments: dict[str, Any] = {
        "options": {"live-restore": True},
        "files": [{"path": str(drop_in), "content": "[Service]\n"}],
        "registry": "depot.example.org:5000",
        "registry_ca_path": str(machine.root / "ca.pem"),
    }
    foretold = machine.call(check=True, **arguments)
    assert (foretold["changed"], foretold["restarted"], machine.calls()) == (True, True, [])
    assert not drop_in.exists()
    done = machine.call(**arguments)
    assert {name: done[name] for name in foretold} == foretold
    # Containers run, so live-restore comes first.
    assert machine.calls() == ["reload", "daemon-reload", "reset-failed", "restart"]
    assert json.loads(machine.configuration.read_text()) == {"bip": "10.0.0.1/24", "live-restore": True}
    certificate = machine.root / "certs.d/depot.example.org:5000/ca.crt"
    assert certificate.read_text() == "CA\n"
    assert certificate.stat().st_mode & 0o777 == 0o644
    for check in (True, False):
        again = machine.call(check=check, **arguments)
        assert (again["changed"], again["changed_files"], again["restarted"], again["diff"]) == (False, [], False, [])
    assert machine.calls() == []


def test_the_hosts_own_way_of_writing_is_left_alone(machine: Machine) -> None:
    text = '{"live-restore":true,\n\n"log-driver":"json-file"}'
    machine.starts(text)
    assert machine.call(options={"live-restore": True})["changed"] is False
    assert machine.configuration.read_text() == text


def test_a_new_ca_needs_no_restart(machine: Machine) -> None:
    machine.starts("{}")
    (machine.root / "ca.pem").write_text("CA\n", encoding="utf-8")
    result = machine.call(registry="depot:5000", registry_ca_path=str(machine.root / "ca.pem"))
    assert (result["changed"], result["restarted"], machine.calls()) == (True, False, [])


def test_a_ca_may_be_missing_in_check_mode_alone(machine: Machine) -> None:
    arguments = {"registry": "depot:5000", "registry_ca_path": str(machine.root / "absent.pem")}
    assert "failed" not in machine.call(check=True, **arguments)
    result = machine.call(**arguments)
    assert f"There is no {machine.root}/absent.pem on this host" in result["msg"]
    assert not machine.configuration.exists()


def test_a_daemon_that_does_not_run_is_left_so(machine: Machine) -> None:
    result = machine.call(options={"live-restore": True})
    assert (result["changed"], result["restarted"], machine.calls()) == (True, False, [])


def test_a_restart_that_was_missed_is_made_up_for(machine: Machine) -> None:
    machine.starts("{}")
    machine.configuration.write_text('{"live-restore": true}', encoding="utf-8")
    result = machine.call(options={"live-restore": True})
    assert (result["changed"], result["changed_files"], result["restarted"]) == (True, [], True)
    assert result["restart_reasons"] == ["live-restore is False, and shall be True"]
    assert machine.call(options={"live-restore": True})["changed"] is False


def test_what_does_not_start_is_taken_back(machine: Machine) -> None:
    machine.starts('{"live-restore": true}')
    new = machine.root / "new.d/airgap.conf"
    result = machine.call(
        options={"storage-driver": "wont-start"}, files=[{"path": str(new), "content": "[Service]\n"}]
    )
    assert result["failed"] is True
    assert "the former state was put back, and Docker runs with it" in result["msg"]
    assert "failed to start daemon: wont-start is no driver" in result["msg"]
    assert machine.configuration.read_text() == '{"live-restore": true}'
    assert not new.exists()
    assert (machine.root / "running").exists()


def test_what_docker_refuses_is_not_written(machine: Machine) -> None:
    machine.starts("{}")
    result = machine.call(options={"no-such": 1})
    assert "is not valid, so nothing was changed" in result["msg"]
    assert (machine.configuration.read_text(), machine.calls()) == ("{}", [])


def test_a_broken_file_and_a_used_data_root_are_refused(machine: Machine) -> None:
    machine.starts("{")
    for check in (True, False):
        assert "is not valid JSON" in machine.call(check=check)["msg"]
    machine.starts("{}")
    for check in (True, False):
        result = machine.call(check=check, data_root=str(machine.root / "other"))
        assert f"works in {machine.root}/docker (containers: 1, images: 1)" in result["msg"]
    assert (machine.configuration.read_text(), machine.calls()) == ("{}", [])


SECRET = "http://user:hunter2-hunter2@proxy.example.org:3128"
QUIET = '# For the daemon.\nHTTPS_PROXY="http://user:hunter2-hunter2@proxy.example.org:3128"\nA="wont-\\"start"\n'


def secretive(machine: Machine, text: str = QUIET, **more: Any) -> tuple[Path, dict[str, Any]]:
    """A file that nobody may read, and the arguments that ask for it."""
    path = machine.root / "docker/airgap.env"
    unit = {"path": str(machine.root / "d/airgap.conf"), "content": f"[Service]\nEnvironmentFile={path}\n"}
    return path, {"files": [unit], "secret_files": {str(path): text}, "_ansible_diff": True, **more}


def test_a_secret_file_is_told_by_its_path_alone(machine: Machine) -> None:
    machine.starts("{}")
    path, arguments = secretive(machine)
    for check in (True, False):
        result = machine.call(check=check, **arguments)
        assert (result["changed"], result["restarted"]) == (True, True)
        assert str(path) in result["changed_files"]
        assert "hunter2" not in json.dumps(result)
        # The unit beside it is shown.
        assert [part["after"] for part in result["diff"]] == [
            "{}\n",
            "(not shown, as it shall be)\n",
            f"[Service]\nEnvironmentFile={path}\n",
        ][-len(result["diff"]) :]
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == (QUIET, 0o600)
    assert machine.call(**arguments)["changed"] is False
    changed = machine.call(**secretive(machine, QUIET.replace("hunter2-hunter2", "correct-horse"))[1])
    assert (changed["changed_files"], changed["restarted"]) == ([str(path)], True)
    assert "hunter2" not in json.dumps(changed) and "correct-horse" not in json.dumps(changed)


def test_the_systems_log_has_no_secret(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        docker_daemon.AnsibleModule, "log", lambda self, message, log_args=None: told.append(f"{message} {log_args}")
    )
    # No URL, whose passwords Ansible would find by itself; two lines, which it would not find among `files`.
    machine.call(**secretive(machine, 'TOKEN="hunter2"\nB="2"\n')[1])
    assert "airgap.conf" in told[0] and "hunter2" not in " ".join(told)


def test_nobody_reads_a_secret_while_it_is_put_in_place(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path, arguments = secretive(machine)
    modes: list[int] = []
    monkeypatch.setattr(
        docker_daemon.AnsibleModule,
        "set_mode_if_different",
        lambda self, name, mode, changed: (
            modes.append(Path(name).stat().st_mode & 0o777) if name == str(path) else None
        ),
    )
    machine.call(**arguments)
    path.write_text("A=1\n", encoding="utf-8")
    path.chmod(0o644)
    machine.call(**arguments)
    assert modes == [0o600, 0o600]


def test_a_secret_that_was_opened_is_closed_without_a_restart(machine: Machine) -> None:
    machine.starts("{}")
    path, arguments = secretive(machine)
    machine.call(**arguments)
    path.chmod(0o644)
    machine.calls()
    for check, mode in ((True, 0o644), (False, 0o600)):
        result = machine.call(check=check, **arguments)
        assert (result["changed"], result["changed_files"], result["restarted"]) == (True, [str(path)], False)
        assert path.stat().st_mode & 0o777 == mode
    assert (machine.calls(), machine.call(**arguments)["changed"]) == ([], False)


def test_a_daemon_that_quotes_its_environment_tells_no_secret(machine: Machine) -> None:
    machine.starts("{}")
    journal = machine.root / "bin/journalctl"
    journal.write_text(f"#!/bin/sh\necho 'failed to start daemon: {SECRET} has hunter2-hunter2'\n", encoding="utf-8")
    path, arguments = secretive(machine)
    result = machine.call(options={"storage-driver": "wont-start"}, **arguments)
    assert "failed to start daemon: ******** has ********" in result["msg"]
    assert "hunter2" not in json.dumps(result)
    assert not path.exists()
