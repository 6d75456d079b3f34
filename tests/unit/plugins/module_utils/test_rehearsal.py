# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a rehearsal needs no Docker: how far, what is laid over the project, what an engine's log comes to."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _engine_log, _rehearsal, _rehearsal_flags
from ansible_collections.airgap.inference.plugins.module_utils._command import Result
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError

GPU_IMAGE = "docker.io/vllm/vllm-openai:v0.32.0"
CPU_IMAGE = "docker.io/vllm/vllm-openai-cpu:v0.32.0"
SHORTAGE = "the instance asks for 2 GPUs, and the staging machine has 0"
LOAD = {"command": ["vllm", "launch", "render"], "environment": {"A": "$HOME"}, "path": "/render", "body": {}}


class _Loader(yaml.SafeLoader):
    """Reads Compose's own tags as what they stand before."""


_Loader.add_constructor("!reset", lambda loader, node: "reset")
_Loader.add_constructor("!override", lambda loader, node: {"override": loader.construct_mapping(node, deep=True)})


def plan(gpus: int = 2, own: str = "auto", can_load: bool = True) -> dict[str, Any]:
    return {
        "name": "chat",
        "engine": "vllm",
        "gpus": list(range(4, 4 + gpus)),
        "model": {"name": "tiny", "revision": "0123"},
        "mounts": [{"model": "tiny", "revision": "0123", "target": "/model"}],
        "probe": {"path": "/v1/completions", "body": {}, "expects": "text"},
        "container": {"model_directory": "/model", "socket_directory": "/run/engine", "cache_directory": "/cache"},
        "rehearsal": {"level": own, "cpu_images": ["*/vllm-openai-cpu"], "load": LOAD if can_load else None},
    }


def level(item: dict[str, Any], image: str = GPU_IMAGE, wished: str = "auto", shortage: str = SHORTAGE) -> Any:
    return tuple(_rehearsal.choose_level(item, image, wished, shortage))


def test_a_machine_with_the_gpus_generates_with_them() -> None:
    assert level(plan(), shortage="") == ("generate", "", 2)


def test_a_machine_without_them_loads_and_says_why() -> None:
    assert level(plan()) == ("load", SHORTAGE, 0)


@pytest.mark.parametrize("image", [CPU_IMAGE, CPU_IMAGE[:-8], f"{CPU_IMAGE[:-8]}@sha256:{'a' * 64}"])
def test_an_image_for_cpus_generates_anywhere_and_is_given_no_gpu(image: str) -> None:
    assert level(plan(), image) == ("generate", "", 0)


def test_a_registry_with_a_port_is_not_a_tag() -> None:
    assert level(plan(), "registry.example.org:5000/vllm/vllm-openai-cpu:v1") == ("generate", "", 0)


def test_an_instance_without_gpus_generates() -> None:
    assert level(plan(gpus=0), shortage="") == ("generate", "", 0)


def test_what_the_instance_says_goes_first() -> None:
    assert level(plan(own="none"), wished="generate") == ("none", "its rehearsal in airgap_instances is none", 0)
    assert level(plan(), wished="none") == ("none", "bundle_rehearsal_level is none", 0)
    assert level(plan(own="load"), shortage="") == ("load", "its rehearsal in airgap_instances is load", 0)
    # Asked for in so many words: with the GPUs, so that Docker itself says that they are not there.
    assert level(plan(own="generate")) == ("generate", "", 2)


def test_an_engine_that_cannot_load_alone_says_so() -> None:
    name, reason, _gpus = level(plan(can_load=False))
    assert name == "none" and SHORTAGE in reason and "vllm has no way" in reason
    with pytest.raises(AirgapError, match="chat cannot be rehearsed as bundle_rehearsal_level says"):
        level(plan(can_load=False), wished="load")


def case(item: dict[str, Any], project: str = "services: {}", digest: str = "sha256:" + "ab" * 32) -> _rehearsal.Case:
    return _rehearsal.Case(item, project, GPU_IMAGE, digest, {"tiny": "model-digest"})


STAGE = _rehearsal.Stage("/srv/bundle", "/var/cache/staging", ["docker", "compose"], "auto", 900)


def overlaid(item: dict[str, Any], how: _rehearsal.Level) -> dict[str, Any]:
    service: dict[str, Any] = yaml.load(_rehearsal.overlay(case(item), STAGE, how), _Loader)["services"]["engine"]
    return service


def test_only_names_paths_and_gpus_differ_from_the_hosts_project() -> None:
    service = overlaid(plan(), _rehearsal.Level("generate", "", 2))
    assert set(service) == {"container_name", "image", "dns", "dns_search", "volumes", "deploy"}
    model, socket, cache = service["volumes"]
    assert (model["source"], model["target"], model["read_only"]) == ("/srv/bundle/models/tiny/0123", "/model", True)
    assert (socket["target"], cache["target"]) == ("/run/engine", "/cache")
    assert socket["source"].startswith("/var/cache/staging/") and cache["source"].startswith("/var/cache/staging/")
    devices = service["deploy"]["override"]["resources"]["reservations"]["devices"]
    assert devices[0]["device_ids"] == ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]


def test_without_gpus_none_are_reserved() -> None:
    assert overlaid(plan(), _rehearsal.Level("generate"))["deploy"] == "reset"
    assert "deploy" not in overlaid(plan(gpus=0), _rehearsal.Level("generate"))


def test_loading_replaces_the_command_and_keeps_dollars() -> None:
    service = overlaid(plan(), _rehearsal.Level("load"))
    assert service["command"] == ["vllm", "launch", "render"]
    # Compose makes one of two.
    assert service["environment"] == {"A": "$$HOME"}


def test_a_success_is_worth_nothing_for_another_image_model_project_or_level() -> None:
    generate, load = _rehearsal.Level("generate"), _rehearsal.Level("load", "no GPU")
    keys = [
        _rehearsal.key(case(plan()), generate),
        _rehearsal.key(case(plan()), load),
        _rehearsal.key(case(plan(), digest="sha256:" + "cd" * 32), generate),
        _rehearsal.key(case(plan(), project="services: {engine: {}}"), generate),
        _rehearsal.key(case(plan())._replace(models={"tiny": "other"}), generate),
    ]
    assert len(set(keys)) == len(keys)
    # Why it came to that level is no matter.
    assert _rehearsal.key(case(plan()), load) == _rehearsal.key(case(plan()), _rehearsal.Level("load", "wished"))


RELAY = _rehearsal.Relay("docker.io/library/nginx:1.30", "sha256:" + "ef" * 32, "stream {}")


def test_an_engine_on_a_port_is_tried_with_its_relay() -> None:
    relayed = case(plan())._replace(relay=RELAY)
    services = yaml.load(_rehearsal.overlay(relayed, STAGE, _rehearsal.Level("load")), _Loader)["services"]
    engine, relay = services["engine"], services["relay"]
    assert [entry["target"] for entry in engine["volumes"]] == ["/model", "/cache"]
    assert (engine["entrypoint"], engine["command"]) == (["vllm"], ["launch", "render"])
    started = relayed._replace(plan={**relayed.plan, "container": {**relayed.plan["container"], "entrypoint": "image"}})
    engine = yaml.load(_rehearsal.overlay(started, STAGE, _rehearsal.Level("load")), _Loader)["services"]["engine"]
    assert "entrypoint" not in engine and engine["command"] == ["vllm", "launch", "render"]
    assert set(relay) == {"container_name", "image", "restart", "volumes"}
    assert relay["container_name"] == f"{STAGE.container(relayed)}_relay"
    assert relay["image"] == STAGE.tag(RELAY.digest)
    assert [entry["target"] for entry in relay["volumes"]] == ["/etc/airgap/relay.conf", "/run/engine"]
    generate = _rehearsal.Level("generate")
    assert _rehearsal.key(relayed, generate) != _rehearsal.key(case(plan()), generate)


def test_containers_and_images_are_told_from_those_of_others() -> None:
    other = STAGE._replace(cache="/home/b/cache")
    assert STAGE.container(case(plan())) != other.container(case(plan()))
    assert STAGE.repository != other.repository
    assert STAGE.tag("sha256:" + "ab" * 32) == f"{STAGE.repository}:{'ab' * 32}"


TRACEBACK = """\
(EngineCore pid=25) INFO 11-21 04:19:24 [core.py:402] starting
(EngineCore pid=25) ERROR 11-21 04:19:25 [core.py:900] EngineCore failed to start.
(EngineCore pid=25) ERROR 11-21 04:19:25 [core.py:900] Traceback (most recent call last):
(EngineCore pid=25) ERROR 11-21 04:19:25 [core.py:900]   File "core.py", line 890, in run
(EngineCore pid=25) ERROR 11-21 04:19:25 [core.py:900]     raise ValueError(
(EngineCore pid=25) ERROR 11-21 04:19:25 [core.py:900] ValueError: Couldn't instantiate the tokenizer from one of:
(EngineCore pid=25) ERROR 11-21 04:19:25 [core.py:900] (1) a serialization file,
(EngineCore pid=25) INFO 11-21 04:19:26 [core.py:901] bye
(EngineCore pid=25) Traceback (most recent call last):
(EngineCore pid=25)   File "core.py", line 890, in run
(EngineCore pid=25)     raise ValueError(
(EngineCore pid=25) ValueError: Couldn't instantiate the tokenizer from one of:
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "serve.py", line 1, in main
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_last_words_are_the_exceptions_the_cause_first_and_not_the_stack() -> None:
    words = _engine_log.last_words(TRACEBACK)
    assert words.splitlines()[0] == "ValueError: Couldn't instantiate the tokenizer from one of:"
    assert "(1) a serialization file," in words
    assert words.splitlines()[-1].startswith("RuntimeError: Engine core initialization failed.")
    assert "File" not in words and "bye" not in words


def test_last_words_without_an_exception_are_the_last_lines() -> None:
    said = "".join(f"line {number}\n" for number in range(30)) + "error: unknown model architecture: 'x'\n"
    words = _engine_log.last_words(said).splitlines()
    assert words[-1] == "error: unknown model architecture: 'x'" and len(words) == 12
    assert _engine_log.last_words("") == "(it said nothing)"


def test_a_line_that_only_looks_like_an_exception_is_not_one() -> None:
    assert _engine_log.last_words("ValueError: seen in a comment\nready\n").endswith("ready")


HELP = {"command": ["vllm", "serve", "--help=all"], "environment": {"COLUMNS": "200"}, "shows": ["--uds"]}


def telling(item: dict[str, Any], told: Any = None) -> dict[str, Any]:
    return {**item, "rehearsal": {**item["rehearsal"], "help": HELP if told is None else told}}


def test_an_image_tells_its_flags_in_a_container_of_the_instances_own() -> None:
    service = overlaid(telling(plan()), _rehearsal.Level("help"))
    assert (service["command"], service["environment"]) == (HELP["command"], {"COLUMNS": "200"})
    assert service["deploy"] == "reset"
    plain = overlaid(telling(plan()), _rehearsal.Level("generate", "", 2))
    assert "command" not in plain


def test_a_help_is_read_when_it_is_whole() -> None:
    flags = [f"--flag-{number}" for number in range(10)]
    text = "usage: x [-h]\n" + "\n".join(f"  -{flag[-1]}, {flag} N   a word--word, ---" for flag in flags)
    assert _rehearsal_flags.read(f"{text}\n  --help  this\n  --uds PATH, --under_score", ["--uds"]) == sorted(
        [*flags, "--uds", "--under_score"]
    )
    # Without one that it certainly has, or with next to none, it is an excerpt.
    assert _rehearsal_flags.read(text, ["--uds"]) == []
    assert _rehearsal_flags.read("  --uds PATH", ["--uds"]) == []


def test_an_image_is_asked_once(tmp_path: Path) -> None:
    memory = _rehearsal_flags.Memory(str(tmp_path))
    assert memory.lacks(case(telling(plan()))) and not memory.lacks(case(plan()))
    memory.note(case(telling(plan())), ["--uds"])
    memory = _rehearsal_flags.Memory(str(tmp_path))
    assert memory.of(case(telling(plan(gpus=0), HELP))) == ["--uds"]
    assert memory.lacks(case(telling(plan()), digest="sha256:" + "cd" * 32))
    (tmp_path / "state/flags.json").write_text("[]")
    assert _rehearsal_flags.Memory(str(tmp_path)).lacks(case(telling(plan())))


@pytest.mark.parametrize(("status", "known"), [(0, True), (1, False), (124, False)])
def test_a_help_that_fails_is_none(monkeypatch: pytest.MonkeyPatch, status: int, known: bool) -> None:
    text = " ".join(["--uds", *(f"--flag-{number}" for number in range(10))]).encode()
    seen = []

    @contextlib.contextmanager
    def prepared(_case: Any, _stage: Any, level: _rehearsal.Level) -> Iterator[str]:
        seen.append(level.name)
        yield "container"

    monkeypatch.setattr(_rehearsal, "prepared", prepared)
    monkeypatch.setattr(_rehearsal_flags, "run", lambda argv: Result(status, text, ""))
    assert bool(_rehearsal_flags.ask(case(telling(plan())), STAGE)) is known
    assert _rehearsal_flags.ask(case(plan()), STAGE) == []
    assert seen == ["help"]
