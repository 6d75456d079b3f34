# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try an instance from the bundle alone: its own Compose project, without a network, before the bundle is sealed.

The project is the one that its host will have. What must differ here (names, the image's tag, host paths, GPUs that this
machine lacks) stands in a second Compose file that is laid over it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import shutil
import time
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.airgap.inference.plugins.module_utils import (
    _await_answer,
    _container_seal,
    _docker,
    _engine_log,
    _gpu,
    _http,
    _network_watch,
)
from ansible_collections.airgap.inference.plugins.module_utils._command import require, run
from ansible_collections.airgap.inference.plugins.module_utils._digest import sha256_bytes
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._instance_types import IMAGE_ENTRYPOINT

# The services in the role's Compose project, and where the second finds its files.
SERVICE = "engine"
RELAY = "relay"
RELAY_CONFIGURATION = "/etc/airgap/relay.conf"
RELAY_SOCKETS = "/run/engine"
SOCKET = "engine.sock"
# What the kernel takes as the path of a Unix socket.
MAX_SOCKET_PATH = 107
# One probe's time: the first token of a large model on a CPU takes long.
PROBE_TIMEOUT = 120
STOP_TIMEOUT = 30
# For how long an engine that tried to reach a network is watched on.
AFTER_ATTEMPT = 20


class Relay(NamedTuple):
    """What stands between the socket and an engine that listens on a port."""

    image: str
    digest: str
    configuration: str


class Case(NamedTuple):
    """One instance, and what its bundle holds for it."""

    plan: Mapping[str, Any]
    project: str
    image: str
    digest: str
    # The digests of all its models, by name.
    models: Mapping[str, str]
    relay: Relay | None = None

    @property
    def name(self) -> str:
        return str(self.plan["name"])

    @property
    def base(self) -> str:
        """As the person named it; a replica has a number besides."""
        return str(self.plan["base"])


class Stage(NamedTuple):
    """Where instances are tried, and how."""

    bundle: str
    cache: str
    compose: Sequence[str]
    level: str
    timeout: int

    @property
    def mark(self) -> str:
        """Tells this staging machine's work from that of another cache directory."""
        return sha256_bytes(os.path.realpath(self.cache).encode())[:8]

    def directory(self, case: Case) -> str:
        return os.path.join(self.cache, "rehearsal", case.name)

    def container(self, case: Case) -> str:
        # No instance's name has an underscore: this is never the container of an instance that serves.
        return f"airgap-rehearsal_{case.name}_{self.mark}"

    def relay(self, case: Case) -> str:
        return f"{self.container(case)}_relay"

    @property
    def repository(self) -> str:
        return f"airgap-rehearsal/{self.mark}"

    def tag(self, digest: str) -> str:
        return f"{self.repository}:{digest.partition(':')[2]}"


class Level(NamedTuple):
    """How far an instance is tried, why no further, and with how many GPUs."""

    name: str
    reason: str = ""
    gpus: int = 0


def choose_level(plan: Mapping[str, Any], image: str, wished: str, gpu_shortage: str) -> Level:
    """As far as this machine can. The shortage says why it has not the GPUs that the instance asks for, if so."""
    rehearsal = plan["rehearsal"]
    own = rehearsal["level"]
    level = wished if own == "auto" else own
    whose = "bundle_rehearsal_level" if own == "auto" else "its rehearsal in airgap_instances"
    gpus = len(plan["gpus"])
    repository = re.sub(r"(@sha256:\w+|:[\w.-]+)\Z", "", image)
    needs_gpus = gpus > 0 and not any(fnmatch.fnmatchcase(repository, each) for each in rehearsal["cpu_images"])
    if level == "none":
        return Level("none", f"{whose} is none")
    if level == "load" and not rehearsal["load"]:
        raise AirgapError(
            f"The instance {plan['name']} cannot be rehearsed as {whose} says: the engine {plan['engine']} has no way to load "
            "without generating. Say generate or none."
        )
    if level == "load":
        return Level("load", f"{whose} is load")
    if level == "auto" and needs_gpus and gpu_shortage:
        if rehearsal["load"]:
            return Level("load", gpu_shortage)
        return Level("none", f"{gpu_shortage}, and the engine {plan['engine']} has no way to load without them")
    return Level("generate", "", gpus if needs_gpus else 0)


def gpu_shortage(needed: int) -> str:
    """Why this machine cannot give an engine so many GPUs, or nothing."""
    try:
        have = len(_gpu.read(_gpu.ask("nvidia-smi", 60))["gpus"])
    except AirgapError:
        have = 0
    if have < needed:
        return f"the instance asks for {needed} GPU{'' if needed == 1 else 's'}, and the staging machine has {have}"
    # Engines before 25 leave the field out.
    said = run(["docker", "info", "--format", "{{json .}}"])
    directories = (json.loads(said.stdout).get("CDISpecDirs") if said.rc == 0 else None) or []
    if any(_names_gpus(directory) for directory in directories):
        return ""
    return "Docker on the staging machine knows no CDI names of GPUs (nvidia-ctk cdi generate makes them)"


def key(case: Case, level: Level) -> str:
    """What a success is worth for: the images, the models, the project and the level. Host paths do not matter."""
    asked = case.plan["rehearsal"]["load"] if level.name == "load" else case.plan["probe"]
    told = case.plan["rehearsal"].get("help")
    parts = [case.digest, case.models, case.project, case.relay, level.name, asked, *([told] if told else [])]
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def overlay(case: Case, stage: Stage, level: Level) -> str:
    """The second Compose file."""
    container = case.plan["container"]
    directory = stage.directory(case)
    socket = os.path.join(directory, "socket")
    volumes = [
        _bind(os.path.join(stage.bundle, "models", mount["model"], mount["revision"]), mount["target"], read_only=True)
        for mount in case.plan["mounts"]
    ]
    if case.relay is None:
        volumes.append(_bind(socket, container["socket_directory"]))
    volumes.append(_bind(os.path.join(directory, "cache"), container["cache_directory"]))
    service: dict[str, Any] = {
        "container_name": stage.container(case),
        "image": stage.tag(case.digest),
        # Whoever asks for a name is heard, and gets none.
        "dns": [_network_watch.NAME_SERVER],
        "dns_search": ["."],
        "volumes": volumes,
    }
    # Another command of the same image: what needs no GPU, or what tells its flags.
    instead = case.plan["rehearsal"].get(level.name)
    if instead:
        words = instead["command"]
        if case.relay is not None and container.get("entrypoint") != IMAGE_ENTRYPOINT:
            # Without a socket of its own there is nothing to do before, and the program is the entry point.
            service["entrypoint"], words = words[:1], words[1:]
        service["command"] = words
        service["environment"] = instead["environment"]
    lines = [f"    {name}: {_value(value)}" for name, value in service.items()]
    if case.plan["gpus"]:
        lines.append(f"    deploy: {_devices(level.gpus)}")
    if case.relay is not None:
        beside = {
            "container_name": stage.relay(case),
            "image": stage.tag(case.relay.digest),
            "restart": "no",
            "volumes": [
                _bind(os.path.join(directory, "relay.conf"), RELAY_CONFIGURATION, read_only=True),
                _bind(socket, RELAY_SOCKETS),
            ],
        }
        lines += [f"  {RELAY}:", *(f"    {name}: {_value(value)}" for name, value in beside.items())]
    return "\n".join(["services:", f"  {SERVICE}:", *lines, ""])


def rehearse(case: Case, stage: Stage, level: Level) -> None:
    """Start the instance and let it do what the level says; raise with the engine's own words when it does not."""
    if os.geteuid() != 0:
        raise AirgapError(
            "Rehearsing an instance needs root: its directories belong to the engine's user, and what it tries in its network "
            "is read from the kernel. Stage as root (or with become), or set bundle_rehearsal_level to none."
        )
    directory = stage.directory(case)
    socket = os.path.join(directory, "socket", SOCKET)
    if len(socket) > MAX_SOCKET_PATH:
        raise AirgapError(
            f"The engine's socket would be {socket}; the kernel takes {MAX_SOCKET_PATH} letters. Choose a shorter bundle_cache_directory."
        )
    with prepared(case, stage, level) as container:
        require(["docker", "start", container], f"The instance {case.name} cannot be started")
        state = _docker.inspect_container(container)
        attempts = _network_watch.Attempts(0, 0, ())
        breaches: list[str] = []
        failure = ""
        try:
            with _network_watch.Watch(int(state["State"]["Pid"]), state["Config"]["Hostname"]) as watch:
                breaches = _container_seal.breaches(_container_seal.read(state))
                _start_relay(case, stage)
                failure = _wait(case, stage, level, container, socket, watch)
                # What it tries when it ends counts as well; one that has failed need not be waited for.
                run(["docker", "stop", "--time", "1" if failure else str(STOP_TIMEOUT), container])
                attempts = watch.attempts()
        except AirgapError as error:
            # It ended before it could be looked at; if not, the error is another one.
            if _docker.inspect_container(container)["State"]["Running"]:
                raise
            failure = _ended(container) or str(error)
        log = _log(container, directory)
    about = f"The instance {case.name} ({case.plan['engine']}, image {case.image}, model {case.plan['model']['name']})"
    if breaches:
        raise AirgapError(f"{about} is not sealed as it must be: {'; '.join(breaches)}.")
    if attempts:
        also = f" It then failed: {failure}." if failure else ""
        raise AirgapError(
            f"{about} tries to reach a network, which it will not have: {attempts}. (Nothing left this machine: its container has no "
            f"network.){also}\n{_engine_log.of_a_network(log)}Look in its whole log, {directory}/engine.log, for what it wants: a file that the model lacks, "
            "an option that fetches something, or a report that an environment variable turns off."
        )
    if failure:
        raise AirgapError(
            f"{about} fails its rehearsal at level {level.name}: {failure}. The engine's last words:\n{_engine_log.last_words(log)}\n"
            f"Its whole log is {directory}/engine.log. Mend the model's directory or the instance's options and stage again. Where only "
            "this machine is the reason, say how far it can be tried: rehearsal of the instance, or bundle_rehearsal_level (load, none)."
        )


def sweep(stage: Stage) -> None:
    """Remove the containers that an interrupted rehearsal of this cache directory left."""
    found = run(["docker", "ps", "--all", "--filter", "name=airgap-rehearsal_", "--format", "{{.Names}}"])
    for name in found.stdout.decode("utf-8", "replace").split():
        if re.fullmatch(rf"airgap-rehearsal_[a-z0-9-]+_{stage.mark}(_relay)?", name):
            run(["docker", "rm", "--force", "--volumes", name])


@contextlib.contextmanager
def prepared(case: Case, stage: Stage, level: Level) -> Iterator[str]:
    """A created container with its directories; both go again, whatever happens."""
    directory, container = stage.directory(case), stage.container(case)
    project, over = os.path.join(directory, "compose.yml"), os.path.join(directory, "rehearsal.yml")
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("", "socket", "cache"):
        os.makedirs(os.path.join(directory, name), mode=0o755)
    if case.relay is not None:
        # Another user reads it, in its container.
        with open(os.path.join(directory, "relay.conf"), "w", encoding="utf-8") as handle:
            handle.write(case.relay.configuration)
    for path, text in ((project, case.project), (over, overlay(case, stage, level))):
        # The environment of an instance is its owner's business.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
    try:
        files = ["--project-name", container, "--file", project, "--file", over]
        require(
            [*stage.compose, *files, "up", "--no-start", "--force-recreate", "--remove-orphans"],
            f"The Compose project of the instance {case.name} cannot be created ({project} with {over})",
        )
        listener = stage.relay(case) if case.relay is not None else container
        for name, mode, owner in (("socket", 0o2770, listener), ("cache", 0o750, container)):
            path = os.path.join(directory, name)
            os.chown(path, *_user(owner))
            os.chmod(path, mode)
        yield container
    finally:
        for name in (stage.relay(case), container):
            run(["docker", "rm", "--force", "--volumes", name])
        for name in ("socket", "cache"):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)


def _user(container: str) -> tuple[int, int]:
    """Whom a container runs as; by name only its image knows, and then its directories are root's."""
    user, _colon, group = str(_docker.inspect_container(container)["Config"]["User"]).partition(":")
    if not user.isdigit():
        return 0, 0
    return int(user), int(group) if group.isdigit() else int(user)


def _start_relay(case: Case, stage: Stage) -> None:
    """It joins the network of the engine, which therefore must run."""
    if case.relay is not None:
        require(["docker", "start", stage.relay(case)], f"The relay of the instance {case.name} cannot be started")


def _wait(case: Case, stage: Stage, level: Level, container: str, socket: str, watch: _network_watch.Watch) -> str:
    """Ask until the engine has done it, or has failed: then why."""
    give_up = time.monotonic() + stage.timeout
    patience = None
    while True:
        try:
            if level.name == "load":
                _load(case, _http.Address(unix=socket))
            else:
                _await_answer.ask(_await_answer.Probe(socket, **case.plan["probe"]), PROBE_TIMEOUT)
            return ""
        except (_http.NotReady, _await_answer.NotYet) as error:
            said, patience = str(error), None
        except _await_answer.WrongAnswer as error:
            # Some engines listen before they know their model.
            said = str(error)
            patience = patience or time.monotonic() + _await_answer.PATIENCE
        except AirgapError as error:
            return _ended(container) or str(error)
        ended = _ended(container)
        if ended:
            return ended
        if patience and time.monotonic() > patience:
            return f"it runs and does not do what it is for: {said}"
        if time.monotonic() > give_up:
            if watch.attempts():
                return ""
            return f"it was not ready after {stage.timeout} seconds (bundle_rehearsal_timeout): {said}"
        if watch.attempts():
            # It is refused already, and may go on trying for very long. What else it wants shows in a moment.
            give_up = min(give_up, time.monotonic() + AFTER_ATTEMPT)
        time.sleep(1)


def _load(case: Case, address: _http.Address) -> None:
    """Ask the engine's part that needs no GPU."""
    load = case.plan["rehearsal"]["load"]
    deadline = time.monotonic() + PROBE_TIMEOUT
    body = json.dumps(load["body"]).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "airgap.inference"}
    with _http.request(address, "POST", load["path"], body, headers, deadline) as reply:
        answer = _http.read_all(reply)
    if reply.status == 503:
        raise _http.NotReady(f"{address} answers 503")
    if reply.status != 200:
        said = " ".join(answer[:2000].decode("utf-8", "replace").split())
        raise AirgapError(f"it answers {load['path']} with {reply.status}: {said}")


def _ended(container: str) -> str:
    """How the engine ended, or nothing while it runs."""
    state = _docker.inspect_container(container)["State"]
    if state["Running"]:
        return ""
    if state.get("OOMKilled"):
        return "the kernel ended it for want of memory"
    if state["ExitCode"] == 137:
        return "it was killed (status 137), as the kernel does for want of memory"
    return f"it ended with status {state['ExitCode']}" + (f" ({state['Error']})" if state.get("Error") else "")


def _log(container: str, directory: str) -> str:
    result = run(["docker", "logs", container])
    # An engine may write on both; the order between them is lost, that within each is not.
    log = result.stdout.decode("utf-8", "replace") + result.stderr
    with open(os.path.join(directory, "engine.log"), "w", encoding="utf-8") as handle:
        handle.write(log)
    return log


def _names_gpus(directory: str) -> bool:
    """Whether a directory has a CDI file of NVIDIA's GPUs."""
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as handle:
            if "nvidia.com/gpu" in handle.read(4096):
                return True
    return False


def _bind(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": read_only,
        "bind": {"create_host_path": False},
    }


def _devices(gpus: int) -> str:
    """The first GPUs of this machine in the place of those that the host would give, or none."""
    if not gpus:
        return "!reset null"
    devices = [
        {"driver": "cdi", "capabilities": ["gpu"], "device_ids": [f"nvidia.com/gpu={index}" for index in range(gpus)]}
    ]
    return "!override " + json.dumps({"resources": {"reservations": {"devices": devices}}})


def _value(value: Any) -> str:
    """Compose reads $ as the beginning of a variable."""
    return json.dumps(value).replace("$", "$$")
