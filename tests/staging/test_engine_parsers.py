# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines' own parsers take what the engines' data make of instances, refuse what is misspelt, and have the flags that are committed.

vLLM's and llama.cpp's run in the lab's images; SGLang's comes from its wheel and runs in vLLM's image (tests/lab/airgap_lab/engine_parsers.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.airgap.inference.plugins.module_utils import _instance
from ansible_collections.airgap.inference.tests.unit.roles import test_engines

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

import engine_flags  # noqa: E402 - the lab is a set of scripts, not a package
from airgap_lab import engine_parsers  # noqa: E402 - see above

# The words of a command that come before the parser's.
PROGRAM = {
    "vllm": ["vllm", "serve"],
    "sglang": ["python3", "-m", "sglang.launch_server"],
    "llama-cpp": ["/app/llama-server"],
}
# What people set most often, in all the kinds of values that options have.
USUAL: dict[str, dict[str, Any]] = {
    "vllm": {
        "max_model_len": 32768,
        "gpu_memory_utilization": 0.9,
        "enable_prefix_caching": False,
        "enforce_eager": True,
        "chat_template": None,
        "limit_mm_per_prompt": {"image": 2},
        "allowed_media_domains": ["media.example.org", "archive.example.org"],
        "kv_cache_dtype": "fp8",
        "compilation_config": {"cudagraph_mode": "PIECEWISE"},
    },
    "sglang": {
        "context_length": 32768,
        "mem-fraction-static": 0.85,
        "enable_mixed_chunk": True,
        "disable_radix_cache": False,
        "no_lora_strict_loading": True,
        "kv_cache_dtype": "fp8_e5m2",
        "reasoning_parser": "qwen3",
        "default_chat_template_kwargs": {"enable_thinking": False},
    },
    "llama-cpp": {
        "ctx_size": 8192,
        "parallel": 4,
        "flash_attn": "on",
        "cont_batching": False,
        "swa_full": True,
        "tensor_split": "3,1",
        "chat_template_kwargs": {"enable_thinking": False},
        "temp": 0.2,
    },
}
# The last one is the parser's word for a value, where it looks at values.
WRONG = {
    "vllm": [["--max-modle-len", "1"], ["--max-num-seqs", "many"]],
    "sglang": [["--mem-fraction-statik", "0.9"], ["--tp-size", "two"]],
    "llama-cpp": [["--ctx-sise", "1"], ["--metrics", "--no-metrics"]],
}


@pytest.fixture(name="lab", scope="module", autouse=True)
def fixture_lab() -> None:
    subprocess.run([sys.executable, str(REPOSITORY / "tests/lab/lab.py"), "build", "engine", "llama"], check=True)


def command_lines(name: str) -> list[list[str]]:
    """What the data make of every task, preset, draft and adapter, and of an instance with the usual options."""
    engine = test_engines.with_flags(name)
    # Of the version that the flags are of, so that options are held against them.
    image = f"registry.example.org/engine:v{engine['flags']['version']}"
    described: list[tuple[dict[str, Any], dict[str, Any]]] = [(one, {}) for one in test_engines.instances(engine)]
    described.append(({**described[0][0], "options": USUAL[name]}, {}))
    described.extend(one[:2] for one in test_engines.with_presets(engine))
    lines = []
    for one, expected in described:
        instance = {**one, "image": image}
        assert _instance.refusals([instance], [engine], {image: {}}, test_engines.MODELS, expected) == []
        (planned,) = _instance.plan(
            [instance], [engine], {image: {"reference": image}}, test_engines.MODELS, expected=expected
        )
        length = len(PROGRAM[name])
        assert planned["command"][:length] == PROGRAM[name]
        lines.append(planned["command"][length:])
    return lines


@pytest.mark.parametrize("name", sorted(PROGRAM))
def test_the_engines_own_parser(name: str) -> None:
    taken = command_lines(name)
    answer = engine_parsers.ask(name, [*taken, *([*taken[0], *wrong] for wrong in WRONG[name])])
    assert dict(zip(map(" ".join, taken), answer.refused)) == {" ".join(line): "" for line in taken}
    for wrong, said in zip(WRONG[name], answer.refused[len(taken) :]):
        assert wrong[-1].lstrip("-") in said or wrong[0] in said, f"{wrong}: {said!r}"

    committed = engine_flags.FOLDER / f"{name}.yml"
    known = yaml.safe_load(committed.read_text(encoding="utf-8"))
    assert (answer.version, answer.flags) == (known["version"], known["flags"]), "run tests/lab/engine_flags.py"


def test_every_engine_with_flags_is_asked() -> None:
    assert set(PROGRAM) == set(test_engines.FLAGS) == set(engine_flags.ENGINES)
