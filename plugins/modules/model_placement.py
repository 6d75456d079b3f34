#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_placement
short_description: Tell whether a model fits on GPUs, how well, and what to change
version_added: "0.1.0"
description:
  - Computes from a model's configuration and the headers of its files what it takes of each GPU in vLLM 0.32, and what is left for the KV cache.
    No weight is read, no GPU is touched and nothing is changed, so the answer is the same on a machine without any GPU.
  - The tokens of the KV cache and the concurrency are those of the line that vLLM logs when it starts. For a fixed RV(kv_cache_memory_bytes) they
    are exact; where the memory is what weights and activations leave, they are as exact as the model of these in C(docs/placement.md).
  - Holds the GPUs' generation against the model's quantisation and types, the driver against the image's CUDA, and memory, shared memory and disks
    of the host against what is needed, as far as they are stated.
  - A model that does not fit is no failure of the module; see RV(verdict).
author:
  - airgap.inference contributors (@airgap-inference)
attributes:
  check_mode:
    support: full
    description: The module changes nothing, and runs in check mode as it does otherwise.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: The module changes nothing.
options:
  path:
    description:
      - The model's directory. With only a C(config.json) the weights are computed from it.
    type: path
    required: true
  gpus:
    description:
      - The GPUs that the instance may use, best the result of M(airgap.inference.gpu_info), or its RV(airgap.inference.gpu_info#module:gpus).
      - Of each, C(memory_mib) and C(compute_capability) are used, and C(index), C(name), C(uuid), C(pci_address), C(memory_used_mib),
        C(memory_reserved_mib) and C(nvlink) where they are stated.
      - A GPU with C(promised_to), the name of another instance, is left to that one.
    type: raw
  device:
    description:
      - What the engine runs on. V(auto) is V(cuda), or V(cpu) where O(kv_cache_bytes) is stated and O(gpus) is not.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
  tensor_parallel_size:
    description: The GPUs among which each layer is divided.
    type: int
    default: 1
  pipeline_parallel_size:
    description: The groups of GPUs that have some of the layers each.
    type: int
    default: 1
  data_parallel_size:
    description: The replicas, each on GPUs of its own.
    type: int
    default: 1
  max_model_len:
    description: The longest request. Where it is not stated, it is what vLLM takes from the model's configuration.
    type: int
  gpu_memory_utilization:
    description: The share of each GPU's memory that the engine may use.
    type: float
    default: 0.92
  kv_cache_dtype:
    description: The type of the numbers in the KV cache. V(auto) is that of the model or of its quantisation.
    type: str
    choices: [auto, float16, bfloat16, fp8, fp8_e4m3, fp8_e5m2]
    default: auto
  kv_cache_bytes:
    description:
      - The memory of the KV cache of each rank, where it is fixed by C(--kv-cache-memory-bytes), or by C(VLLM_CPU_KVCACHE_SPACE) on CPUs.
    type: int
  dtype:
    description: The type that the engine computes with.
    type: str
    choices: [auto, half, float16, bfloat16, float, float32]
    default: auto
  max_num_batched_tokens:
    description: The tokens of one step. Where it is not stated, it is the engine's default for such GPUs.
    type: int
  max_num_seqs:
    description: The requests of one step. Where it is not stated, it is the engine's default for such GPUs.
    type: int
  block_size:
    description: The tokens of a block of the KV cache. Where it is not stated, it is the engine's default for such a device.
    type: int
  enforce_eager:
    description: Whether the engine goes without CUDA graphs.
    type: bool
    default: false
  enable_prefix_caching:
    description: Whether the engine keeps prefixes; layers with a recurrent state keep one more state a request for it.
    type: bool
    default: true
  image:
    description: The engine's image, as its environment describes it.
    type: dict
    default: {}
    suboptions:
      cuda_version:
        description: The release of CUDA that it was built with, its C(CUDA_VERSION).
        type: str
      require_cuda:
        description: Its C(NVIDIA_REQUIRE_CUDA).
        type: str
  host:
    description: The host, as far as it is known. The versions are taken from O(gpus) where that is the whole result of M(airgap.inference.gpu_info).
    type: dict
    default: {}
    suboptions:
      driver_version:
        description: The version of the driver.
        type: str
      cuda_version:
        description: The newest release of CUDA that the driver serves.
        type: str
      memory_mib:
        description: The host's memory.
        type: int
      shm_mib:
        description: The shared memory that the instance's container gets.
        type: int
  disks:
    description: The places where the model or the image come to lie.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the place is, for example C(depot).
        type: str
        required: true
      path:
        description: The directory.
        type: str
      free_bytes:
        description: What is free there.
        type: int
        required: true
      needed_bytes:
        description: What comes to it. Where it is not stated, it is the size of the model's weights.
        type: int
"""

EXAMPLES = r"""
- name: Does the model fit on two of these GPUs?
  airgap.inference.model_placement:
    path: /srv/models/llama-3.1-70b-instruct
    tensor_parallel_size: 2
    max_model_len: 32768
    gpus:
      - {memory_mib: 81559, compute_capability: "9.0"}
      - {memory_mib: 81559, compute_capability: "9.0"}
  register: placement

- name: The GPUs of a host are known
  airgap.inference.gpu_info:
  register: gpu_info

- name: It fits on this host
  airgap.inference.model_placement:
    path: /srv/models/llama-3.1-8b-instruct
    gpus: "{{ gpu_info }}"
    image: {cuda_version: "13.0.2"}
  register: placement
  failed_when: placement.verdict == 'does not fit'
"""

RETURN = r"""
verdict:
  description:
    - V(fits); V(tight) where it works with less room than this estimate may be off, or otherwise than meant; V(does not fit); or V(unknown) where
      something that decides is not stated or not known.
  returned: success
  type: str
  sample: tight
reasons:
  description: Why the verdict is not V(fits), each with the value seen.
  returned: success
  type: list
  elements: str
remedies:
  description: What would change the verdict, the smallest change first. Each was tried by asking again.
  returned: success
  type: list
  elements: str
  sample: ["Set max_model_len 24576 instead of 32768: fits: 27104 tokens of KV cache"]
changes:
  description: The same as options of this module, one dictionary for each remedy; empty where only other hardware or another model helps.
  returned: success
  type: list
  elements: dict
  sample: [{max_model_len: 24576}]
notes:
  description: What is worth knowing and changes nothing.
  returned: success
  type: list
  elements: str
tensor_parallel_sizes:
  description: The sizes at which the model loads, from 1 to 16.
  returned: success
  type: list
  elements: int
  sample: [1, 2, 4, 8]
weights_bytes_per_gpu:
  description: The weights on the GPU that holds most. V(null) where they are not known.
  returned: success
  type: int
  sample: 8030261248
weights_estimated:
  description: Whether they were computed from the configuration, since the files are not there.
  returned: success
  type: bool
activation_bytes_per_gpu:
  description: The peak of a step, as modelled. V(null) on CPUs.
  returned: success
  type: int
graph_bytes_per_gpu:
  description: The CUDA graphs, as modelled. V(null) on CPUs.
  returned: success
  type: int
library_bytes_per_gpu:
  description: What libraries and communication take, as modelled. V(null) on CPUs.
  returned: success
  type: int
kv_cache_memory_bytes:
  description: The memory of the KV cache on each GPU.
  returned: success
  type: int
kv_cache_bytes_per_token:
  description: What one token takes of it on each rank, in all layers that keep it.
  returned: success
  type: int
  sample: 65536
kv_cache_tokens:
  description: The tokens of the KV cache, as the engine logs them.
  returned: success
  type: int
  sample: 492912
max_concurrency:
  description: How many requests of the full length fit at a time, as the engine logs it.
  returned: success
  type: float
  sample: 120.34
max_model_len:
  description: The length for which the answer holds.
  returned: success
  type: int
largest_max_model_len:
  description: The longest that fits, no longer than the model was made for.
  returned: success
  type: int
safe_max_model_len:
  description: The longest that fits even where the memory that activations take was estimated too small.
  returned: success
  type: int
margin_bytes:
  description: What is left of the KV cache beyond one request of the full length and the block that the engine keeps back.
  returned: success
  type: int
block_size:
  description: The tokens of a block of the KV cache.
  returned: success
  type: int
dtype:
  description: The type that the engine computes with.
  returned: success
  type: str
kv_cache_dtype:
  description: The type of the KV cache; V(auto) is RV(dtype).
  returned: success
  type: str
gpus:
  description: The indices of the GPUs for which the answer holds.
  returned: success
  type: list
  elements: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _placement_case, _placement_remedies
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError
from ansible_collections.airgap.inference.plugins.module_utils._placement_terms import CACHE_DTYPES, DTYPES


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "gpus": {"type": "raw"},
            "device": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
            "tensor_parallel_size": {"type": "int", "default": 1},
            "pipeline_parallel_size": {"type": "int", "default": 1},
            "data_parallel_size": {"type": "int", "default": 1},
            "max_model_len": {"type": "int"},
            "gpu_memory_utilization": {"type": "float", "default": 0.92},
            "kv_cache_dtype": {"type": "str", "choices": list(CACHE_DTYPES), "default": "auto"},
            "kv_cache_bytes": {"type": "int"},
            "dtype": {"type": "str", "choices": list(DTYPES), "default": "auto"},
            "max_num_batched_tokens": {"type": "int", "no_log": False},
            "max_num_seqs": {"type": "int"},
            "block_size": {"type": "int"},
            "enforce_eager": {"type": "bool", "default": False},
            "enable_prefix_caching": {"type": "bool", "default": True},
            "image": {
                "type": "dict",
                "default": {},
                "options": {"cuda_version": {"type": "str"}, "require_cuda": {"type": "str"}},
            },
            "host": {
                "type": "dict",
                "default": {},
                "options": {
                    "driver_version": {"type": "str"},
                    "cuda_version": {"type": "str"},
                    "memory_mib": {"type": "int"},
                    "shm_mib": {"type": "int"},
                },
            },
            "disks": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "path": {"type": "str"},
                    "free_bytes": {"type": "int", "required": True},
                    "needed_bytes": {"type": "int"},
                },
            },
        },
        supports_check_mode=True,
    )
    try:
        answer = _placement_remedies.place(_placement_case.read(module.params))
    except AirgapError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
