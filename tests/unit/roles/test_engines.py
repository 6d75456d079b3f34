# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines' data: every file has what the role reads, names nothing that does not exist, and becomes a command line.

Whether the engine itself takes that command line is asked in tests/staging/test_engine_parsers.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _instance
from ansible_collections.airgap.inference.tests.unit.roles.rendering import REPOSITORY

VARS = REPOSITORY / "roles/inference/vars"
ENGINES: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())["__inference_engine"]
    for path in sorted((VARS / "engines").glob("*.yml"))
}
FLAGS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((VARS / "flags").glob("*.yml"))
}
NEEDED = {
    *("name", "tested", "container", "command", "options", "reserved_options", "negated_options", "environment"),
    *("forbidden_environment", "health", "readiness", "metrics", "listens", "tasks"),
}
OPTIONAL = {
    *("minimum_version", "port", "flags", "option_style", "gpu_option", "drain_option", "drain_seconds", "takes_file"),
    *("draft_options", "adapter_form", "adapter_options", "presets", "rehearsal", "supports_user", "list_style"),
}
# Whom a preset is for, with what the inventory states of such a host.
GENERATIONS: dict[str, dict[str, Any]] = {
    "any": {},
    "cpu": {},
    "turing": {"name": "T4"},
    "ampere": {"name": "A100"},
    "ada": {"name": "L40S"},
    "hopper": {"name": "H100"},
    "blackwell": {"name": "B200"},
}
EXPECTS = {"generate": "text", "embed": "embedding", "rerank": "ranking"}
# The gateway answers these itself.
THE_GATEWAYS = re.compile(r"/v1/models(/|\Z)|/health\Z")
PLACEHOLDER = re.compile(r"\{\w+\}")
IMAGE = "registry.example.org/engine:v999.0"
IMAGES = {IMAGE: {"reference": "registry.example.org/engine@sha256:" + "ab" * 32}}
MODELS = {
    name: {"revision": "0123456789abcdef", "gguf": [f"{name}.gguf"]} for name in ("tiny", "tiny-draft", "tiny-legal")
}


def each_engine() -> Any:
    return pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))


def with_flags(name: str) -> dict[str, Any]:
    """As the role hands it on."""
    known = FLAGS[name]
    return {**ENGINES[name], "flags": {"version": known["version"], "names": known["flags"]}}


def instances(engine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every task and kind of further model that the engine has, on the CPU and over two GPUs."""
    plain = {"name": "chat", "engine": engine["name"], "image": IMAGE, "model": "tiny"}
    for task in engine["tasks"]:
        for gpus in (0, 2):
            yield {**plain, "task": task, "gpus": gpus}
    if engine["container"].get("draft_directory"):
        yield {**plain, "draft_model": "tiny-draft", "gpus": 1}
    if engine["container"].get("adapters_directory"):
        yield {**plain, "adapters": [{"name": "legal", "model": "tiny-legal"}], "gpus": 1}


def with_presets(engine: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """An instance for every entry of every preset, what the inventory states of its host, and the entry."""
    plain, *_others = instances(engine)
    for preset, entries in engine.get("presets", {}).items():
        for entry in entries:
            gpus = 0 if entry["gpus"] == "cpu" else 1
            yield {**plain, "preset": preset, "gpus": gpus}, GENERATIONS[entry["gpus"]], entry


def named_options(engine: dict[str, Any]) -> set[str]:
    """Every option that the engine's data set or forbid."""
    presets = [entry["options"] for entries in engine.get("presets", {}).values() for entry in entries]
    tasks = [task["options"] for task in engine["tasks"].values()]
    mounted = [engine.get("draft_options", {}), engine.get("adapter_options", {})]
    names = {name for options in (engine["options"], *presets, *tasks, *mounted) for name in options}
    single = {engine[key] for key in ("gpu_option", "drain_option") if engine.get(key)}
    return names | single | set(engine["reserved_options"])


@each_engine()
def test_an_engine_has_the_keys_that_the_role_reads(engine: dict[str, Any]) -> None:
    assert set(engine) >= NEEDED
    assert set(engine) - NEEDED <= OPTIONAL
    assert engine["tested"] in ("live", "parsed", "rendered")
    assert engine["listens"] in ("unix", "tcp")
    assert (engine["listens"] == "tcp") == isinstance(engine.get("port"), int)
    assert not ("drain_option" in engine and "drain_seconds" in engine)


def test_a_file_is_named_like_its_engine() -> None:
    assert {name: engine["name"] for name, engine in ENGINES.items()} == {name: name for name in ENGINES}


@each_engine()
def test_an_engines_container_has_its_directories(engine: dict[str, Any]) -> None:
    container = engine["container"]
    for key in ("socket_directory", "cache_directory", "shm_size", "tmpfs"):
        assert container[key]
    directories = [value for key, value in container.items() if key.endswith("_directory")]
    assert all(directory.startswith("/") for directory in directories)
    assert len(directories) == len(set(directories))
    for key, options in (("draft_directory", "draft_options"), ("adapters_directory", "adapter_options")):
        assert (key in container) == (options in engine)


@each_engine()
def test_an_engines_environment_keeps_it_offline(engine: dict[str, Any]) -> None:
    assert all(isinstance(value, str) for value in engine["environment"].values())
    assert not set(engine["environment"]) & set(engine["forbidden_environment"])
    assert "HF_TOKEN" in engine["forbidden_environment"]
    # The root is read-only.
    writable = (engine["container"]["cache_directory"], "/tmp")
    assert engine["environment"]["HOME"].startswith(writable)


@each_engine()
def test_an_engines_tasks_say_what_clients_may_ask_and_what_it_must_answer(engine: dict[str, Any]) -> None:
    assert set(engine["tasks"]) <= set(EXPECTS)
    assert engine["tasks"]
    for name, task in engine["tasks"].items():
        assert set(task) == {"options", "api", "probe"}
        assert set(task["probe"]) == {"path", "body", "expects"}
        assert task["probe"]["expects"] == EXPECTS[name]
        assert task["api"]
        for entry in task["api"]:
            assert set(entry) == {"path", "methods"}
            assert set(entry["methods"]) <= {"GET", "POST"}
            assert entry["path"].startswith("/")
            assert not THE_GATEWAYS.match(entry["path"]), entry


@each_engine()
def test_an_engines_presets_have_a_source_each(engine: dict[str, Any]) -> None:
    assert set(engine.get("presets", {})) <= {"throughput", "latency"}
    for entries in engine.get("presets", {}).values():
        assert entries
        assert len({entry["gpus"] for entry in entries}) == len(entries)
        # Staging knows no host's GPUs, and refuses a preset that is for some alone.
        assert "any" in {entry["gpus"] for entry in entries}
        for entry in entries:
            assert set(entry) == {"gpus", "options", "source"}
            assert entry["gpus"] in GENERATIONS
            assert entry["options"]
            assert re.match(r"https://\S+\Z", entry["source"])
            # A branch's file may say something else tomorrow.
            assert not re.search(r"/(blob|tree)/(main|master)/|/(latest|stable)/", entry["source"])


@each_engine()
def test_a_preset_becomes_a_part_of_the_command_line(engine: dict[str, Any]) -> None:
    for instance, expected, entry in with_presets(engine):
        assert _instance.refusals([instance], [engine], IMAGES, MODELS, expected) == []
        (planned,) = _instance.plan([instance], [engine], IMAGES, MODELS, expected=expected)
        without = _instance.plan([{**instance, "preset": None}], [engine], IMAGES, MODELS, expected=expected)[0]
        added = planned["command"][len(engine["command"]) :]
        assert added != without["command"][len(engine["command"]) :]
        separator = "_" if engine.get("option_style") == "underscores" else "-"
        for option, value in entry["options"].items():
            position = added.index("--" + option.replace("_", separator))
            assert value is True or added[position + 1] == str(value)


@each_engine()
def test_an_engine_becomes_a_plan_with_nothing_left_open(engine: dict[str, Any]) -> None:
    for instance in instances(engine):
        assert _instance.refusals([instance], [engine], IMAGES, MODELS) == []
        (planned,) = _instance.plan([instance], [engine], IMAGES, MODELS, "depot:5000")
        filled = [planned["command"], planned["environment"], planned["probe"], planned["rehearsal"]]
        assert not PLACEHOLDER.search(json.dumps(filled)), planned
        assert all(isinstance(part, str) for part in planned["command"])
        assert planned["probe"]["body"].get("model", "tiny") == "tiny"
        assert planned["upstream"]["api"]
        assert len({mount["target"] for mount in planned["mounts"]}) == len(planned["mounts"])


@each_engine()
def test_an_instance_cannot_set_what_the_engines_data_set(engine: dict[str, Any]) -> None:
    plain = next(instances(engine))
    for option in engine["reserved_options"]:
        assert _instance.refusals([{**plain, "options": {option: "x"}}], [engine], IMAGES, MODELS)
    for name in engine["forbidden_environment"]:
        assert _instance.refusals([{**plain, "environment": {name: "x"}}], [engine], IMAGES, MODELS)


# Credentials, where telemetry goes, options by a file, and what writes prompts into a log. Numbers of tokens are none of it.
LEADS_ELSEWHERE = re.compile(
    r"--((hf|api|auth|access)-token|token|(.+-)?(key|keys|keyfile|key-file|keyfile-password)|otlp-.+|.+-traces-endpoint"
    r"|(enable-)?log-(requests|outputs|deltas)(-.+)?|log-config-file|config|middleware|tool-server|kv-(transfer|events)-config"
    r"|(allowed-local-)?media-path)\Z"
)


@pytest.mark.parametrize("name", FLAGS)
def test_what_leads_elsewhere_is_reserved_in_every_engine_with_a_list_of_flags(name: str) -> None:
    found = [flag[2:].replace("-", "_") for flag in FLAGS[name]["flags"] if LEADS_ELSEWHERE.match(flag)]
    assert len(found) > 2
    assert set(found) - set(ENGINES[name]["reserved_options"]) == set()


@pytest.mark.parametrize("name", ["nim", "nim-cache", "nim-model-free"])
def test_what_vllm_reserves_is_reserved_where_its_flags_are_handed_on(name: str) -> None:
    assert set(ENGINES["vllm"]["reserved_options"]) <= set(ENGINES[name]["reserved_options"])


@pytest.mark.parametrize("option", ["kv_transfer_config.kv_connector", "kv-transfer-config.kv_role", "hf-token"])
def test_a_part_or_another_spelling_of_a_reserved_option_is_refused(option: str) -> None:
    plain = next(instances(ENGINES["vllm"]))
    (reason,) = _instance.refusals([{**plain, "options": {option: "x"}}], [ENGINES["vllm"]], IMAGES, MODELS)
    assert f"options.{option} is not an instance's to state" in reason


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if "minimum_version" in engine])
def test_an_older_version_is_refused(name: str) -> None:
    engine, image = ENGINES[name], "registry.example.org/engine:v0.0.1"
    (reason,) = _instance.refusals([{**next(instances(engine)), "image": image}], [engine], {image: {}}, MODELS)
    assert engine["minimum_version"] in reason


def test_every_file_of_flags_belongs_to_an_engine_that_names_it() -> None:
    named = {name: engine["flags"] for name, engine in ENGINES.items() if "flags" in engine}
    assert named.pop("ollama") == {"version": "", "names": []}
    assert set(named) == set(FLAGS)
    for name, flags in FLAGS.items():
        assert named[name] == {"version": flags["version"], "names": f"flags/{name}.yml"}
        assert flags["source"]
        assert flags["flags"] == sorted(set(flags["flags"]))
        assert all(re.fullmatch(r"--[a-z0-9][A-Za-z0-9._-]*", flag) for flag in flags["flags"])


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_the_engines_parser_knows_every_option_of_the_data(name: str) -> None:
    known = {flag[2:].replace("-", "_") for flag in FLAGS[name]["flags"]}
    assert named_options(ENGINES[name]) - known == set()
    fixed = {part for part in ENGINES[name]["command"] if part.startswith("--")}
    assert fixed <= set(FLAGS[name]["flags"])


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_what_the_data_make_of_an_instance_has_known_flags_only(name: str) -> None:
    engine = with_flags(name)
    for instance, expected in (*((one, {}) for one in instances(engine)), *(one[:2] for one in with_presets(engine))):
        assert _instance.refusals([instance], [engine], IMAGES, MODELS, expected) == []
        (planned,) = _instance.plan([instance], [engine], IMAGES, MODELS, expected=expected)
        flags = {part for part in planned["command"] if part.startswith("--")}
        assert flags <= set(FLAGS[name]["flags"])


@pytest.mark.parametrize(
    ("name", "option", "meant"),
    [
        ("vllm", "max_modle_len", "max_model_len"),
        ("sglang", "mem_fraction_statik", "mem_fraction_static"),
        ("llama-cpp", "ctx_sise", "ctx_size"),
    ],
)
def test_a_misspelt_option_is_refused_with_what_was_meant(name: str, option: str, meant: str) -> None:
    engine, image = with_flags(name), f"registry.example.org/engine:v{FLAGS[name]['version']}"
    instance = {**next(instances(engine)), "image": image, "options": {option: 1}}
    (reason,) = _instance.refusals([instance], [engine], {image: {}}, MODELS)
    assert f"options.{option}" in reason
    assert meant in reason
    # Another version's flags are not known here: its own parser will say.
    other = "registry.example.org/engine:v999.0"
    assert _instance.refusals([{**instance, "image": other}], [engine], {other: {}}, MODELS) == []
