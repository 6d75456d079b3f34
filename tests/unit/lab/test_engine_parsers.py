# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from llama-server's help, and the file that is written of an engine's flags."""

from __future__ import annotations

import engine_flags
import yaml
from airgap_lab import engine_parsers

# As llama-server 0.7.0 writes it.
HELP = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      number of CPU threads to use during generation, see --numa
                                        (env: LLAMA_ARG_THREADS)
-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
-kvo,  --kv-offload, -nkvo, --no-kv-offload
                                        whether to enable KV cache offloading (default: enabled)
--cpu-strict <0|1>                      use strict CPU placement (default: 0)


----- speculative params -----

--spec-draft-override-tensor, -otd, --override-tensor-draft <tensor name pattern>=<buffer type>,...
                                        override tensor buffer type for draft model
--fim-qwen-1.5b-default                 use default Qwen 2.5 Coder 1.5B (note: can download weights from the
                                        internet)
--draft, --draft-n, --draft-max N       the argument has been removed. use --spec-draft-n-max or
                                        --spec-ngram-mod-n-max
"""


def test_the_flags_of_a_help_text() -> None:
    assert engine_parsers.help_flags(HELP) == [
        *("--cpu-strict", "--ctx-size", "--fim-qwen-1.5b-default", "--kv-offload", "--no-kv-offload"),
        *("--override-tensor-draft", "--spec-draft-override-tensor", "--threads"),
    ]


def test_a_file_of_flags_is_plain_data() -> None:
    text = engine_flags.written(
        "0.7.0", "llama-server --help of example.org/llama.cpp:server (0.7.0)", ["--a", "--b-c"]
    )
    assert yaml.safe_load(text) == {
        "version": "0.7.0",
        "source": "llama-server --help of example.org/llama.cpp:server (0.7.0)",
        "flags": ["--a", "--b-c"],
    }
