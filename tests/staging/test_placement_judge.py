# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real vLLM judges model_placement: what it says of a size and of the KV cache is what the engine does and logs.

The engine is the lab's, for CPUs. Each of its starts ends as soon as it has logged its cache.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.airgap.inference.plugins.module_utils import _kv_cache, _placement_case, _placement_remedies
from instances_room import described

HERE = Path(__file__).parent
IMAGE = "airgap-judge:engine"
CONTAINER = f"airgap-judge-{os.getpid()}"
GIB = 2**30
TIMEOUT = 600
LOGGED = re.compile(
    r"CPU KV cache size: ([\d,]+) tokens, Maximum concurrency for ([\d,]+) tokens per request: ([\d.]+)x"
)
NAMES = (
    "llama", "llama-10-5", "llama-one-key", "llama-9-3", "llama-tied", "qwen2", "qwen3", "mistral-sliding", "phi3", "granite", "olmo2",
    "gemma2", "gemma3", "starcoder2", "mixtral", "qwen3-moe", "deepseek-v2", "gpt2", "gpt-neox", "falcon", "opt",
)  # fmt: skip
# No multiple of a block, and longer than a window and what is in flight.
LENGTHS = {"gpt2": 1000, "opt": 1000}
LENGTH = 9000


class Judgement(NamedTuple):
    """What the engine did."""

    started: bool
    tokens: int
    concurrency: str
    log: str


@pytest.fixture(name="engine", scope="module")
def fixture_engine() -> Iterator[str]:
    registry = described()["registry"]
    source = f"docker://{registry['images']['engine']}"
    command = ["skopeo", "--registries-conf", registry["registries_conf"], "copy", "--quiet", source]
    subprocess.run([*command, f"docker-daemon:{IMAGE}"], check=True)
    yield IMAGE
    subprocess.run(["docker", "rmi", IMAGE], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(name="models", scope="module")
def fixture_models(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    tokenizer = Path(described()["models"]["tiny"])
    subprocess.run(
        [
            *(
                "docker",
                "run",
                "--rm",
                "--network",
                "none",
                "-v",
                f"{folder}:/models",
                "-v",
                f"{tokenizer}:/tokenizer:ro",
            ),
            *("-v", f"{HERE / 'judge_models.py'}:/judge_models.py:ro", "--entrypoint", "python3", engine),
            *("/judge_models.py", "/models", "/tokenizer"),
        ],
        check=True,
    )
    return folder


def judged(engine: str, models: Path, name: str, size: int, length: int) -> Judgement:
    """Start the engine and read its log until it has said what its cache holds, or ends."""
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "|".join(str(core) for core in range(size)),
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    options = [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]
    container = f"{CONTAINER}-{name}-{size}"
    process = subprocess.Popen(
        [
            *("docker", "run", "--rm", "--name", container, "--network", "none", "--shm-size", "2g", *options),
            *("-v", f"{models}:/models:ro", engine, f"/models/{name}", "--enforce-eager"),
            *("--tensor-parallel-size", str(size), "--max-model-len", str(length)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    deadline = time.monotonic() + TIMEOUT
    try:
        for line in process.stdout or ():
            lines.append(line)
            found = LOGGED.search(line)
            if found:
                return Judgement(True, int(found.group(1).replace(",", "")), found.group(3), "".join(lines))
            assert time.monotonic() < deadline, "".join(lines[-50:])
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=False, capture_output=True)
        process.wait()
    return Judgement(False, 0, "", "".join(lines))


# An hour: `make judge`.
@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_what_vllm_does(engine: str, models: Path, name: str, size: int) -> None:
    length = LENGTHS.get(name, LENGTH)
    parameters = {
        "path": str(models / name),
        "tensor_parallel_size": size,
        "max_model_len": length,
        "kv_cache_bytes": GIB,
    }
    said = _placement_remedies.place(_placement_case.read(parameters))
    did = judged(engine, models, name, size, length)
    last = "\n".join(did.log.splitlines()[-60:])
    assert did.started == (said["verdict"] == "fits"), f"{said}\n{last}"
    if did.started:
        assert (said["kv_cache_tokens"], f"{said['max_concurrency']:.2f}") == (did.tokens, did.concurrency), last
        print(f"\n| {name} | {size} | {said['kv_cache_tokens']:,} | {did.tokens:,} | {did.concurrency}x |")
    else:
        # It was the size that it stumbled over, and nothing of the engine's own.
        assert "AssertionError" in did.log or "must be divisible" in did.log, last


def test_the_arithmetic_of_a_thousand_sets_of_layers(engine: str) -> None:
    chance = random.Random(32)
    cases = [_case(chance) for _case_number in range(1000)]
    done = subprocess.run(
        [
            *("docker", "run", "--rm", "-i", "--network", "none", "-v", f"{HERE / 'judge_kv_cache.py'}:/judge.py:ro"),
            *("--entrypoint", "python3", engine, "/judge.py"),
        ],
        input=json.dumps(cases),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == len(cases)
    for case, answer in zip(cases, answers):
        groups = [
            {"kind": kind, "layers": number, "kv_heads": heads, "head_size": head, "v_head_size": 0, "window": window}
            for kind, number, heads, head, window in case["layers"]
            if kind != "state"
        ]
        layers = _kv_cache.layers_of({"attention": groups}, 1, 2, 16, 2)
        states = [layer for layer in case["layers"] if layer[0] == "state"]
        layers += [
            _kv_cache.Layers(_kv_cache.STATE, number, 16, 16 * heads * head * 4)
            for _kind, number, heads, head, _rest in states
        ]
        plan = _kv_cache.plan(layers, case["in_flight"])
        memory, length = case["memory"], case["length"]
        if plan.needed(length) > memory:
            assert answer is None, case
        else:
            assert [plan.tokens(memory, length), plan.concurrency(memory, length)] == answer, case


def _case(chance: random.Random) -> dict[str, Any]:
    layers = []
    for kind in chance.sample(["full", "sliding", "sliding", "full"], chance.randint(1, 3)):
        layers.append(
            [
                kind,
                chance.randint(1, 60),
                chance.choice([1, 2, 4, 8]),
                chance.choice([64, 128, 256]),
                chance.choice([128, 1024, 4096]),
            ]
        )
    other = chance.random()
    if other < 0.1:
        layers = [["latent", chance.randint(1, 61), 1, 576, 0]]
    elif other < 0.3:
        # A recurrent model: its states have the page of its attention.
        layers = [["full", *layers[0][1:]], ["state", chance.randint(1, 60), *layers[0][2:]]]
    return {
        "layers": layers,
        "memory": chance.randint(1, 2**36),
        "length": chance.randint(1, 200000),
        "in_flight": chance.choice([2048, 4096, 16384]),
    }
