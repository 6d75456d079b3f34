# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long a model of 1,000 files and 700 GB takes to be described, with nothing of it in memory.

The files are sparse: headers as those of a model with 256 experts, and holes where its weights would be. The description runs as a module
does, in a process of its own. Aim: 2 seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import import_local

FILES = 1000
TENSORS = 90
BYTES = 700_000_000
AIM = 2.0
CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_attention_heads": 128, "num_key_value_heads": 128,
    "hidden_size": 7168, "num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "n_routed_experts": 256,
    "moe_intermediate_size": 2048, "first_k_dense_replace": 3, "intermediate_size": 18432, "vocab_size": 129280, "torch_dtype": "bfloat16",
}  # fmt: skip


def make(directory: Path) -> None:
    """The model: each file with its header, and an index of all of them."""
    width = BYTES // TENSORS // 2
    weight_map = {}
    for number in range(FILES):
        name = f"model-{number + 1:05}-of-{FILES:05}.safetensors"
        header = {
            f"model.layers.{number % 61}.mlp.experts.{number}.part_{part}.weight": {
                "dtype": "BF16",
                "shape": [width],
                "data_offsets": [2 * part * width, 2 * (part + 1) * width],
            }
            for part in range(TENSORS)
        }
        text = json.dumps(header).encode()
        with open(directory / name, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + 2 * TENSORS * width)
        weight_map.update(dict.fromkeys(header, name))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (directory / "config.json").write_text(json.dumps(CONFIG))


def forget(directory: Path) -> bool:
    """Let the kernel forget the files; whether it could be asked to."""
    os.sync()
    for path in directory.iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def measure(turns: int = 3) -> tuple[float, bool]:
    """The best of some turns, in seconds, and whether names and inodes were forgotten as well as contents."""
    directory = Path(tempfile.mkdtemp(prefix="bench-model-"))
    try:
        make(directory)
        taken = []
        for _turn in range(turns):
            cold = forget(directory)
            started = time.monotonic()
            result = import_local.run("model_info", path=str(directory))
            taken.append(time.monotonic() - started)
            model = result["model"]
            if not isinstance(model, dict) or len(model["weights"]["files"]) != FILES:
                raise RuntimeError(f"the model was not described: {result}")
        return min(taken), cold
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    seconds, forgotten = measure()
    note = "" if forgotten else " (names and inodes were in memory: run as root)"
    print(f"a model of {FILES} files and 700 GB described in {seconds:.2f} s, {seconds / AIM:.2f} of the aim{note}")
    sys.exit(0)
