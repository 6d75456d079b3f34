# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker's daemon shall be told, beside what a host already tells it; decided here, changed elsewhere."""

from __future__ import annotations

import json
import os
from typing import Any, Mapping, NamedTuple

from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

CONFIGURATION = "/etc/docker/daemon.json"
DATA_ROOT = "/var/lib/docker"
LOG_DRIVER = "json-file"
FIRST_WITH_CDI = 25


class Daemon(NamedTuple):
    """A daemon that runs, as it describes itself."""

    version: str
    data_root: str
    log_driver: str
    live_restore: bool
    reads_cdi: bool
    containerd_store: bool
    containers: int
    running: int
    images: int


def described(info: Mapping[str, Any]) -> Daemon:
    """A daemon from its answer to ``docker info``."""
    status = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
    return Daemon(
        version=str(info.get("ServerVersion") or ""),
        data_root=str(info.get("DockerRootDir") or DATA_ROOT),
        log_driver=str(info.get("LoggingDriver") or LOG_DRIVER),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        reads_cdi=bool(info.get("CDISpecDirs")),
        # So it says in Docker 29, where this store is the default of a new host: docker/cli issue 6645.
        containerd_store=status.get("driver-type") == "io.containerd.snapshotter.v1",
        containers=int(info.get("Containers") or 0),
        running=int(info.get("ContainersRunning") or 0),
        images=int(info.get("Images") or 0),
    )


def parse(text: str | None, path: str) -> dict[str, Any]:
    """The options that stand in a configuration; what is broken is refused, since writing it anew would lose it."""
    plain = (text or "").lstrip("\ufeff").strip()
    if not plain:
        return {}
    try:
        options = json.loads(plain)
    except ValueError as error:
        raise AirgapError(
            f"{path} is not valid JSON ({error}), so nothing was changed: Docker would not start with it, and whoever wrote it "
            f"wanted something. Correct it, or move it away, and run again."
        ) from error
    if not isinstance(options, dict):
        raise AirgapError(
            f"{path} holds a JSON {type(options).__name__} where Docker wants an object of options, so nothing was changed. "
            "Correct it, or move it away, and run again."
        )
    return options


def wanted(present: Mapping[str, Any], options: Mapping[str, Any], current: str, stated: str) -> dict[str, Any]:
    """The options as they shall be: those that are stated win, all others stay. A new data root is told by both roots."""
    result = _merged(present, options)
    if result.get("log-driver", LOG_DRIVER) != present.get("log-driver", LOG_DRIVER):
        # Options of one log driver are faults to another: with them no container would start.
        result.pop("log-opts", None)
        if options.get("log-opts"):
            result["log-opts"] = dict(options["log-opts"])
    if stated and not _same(stated, current):
        result["data-root"] = stated
        # With containerd's store, images and layers stay in /var/lib/containerd, whatever the data root is:
        # docs.docker.com, "Docker daemon configuration overview", daemon data directory.
        result["features"] = {"containerd-snapshotter": False, **result.get("features", {})}
    return result


def stated_root(options: Mapping[str, Any], data_root: str) -> str:
    """The data root that is asked for, by its own name or among the options; empty where none is."""
    among = str(options.get("data-root") or "")
    if among and data_root and root(options) != os.path.normpath(data_root):
        raise AirgapError(
            f"The data root is stated twice: {data_root} (container_runtime_data_root) and {among} "
            "(data-root in container_runtime_daemon_options). Leave one of them out."
        )
    stated = among or data_root
    if stated and not os.path.isabs(stated):
        raise AirgapError(f"The data root is {stated} (container_runtime_data_root); give an absolute path.")
    return os.path.normpath(stated) if stated else ""


def root(options: Mapping[str, Any], daemon: Daemon | None = None) -> str:
    """Where a daemon with these options keeps its data; where none states it, one that runs knows."""
    return os.path.normpath(str(options.get("data-root") or (daemon.data_root if daemon else DATA_ROOT)))


def contents(data_root: str, daemon: Daemon | None) -> dict[str, int]:
    """How much a data root holds that would be lost from sight; a daemon that runs knows it better than its folder."""
    if daemon is not None and _same(daemon.data_root, data_root):
        containers, images = daemon.containers, daemon.images
    else:
        containers = len(_names(data_root, "containers"))
        images = sum(
            len(_names(data_root, "image", driver, "imagedb", "content", "sha256"))
            for driver in _names(data_root, "image")
        )
    volumes = [name for name in _names(data_root, "volumes") if os.path.isdir(os.path.join(data_root, "volumes", name))]
    return {"containers": containers, "images": images, "volumes": len(volumes)}


def root_refusal(current: str, stated: str, holds: Mapping[str, int]) -> str | None:
    """Why the data root cannot become this one, or None."""
    if not stated or _same(stated, current):
        return None
    if not os.path.isdir(os.path.dirname(stated)):
        return (
            f"The data root shall be {stated} (container_runtime_data_root), but there is no directory "
            f"{os.path.dirname(stated)} on this host. Mount the disk first, or correct the path; nothing was changed."
        )
    if not any(holds.values()):
        return None
    held = ", ".join(f"{name}: {number}" for name, number in holds.items() if number)
    return (
        f"The data root shall be {stated} (container_runtime_data_root), but Docker on this host works in {current} ({held}) and "
        "would no longer see what is there. Nothing was changed. To take it along: stop all containers, then "
        f"'systemctl stop docker.socket docker.service', 'rsync -aHAX --numeric-ids {current}/ {stated}/', "
        f"'mv {current} {current}.old', and run again. To begin afresh: 'docker system prune --all --volumes' and run again. "
        f"To stay: state {current}, or nothing."
    )


def store_remark(daemon: Daemon, options: Mapping[str, Any], stated: str) -> str | None:
    """That a data root which is asked for does not hold the images, unless it was asked for so."""
    if not stated or not daemon.containerd_store or (options.get("features") or {}).get("containerd-snapshotter"):
        return None
    return (
        f"Docker {daemon.version} keeps its images in containerd's store (by default /var/lib/containerd), not in {stated} "
        "(container_runtime_data_root). To have them there, set features.containerd-snapshotter to false in "
        "container_runtime_daemon_options: images and containers of the present store are not seen any more then."
    )


def restart_reasons(daemon: Daemon, options: Mapping[str, Any]) -> list[str]:
    """In what a daemon that runs differs from its configuration, as after a run that was cut off before the restart.

    Only what the configuration states: the rest may come from the daemon's command line, and a restart would not change it.
    """
    seen: dict[str, Any] = {
        "data-root": os.path.realpath(daemon.data_root),
        "log-driver": daemon.log_driver,
        "live-restore": daemon.live_restore,
    }
    shall = {name: options[name] for name in seen if name in options}
    if "data-root" in shall:
        shall["data-root"] = os.path.realpath(root(options))
    # Older versions cannot read CDI; no restart would teach it to them.
    if (options.get("features") or {}).get("cdi") and _major(daemon.version) >= FIRST_WITH_CDI:
        seen["features.cdi"], shall["features.cdi"] = daemon.reads_cdi, True
    return [f"{name} is {seen[name]}, and shall be {shall[name]}" for name in shall if seen[name] != shall[name]]


def rendered(options: Mapping[str, Any]) -> str:
    """The configuration's text."""
    return json.dumps(options, indent=2, sort_keys=True) + "\n"


def _same(one: str, other: str) -> bool:
    """Docker follows links before it says where it works."""
    return os.path.realpath(one) == os.path.realpath(other)


def _major(version: str) -> int:
    """26 of 26.1.5+dfsg1."""
    number = version.split(".", 1)[0]
    return int(number) if number.isdecimal() else 0


def _merged(present: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(present)
    for name, value in stated.items():
        before = result.get(name)
        result[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _names(*parts: str) -> list[str]:
    try:
        return os.listdir(os.path.join(*parts))
    except (FileNotFoundError, NotADirectoryError):
        return []
