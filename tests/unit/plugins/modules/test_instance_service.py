# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances on a host whose systemd is simulated: what is started, stopped and asked, and what a failure says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.airgap.inference.plugins.module_utils import (
    _await_answer,
    _docker,
    _instance_service,
    _journal,
)
from ansible_collections.airgap.inference.plugins.module_utils._command import Result
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.modules import instance_service

TRACEBACK = """\
Waiting until the engine answers
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "serve.py", line 1, in main
(APIServer pid=1) ValueError: max_model_len is too large
The engine ended after 3 s"""


class Systemd:
    """What systemctl and journalctl would do; instances named in `broken` do not start."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.dependency = False
        # The GPUs of running containers; those that are not here cannot be asked.
        self.gpus: dict[str, list[str]] = {}
        # Seconds that the calls may take.
        self.patience: list[int] = []

    def add(self, name: str, active: str = "active", sub: str = "running", enabled: bool = True, **more: str) -> None:
        self.units[name] = {
            "LoadState": "loaded",
            "ActiveState": active,
            "SubState": sub,
            "UnitFileState": "enabled" if enabled else "disabled",
            "NeedDaemonReload": "no",
            "Result": "success",
            "FragmentPath": "",
            "ExecMainStartTimestampMonotonic": "0",
            **more,
        }

    def run(self, argv: list[str], **_more: Any) -> Result:
        words = [word for word in argv if not word.startswith("--")]
        if words[0] == "timeout":
            self.patience.append(int(words[1]))
            words = words[2:]
        names = [word[len("airgap-inference@") : -len(".service")] for word in words if word.startswith("airgap-")]
        verb = words[1]
        if verb == "list-units":
            listed = "\n".join(f"airgap-inference@{name}.service loaded active running x" for name in self.units)
            return Result(0, listed.encode(), "")
        if verb == "show":
            return Result(0, "\n\n".join(map(self.shown, names)).encode(), "")
        self.calls.append(" ".join([verb, *names]))
        for name in names:
            getattr(self, verb.replace("-", "_"))(name)
        failed = verb == "start" and any(self.units[name]["ActiveState"] != "active" for name in names)
        return Result(1, b"", "A dependency job failed.") if failed else Result(0, b"", "")

    def container(self, name: str) -> dict[str, Any]:
        instance = name[len("airgap-") :]
        if instance not in self.gpus:
            raise AirgapError(f"There is no container {name} on this host")
        requests = [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={gpu}" for gpu in self.gpus[instance]]}]
        return {"HostConfig": {"DeviceRequests": requests if self.gpus[instance] else None}}

    def shown(self, name: str) -> str:
        unknown = {"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": ""}
        values = {"Id": f"airgap-inference@{name}.service", **self.units.get(name, unknown)}
        return "\n".join(f"{key}={value}" for key, value in values.items())

    def start(self, name: str) -> None:
        state = ("activating", "auto-restart", "exit-code") if name in self.broken else ("active", "running", "success")
        self.units[name].update(zip(("ActiveState", "SubState", "Result"), state))

    def stop(self, name: str) -> None:
        self.units[name].update(ActiveState="inactive", SubState="dead")

    def enable(self, name: str) -> None:
        self.add(name, "inactive", "dead") if name not in self.units else None
        self.units[name]["UnitFileState"] = "enabled"

    def disable(self, name: str) -> None:
        self.units[name]["UnitFileState"] = "disabled"

    def reset_failed(self, name: str) -> None:
        pass


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Systemd:
    made = Systemd()
    monkeypatch.setattr(_instance_service, "run", made.run)
    monkeypatch.setattr(_docker, "inspect_container", made.container)
    monkeypatch.setattr(_instance_service.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(_instance_service.glob, "glob", lambda pattern: [])
    monkeypatch.setattr(_journal, "first_attempt", lambda unit, since: "" if made.dependency else TRACEBACK)
    monkeypatch.setattr(_journal, "last_lines", lambda unit, lines: "a line\nthe last line")
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Why instances would not answer, by name; what was asked is added as an empty reason."""
    reasons: dict[str, str] = {}

    def ask(probe: _await_answer.Probe, timeout: float) -> None:
        assert timeout <= _await_answer.ASK_TIMEOUT
        name = os.path.basename(os.path.dirname(probe.socket))
        if reasons.setdefault(name, ""):
            raise _await_answer.NotYet(reasons[name])

    monkeypatch.setattr(_await_answer, "ask", ask)
    for name in ("chat", "embed", "old", "small-1", "small-2", "small-3"):
        (tmp_path / name).mkdir()
        probe = {"socket": f"/run/airgap-inference/{name}/engine.sock", "path": "/", "body": {}, "expects": "text"}
        (tmp_path / name / "probe.json").write_text(json.dumps(probe))
    return reasons


def run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *instances: tuple[str, bool],
    check: bool = False,
    gpus: dict[str, list[str]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    entries = [
        {
            "name": name,
            "changed": changed,
            "base": "small" if name.startswith("small-") else "",
            "gpus": (gpus or {}).get(name, []),
        }
        for name, changed in instances
    ]
    arguments = {"instances": entries, "directory": str(tmp_path), **more}
    with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        instance_service.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_new_instances_start_together(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = run(capsys, tmp_path, ("chat", True), ("embed", True))
    assert systemd.calls == ["daemon-reload", "enable chat embed", "start chat embed"]
    assert result["changed"] and result["started"] == result["enabled"] == result["asked"] == ["chat", "embed"]
    assert set(asked) == {"chat", "embed"}
    assert result["diff"]["before"] == "chat: inactive (dead), not enabled\nembed: inactive (dead), not enabled\n"
    assert result["diff"]["after"] == "chat: active (running), enabled\nembed: active (running), enabled\n"
    # A second time nothing happens, and all are asked.
    systemd.calls.clear()
    asked.clear()
    result = run(capsys, tmp_path, ("chat", False), ("embed", False))
    assert not result["changed"] and systemd.calls == [] and set(asked) == {"chat", "embed"}


def test_check_mode_says_the_same_and_does_nothing(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("embed")
    systemd.add("gone")
    instances = [("chat", True), ("embed", True), ("old", False)]
    systemd.add("old")
    check = run(capsys, tmp_path, *instances, check=True)
    assert systemd.calls == [] and set(asked) == {"old"}
    real = run(capsys, tmp_path, *instances)
    for key in ("changed", "started", "restarted", "enabled", "removed", "diff"):
        assert check[key] == real[key], key


def test_everything_that_stops_has_stopped_before_anything_starts(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("chat")
    systemd.add("gone")
    result = run(capsys, tmp_path, ("chat", True), ("embed", True))
    stopped, started = systemd.calls.index("stop gone chat"), systemd.calls.index("start embed chat")
    assert stopped < started and "disable gone" in systemd.calls
    assert (result["removed"], result["restarted"], result["started"]) == (["gone"], ["chat"], ["embed"])


def test_others_may_stay(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("chat")
    systemd.add("gone")
    assert not run(capsys, tmp_path, ("chat", False), remove_others=False)["changed"]
    systemd.stop("gone")
    systemd.disable("gone")
    # Stopped and disabled is gone.
    assert not run(capsys, tmp_path, ("chat", False))["changed"]


def test_one_that_pauses_after_a_failure_is_started_at_once_and_one_that_starts_is_waited_for(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("chat", "activating", "auto-restart")
    systemd.add("embed", "activating", "start-post")
    result = run(capsys, tmp_path, ("chat", False), ("embed", False))
    assert systemd.calls == ["stop chat", "reset-failed chat", "start chat embed"]
    assert result["restarted"] == ["chat"] and result["started"] == []


def test_one_that_was_described_anew_since_its_start_is_restarted(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = int((time.clock_gettime(time.CLOCK_MONOTONIC) - 60) * 1e6)
    compose = tmp_path / "chat/compose.yml"
    compose.write_text("")
    systemd.add("chat", ExecMainStartTimestampMonotonic=str(before))
    assert run(capsys, tmp_path, ("chat", False))["restarted"] == ["chat"]
    for age in (3600, -3600):
        os.utime(compose, (time.time() - age, time.time() - age))
        assert not run(capsys, tmp_path, ("chat", False))["changed"], age


def test_a_unit_that_systemd_has_not_read_is_read_and_nothing_else(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("chat", NeedDaemonReload="yes")
    assert not run(capsys, tmp_path, ("chat", False))["changed"]
    assert systemd.calls == ["daemon-reload"]


def test_a_failure_has_the_engines_words_and_stops_no_other(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("old")
    asked["old"] = "nobody listens"
    systemd.broken = {"chat"}
    result = run(capsys, tmp_path, ("chat", True), ("embed", True), ("old", False), journal_lines=2)
    assert result["failed"] and result["changed"] and result["failed_instances"] == ["chat", "old"]
    chat, old = result["msg"].split("\n\n")
    assert chat == (
        "The instance chat did not start: its unit is activating (auto-restart, result exit-code). The errors that it gave:\n"
        "ValueError: max_model_len is too large\nIts last lines in the journal:\n"
        "(APIServer pid=1) ValueError: max_model_len is too large\nThe engine ended after 3 s\n"
        "All of it: journalctl -u airgap-inference@chat.service"
    )
    assert old.startswith("The instance old runs and does not do what it is for: nobody listens.\nIts last lines")
    assert systemd.units["embed"]["ActiveState"] == "active" and "embed" in asked


def test_where_the_engine_said_nothing_systemctl_did(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.broken, systemd.dependency = {"chat"}, True
    assert run(capsys, tmp_path, ("chat", True))["msg"].endswith("systemctl says: A dependency job failed.")


def test_an_instance_without_a_probe_is_a_fault(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("nobody")
    assert "nobody/probe.json does not say what to ask it" in run(capsys, tmp_path, ("nobody", False))["msg"]


def test_a_host_without_systemd_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(_instance_service.shutil, "which", lambda name: None)
    assert "systemctl is not on this host" in run(capsys, tmp_path, ("chat", False))["msg"]


REPLICAS = (("small-1", True), ("small-2", True), ("small-3", True))


@pytest.mark.parametrize("gpus", [{}, {"small-1": ["0"], "small-2": ["1", "2"], "small-3": ["3"]}])
def test_replicas_are_restarted_in_two_halves(
    systemd: Systemd,
    asked: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    gpus: dict[str, list[str]],
) -> None:
    for name, _changed in REPLICAS:
        systemd.add(name)
        systemd.gpus[name] = gpus.get(name, [])
    systemd.add("chat")
    result = run(capsys, tmp_path, *REPLICAS, ("chat", True), gpus=gpus)
    assert systemd.calls == ["stop small-1 chat", "start small-1 chat", "stop small-2 small-3", "start small-2 small-3"]
    assert sorted(result["restarted"]) == ["chat", "small-1", "small-2", "small-3"]
    assert result["left"] == []


def test_the_second_half_is_left_when_the_first_does_not_start(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, _changed in REPLICAS:
        systemd.add(name)
        systemd.gpus[name] = []
    systemd.broken = {"small-1"}
    result = run(capsys, tmp_path, *REPLICAS)
    assert result["failed"] and result["failed_instances"] == ["small-1"]
    assert systemd.calls == ["stop small-1", "start small-1"]
    assert (result["restarted"], result["left"]) == (["small-1"], ["small-2", "small-3"])
    assert result["msg"].endswith("since other replicas of the same instance did not start: small-2, small-3.")
    assert systemd.units["small-2"]["ActiveState"] == "active" and "small-2" in asked


@pytest.mark.parametrize("held", [{"small-1": ["0"], "small-2": ["1"]}, {"small-1": ["1"]}])
def test_replicas_whose_gpus_change_or_are_not_known_stop_together(
    systemd: Systemd,
    asked: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    held: dict[str, list[str]],
) -> None:
    for name in ("small-1", "small-2"):
        systemd.add(name)
    systemd.gpus = held
    run(capsys, tmp_path, *REPLICAS[:2], gpus={"small-1": ["1"], "small-2": ["2"]})
    assert systemd.calls == ["stop small-1 small-2", "start small-1 small-2"]


def test_one_replica_that_is_new_stops_no_other(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("small-1", "small-2"):
        systemd.add(name)
        systemd.gpus[name] = []
    run(capsys, tmp_path, ("small-1", False), ("small-2", True))
    assert systemd.calls == ["stop small-2", "start small-2"]


def test_one_that_is_busy_and_well_is_no_failure_unless_it_was_started_now(
    systemd: Systemd,
    asked: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    well = {"chat": True, "embed": True, "old": False}
    monkeypatch.setattr(_await_answer, "healthy", lambda probe: well[os.path.basename(os.path.dirname(probe.socket))])
    for name in well:
        systemd.add(name)
        asked[name] = "it answers /v1/completions with 503"
    result = run(capsys, tmp_path, ("chat", False), remove_others=False)
    assert not result.get("failed") and not result["changed"]
    assert (result["busy"], result["asked"]) == (["chat"], [])
    assert "The instance chat was left running and has no time for a question" in str(result["warnings"])
    # One that was started now has nothing else to do, and one that is not well has another reason.
    result = run(capsys, tmp_path, ("chat", False), ("embed", True), ("old", False))
    assert result["failed_instances"] == ["embed", "old"]


def test_a_long_drain_is_waited_for(
    systemd: Systemd, asked: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    systemd.add("chat", TimeoutStopUSec="1h 2min 3s")
    run(capsys, tmp_path, ("chat", True), timeout=900)
    assert set(systemd.patience) == {900 + 3723 + 300}


@pytest.mark.parametrize(
    ("shown", "seconds"),
    [("", 0), ("infinity", 86400), ("1min 45s", 105), ("500ms", 0), ("1h 1.5s", 3601), ("2d", 172800)],
)
def test_a_time_as_systemd_shows_it(shown: str, seconds: int) -> None:
    (unit,) = _instance_service.parse(f"Id=airgap-inference@chat.service\nTimeoutStopUSec={shown}")
    assert unit.stop_timeout == seconds
