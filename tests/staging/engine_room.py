# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real engines behind a gateway's room, each as its host would run it: planned, rendered and asked by the role's own parts.

with Room() as room, started(room, lab, {"name": "rank", "task": "rerank", …}, model_folder) as engine:
    engine.wait()
    room.start(clients=…)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _await_answer, _instance
from ansible_collections.airgap.inference.tests.unit.roles import test_engines
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY, render
from gateway_room import LAB, Answer, Room, StandIn

DEFAULTS = yaml.safe_load((REPOSITORY / "roles/inference/defaults/main.yml").read_text())
REVISION = "lab"


def described(*steps: str) -> dict[str, Any]:
    """The lab, with these steps built, a gateway's image and Compose."""
    subprocess.run([*LAB, "build", "gateway", "compose", *steps], check=True)
    lab: dict[str, Any] = json.loads(subprocess.run([*LAB, "paths"], check=True, stdout=subprocess.PIPE).stdout)
    return lab


class Engine(NamedTuple):
    """An instance that was started."""

    planned: dict[str, Any]
    container: str
    #: What its unit would ask.
    probe: Path

    def wait(self, timeout: float = 120) -> None:
        """As `systemctl start` does: until it has done once what it is for."""
        state = ["docker", "inspect", "--format", "{{.State.Pid}}", self.container]
        pid = int(subprocess.run(state, check=True, stdout=subprocess.PIPE).stdout)
        try:
            assert pid, "the engine has ended"
            _await_answer.wait(_await_answer.read(str(self.probe))._replace(timeout=timeout), pid, print)
        except (_await_answer.NotYet, _await_answer.WrongAnswer, AssertionError) as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def log(self, lines: int = 200) -> str:
        said = subprocess.run(
            ["docker", "logs", "--tail", str(lines), self.container],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return said.stdout


def image(lab: dict[str, Any], step: str) -> str:
    """The lab's image of this name in Docker."""
    name = f"{lab['registry']['address']}/{lab['registry']['images'][step].partition('/')[2]}"
    subprocess.run(["docker", "pull", "--quiet", name], check=True, stdout=subprocess.DEVNULL)
    return name


@contextlib.contextmanager
def started(room: Room, lab: dict[str, Any], described: dict[str, Any], model: Path) -> Iterator[Engine]:
    """The Compose project of the instance, whose image is a step of the lab; its socket is where the room's gateway looks for it."""
    reference = image(lab, described["image"])
    instance = {"gpus": 0, **described, "image": lab["registry"]["images"][described["image"]]}
    known = {"revision": REVISION}
    files = sorted(path.name for path in model.glob("*.gguf"))
    models = {instance["model"]: {**known, "gguf": files} if files else known}
    images = {instance["image"]: {"reference": reference}}
    data = test_engines.with_flags(instance["engine"])
    assert _instance.refusals([instance], [data], images, models) == []
    (planned,) = _instance.plan([instance], [data], images, models)
    name = planned["name"]
    room.engine(name, StandIn(planned["serves"], api=planned["upstream"]["api"]), listens=False)
    directories = {each: room.directory / each for each in ("models", "sockets", "caches", "instances")}
    # As the role model_store leaves them: an engine is another user.
    revision = shutil.copytree(model, directories["models"] / planned["model"]["name"] / REVISION)
    for path in revision.iterdir():
        path.chmod(0o644)
    for each, group, mode in (("sockets", "inference_client_gid", 0o2770), ("caches", "inference_gid", 0o700)):
        own = directories[each] / name
        own.mkdir(parents=True)
        os.chown(own, DEFAULTS["inference_uid"], DEFAULTS[group])
        own.chmod(mode)
    into = directories["instances"] / name
    variables = {
        "__inference_item": planned,
        "inference_model_directory": str(directories["models"]),
        "inference_socket_directory": str(directories["sockets"]),
        "inference_cache_directory": str(directories["caches"]),
    }
    render("inference", ["compose.yml", "probe.json"], variables, into)
    # Beside the containers of a lab's room, and those of another run.
    container = f"{room.container}-{name}"
    (into / "here.json").write_text(json.dumps({"services": {"engine": {"container_name": container}}}))
    files_of_it = ("--file", str(into / "compose.yml"), "--file", str(into / "here.json"))
    compose = [*lab["compose_command"], "--progress", "quiet", "--project-name", container, *files_of_it]
    try:
        subprocess.run([*compose, "up", "--detach"], check=True)
        yield Engine(planned, container, into / "probe.json")
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=False, capture_output=True)


def ranking(room: Room, key: str, model: str, path: str = "/v1/rerank") -> Answer:
    """A ranking of four documents, two of them the same, and its line in the audit log."""
    documents = ["Good day to the ward.", "A stone", "The drive crosses the gap.", "A stone"]
    answer = room.ask("POST", path, key, {"model": model, "query": "Who says hello?", "documents": documents})
    assert answer.status == 200, answer
    scores = {result["index"]: result["relevance_score"] for result in answer.body["results"]}
    assert sorted(scores) == [0, 1, 2, 3], answer
    # The best is first. The same text has the same score, another one another.
    assert list(scores.values()) == sorted(scores.values(), reverse=True), answer
    assert abs(scores[1] - scores[3]) < 1e-3 and len({round(score, 2) for score in scores.values()}) == 3, answer
    line = room.audited(answer)
    told = (line["model"], line["instance"], line["status"], line["prompt_tokens"])
    assert told == (model, model, 200, answer.body["usage"]["prompt_tokens"]) and told[-1] > 0
    return answer
