# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are merged beside what a host has, a data root in use is never left, a restart has its reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _docker_options, _docker_service
from ansible_collections.airgap.inference.plugins.module_utils._docker_options import DATA_ROOT, Daemon
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

# The part of `docker info` that is read, as Docker 26.1.5 and 29.0.0 write it.
INFO: dict[str, Any] = {
    "ServerVersion": "26.1.5+dfsg1",
    "DockerRootDir": "/var/lib/docker",
    "LoggingDriver": "json-file",
    "LiveRestoreEnabled": True,
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "Containers": 2,
    "ContainersRunning": 1,
    "Images": 3,
}
OWN = {"live-restore": True, "log-driver": "json-file", "features": {"cdi": True}}


def merged(present: dict[str, Any], options: dict[str, Any], stated: str = "") -> dict[str, Any]:
    return _docker_options.wanted(present, options, _docker_options.root(present), stated)


def test_what_is_not_named_stays() -> None:
    present = {"bip": "10.0.0.1/24", "features": {"buildkit": True}, "live-restore": False}
    assert merged(present, OWN) == {
        "bip": "10.0.0.1/24",
        "features": {"buildkit": True, "cdi": True},
        "live-restore": True,
        "log-driver": "json-file",
    }
    assert present["features"] == {"buildkit": True}


def test_options_of_one_log_driver_stay_with_it() -> None:
    present = {"log-opts": {"labels": "site", "max-size": "1m"}}
    assert merged(present, {"log-driver": "json-file", "log-opts": {"max-size": "50m"}})["log-opts"] == {
        "labels": "site",
        "max-size": "50m",
    }
    syslog = {"log-driver": "syslog", "log-opts": {"syslog-address": "udp://192.0.2.1:514"}}
    assert merged(syslog, {"log-driver": "json-file", "log-opts": {"max-size": "50m"}})["log-opts"] == {
        "max-size": "50m"
    }
    assert "log-opts" not in merged(syslog, {"log-driver": "journald"})


def test_a_new_data_root_takes_the_images_along() -> None:
    assert merged({}, OWN, "/data/docker") == {
        **OWN,
        "data-root": "/data/docker",
        "features": {"cdi": True, "containerd-snapshotter": False},
    }
    stated = {"features": {"containerd-snapshotter": True}}
    assert merged({}, stated, "/data/docker")["features"] == {"containerd-snapshotter": True}
    # A daemon that works there already keeps the store that it has.
    assert merged({"data-root": "/data/docker"}, OWN, "/data/docker") == {**OWN, "data-root": "/data/docker"}
    assert "data-root" not in merged({}, OWN, DATA_ROOT)


@pytest.mark.parametrize("text", [None, "", " \n", "\ufeff{}"], ids=["absent", "empty", "blank", "mark"])
def test_a_host_may_have_no_configuration(text: str | None) -> None:
    assert _docker_options.parse(text, "daemon.json") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [("{\n 'a': 1}", "line 2 column 2"), ("[]", "JSON list"), ('{"a": ', "is not valid JSON")],
    ids=["quotes", "list", "cut"],
)
def test_a_broken_configuration_is_refused(text: str, words: str) -> None:
    with pytest.raises(AirgapError, match=words) as refused:
        _docker_options.parse(text, "/etc/docker/daemon.json")
    assert "/etc/docker/daemon.json" in str(refused.value)
    assert "nothing was changed" in str(refused.value)


def test_a_data_root_is_stated_once_and_absolute() -> None:
    assert _docker_options.stated_root({}, "") == ""
    assert _docker_options.stated_root({}, "/data/docker/") == "/data/docker"
    assert _docker_options.stated_root({"data-root": "/data/docker"}, "") == "/data/docker"
    assert _docker_options.stated_root({"data-root": "/data/docker"}, "/data/docker/") == "/data/docker"
    with pytest.raises(AirgapError, match=r"twice: /a .* and /b"):
        _docker_options.stated_root({"data-root": "/b"}, "/a")
    with pytest.raises(AirgapError, match="absolute path"):
        _docker_options.stated_root({}, "data/docker")


def test_a_data_root_in_use_is_never_left(tmp_path: Path) -> None:
    stated, full = str(tmp_path / "docker"), {"containers": 2, "images": 0, "volumes": 1}
    refusal = _docker_options.root_refusal("/var/lib/docker", stated, full)
    assert refusal is not None
    assert "works in /var/lib/docker (containers: 2, volumes: 1)" in refusal
    assert f"rsync -aHAX --numeric-ids /var/lib/docker/ {stated}/" in refusal
    empty = dict.fromkeys(full, 0)
    assert _docker_options.root_refusal("/var/lib/docker", stated, empty) is None
    assert _docker_options.root_refusal(stated, stated, full) is None
    assert _docker_options.root_refusal("/var/lib/docker", "", full) is None
    nowhere = _docker_options.root_refusal("/var/lib/docker", str(tmp_path / "no/such/docker"), empty)
    assert nowhere is not None and f"no directory {tmp_path}/no/such" in nowhere


def test_a_link_is_the_directory_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "docker").symlink_to(tmp_path / "data")
    link, target = str(tmp_path / "docker"), str(tmp_path / "data")
    assert _docker_options.root_refusal(target, link, {"images": 1}) is None
    daemon = _docker_options.described({**INFO, "DockerRootDir": target})
    assert _docker_options.restart_reasons(daemon, {"data-root": link}) == []


def test_a_fresh_data_root_is_empty_and_a_used_one_is_counted(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert _docker_options.contents(root + "/absent", None) == {"containers": 0, "images": 0, "volumes": 0}
    for part in ("containers", "image/overlay2/imagedb/content/sha256", "volumes"):
        (tmp_path / part).mkdir(parents=True)
    for name in ("image/overlay2/repositories.json", "volumes/metadata.db"):
        (tmp_path / name).write_text("")
    assert _docker_options.contents(root, None) == {"containers": 0, "images": 0, "volumes": 0}
    for part in ("containers/ab", "image/overlay2/imagedb/content/sha256/cd", "volumes/one", "volumes/two"):
        (tmp_path / part).mkdir()
    assert _docker_options.contents(root, None) == {"containers": 1, "images": 1, "volumes": 2}
    # Images of containerd's store are nowhere below: the daemon knows them.
    daemon = _docker_options.described({**INFO, "DockerRootDir": root})
    assert _docker_options.contents(root, daemon) == {"containers": 2, "images": 3, "volumes": 2}


def test_a_daemon_without_a_stated_root_says_where_it_works() -> None:
    daemon = _docker_options.described({**INFO, "DockerRootDir": "/opt/docker"})
    assert _docker_options.root({}, daemon) == "/opt/docker"
    assert _docker_options.root({"data-root": "/data/docker/"}, daemon) == "/data/docker"
    assert _docker_options.root({}) == DATA_ROOT


def test_images_outside_the_data_root_are_told() -> None:
    snapshotter = [["driver-type", "io.containerd.snapshotter.v1"]]
    daemon = _docker_options.described({**INFO, "DriverStatus": snapshotter})
    assert "/var/lib/containerd" in (_docker_options.store_remark(daemon, {}, "/data/docker") or "")
    asked = {"features": {"containerd-snapshotter": True}}
    assert _docker_options.store_remark(daemon, asked, "/data/docker") is None
    assert _docker_options.store_remark(daemon, {}, "") is None
    assert _docker_options.store_remark(_docker_options.described(INFO), {}, "/data/docker") is None


def test_a_silent_daemon_has_dockers_defaults() -> None:
    assert _docker_options.described({}) == Daemon("", DATA_ROOT, "json-file", False, False, False, 0, 0, 0)


@pytest.mark.parametrize(
    ("info", "reasons"),
    [
        ({}, []),
        ({"LiveRestoreEnabled": False}, ["live-restore is False, and shall be True"]),
        ({"LoggingDriver": "journald"}, ["log-driver is journald, and shall be json-file"]),
        ({"CDISpecDirs": None}, ["features.cdi is False, and shall be True"]),
        # It could not, however often it is restarted.
        ({"CDISpecDirs": None, "ServerVersion": "20.10.24+dfsg1"}, []),
        # From the command line: not in the configuration, and not to be changed by a restart.
        ({"DockerRootDir": "/opt/docker"}, []),
    ],
    ids=["same", "live-restore", "log-driver", "cdi", "too-old", "command-line"],
)
def test_a_daemon_that_runs_otherwise_is_restarted(info: dict[str, Any], reasons: list[str]) -> None:
    assert _docker_options.restart_reasons(_docker_options.described({**INFO, **info}), OWN) == reasons


def test_the_reason_is_found_in_the_log() -> None:
    log = """Starting docker.service - Docker Application Container Engine...
time="2026-11-21T08:27:17Z" level=info msg="Starting up"
time="2026-11-21T08:27:17Z" level=warning msg="unable to disable IPv6 router advertisement"
time="2026-11-21T08:27:17Z" level=error msg="Failed to GetDriver graph" driver=nope
failed to start daemon: error initializing graphdriver: driver not supported: nope
docker.service: Main process exited, code=exited, status=1/FAILURE
"""
    assert _docker_service.reason(log).splitlines() == log.splitlines()[3:5]
    assert _docker_service.reason("docker.service: Failed with result 'exit-code'.") == ""
