# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines' data and instances for tests: one that can do everything, and one that takes a file."""

from __future__ import annotations

from typing import Any

COMPLETIONS: dict[str, Any] = {
    "options": {},
    "api": [{"path": "/v1/completions", "methods": ["POST"]}],
    "probe": {"path": "/v1/completions", "body": {"model": "{model}", "prompt": "Hello"}, "expects": "text"},
}
EMBEDDINGS: dict[str, Any] = {
    "options": {"runner": "pooling"},
    "api": [{"path": "/v1/embeddings", "methods": ["POST"]}, {"path": "/v2/models/{model}/infer", "methods": ["POST"]}],
    "probe": {"path": "/v1/embeddings", "body": {"model": "{model}", "input": "Hello"}, "expects": "embedding"},
}
ENGINE: dict[str, Any] = {
    "name": "vllm",
    "minimum_version": "0.32.0",
    "command": ["vllm", "serve", "{model_directory}", "--served-model-name", "{model}", "--uds", "{socket}"],
    "container": {
        "model_directory": "/model",
        "socket_directory": "/run/engine",
        "draft_directory": "/draft",
        "adapters_directory": "/adapters",
    },
    "options": {"shutdown_timeout": 60},
    "reserved_options": ["uds", "served_model_name"],
    "negated_options": True,
    "gpu_option": "tensor_parallel_size",
    "drain_option": "shutdown_timeout",
    "draft_options": {"speculative_config": {"model": "{draft_directory}", "num_speculative_tokens": 5}},
    "adapter_form": "{adapter}={adapter_directory}",
    "adapter_options": {"enable_lora": True, "lora_modules": "{adapters}"},
    "presets": {
        "throughput": [
            {"gpus": "hopper", "options": {"max_num_seqs": 1024}},
            {"gpus": "any", "options": {"performance_mode": "throughput", "max_num_seqs": 256}},
        ],
        "latency": [{"gpus": "blackwell", "options": {"performance_mode": "interactivity"}}],
    },
    "environment": {"HF_HUB_OFFLINE": "1"},
    "forbidden_environment": ["HF_TOKEN"],
    "health": "/health",
    "metrics": "/metrics",
    "tasks": {"generate": COMPLETIONS, "embed": EMBEDDINGS},
}
FILE_ENGINE: dict[str, Any] = {
    "name": "llama-cpp",
    "command": ["llama-server", "--model", "{model_file}", "--port", "{port}"],
    "container": {"model_directory": "/model", "socket_directory": "/run/engine", "draft_directory": "/draft"},
    "listens": "tcp",
    "port": 8080,
    "takes_file": "*.gguf",
    "draft_options": {"model_draft": "{draft_file}"},
    "environment": {"LLAMA_ALIAS": "{model}"},
    "health": "/health",
    "tasks": {"generate": COMPLETIONS},
}
ENGINES = {str(engine["name"]): engine for engine in (ENGINE, FILE_ENGINE)}
IMAGE = "docker.io/vllm/vllm-openai:v0.32.0"
LLAMA = "ghcr.io/ggml-org/llama.cpp:server-b6000"
IMAGES = {
    IMAGE: {"reference": "docker.io/vllm/vllm-openai@sha256:ab"},
    LLAMA: {"reference": "ghcr.io/ggml-org/llama.cpp@sha256:cd"},
}
MODELS: dict[str, dict[str, Any]] = {
    "tiny": {"revision": "r1", "gguf": []},
    "small": {"revision": "r2", "gguf": []},
    "legal-lora": {"revision": "r3", "gguf": []},
    "file": {"revision": "r4", "gguf": ["file-q4.gguf"]},
}
CHAT: dict[str, Any] = {"name": "chat", "engine": "vllm", "image": IMAGE, "model": "tiny"}
LEGAL = {"name": "legal", "model": "legal-lora"}
FILE: dict[str, Any] = {"name": "cpu", "engine": "llama-cpp", "image": LLAMA, "model": "file"}
