#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: Describe a language model from its directory
version_added: "0.1.0"
description:
  - Reads C(config.json), the index and the headers of the safetensors files of a model directory, never the weights.
  - Returns what an engine will make of it, and the tensor parallel sizes at which vLLM really loads it.
    vLLM's own check of the configuration asks only whether the attention heads can be divided;
    the key-value heads, the vocabulary and the intermediate size stop it later, while it loads, with a bare assertion.
  - Fails with the file's name where a file is damaged, cut off or missing. Sizes are bounded, so that a damaged file costs neither
    time nor memory.
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
      - The model's directory.
      - A directory that holds only a C(config.json) is described except for its weights.
    type: path
    required: true
  tensor_parallel_size:
    description:
      - Over how many GPUs the model is to be split. The module fails where this cannot be done, and names the sizes that can.
    type: int
"""

EXAMPLES = r"""
- name: The model is known
  airgap.inference.model_info:
    path: /srv/airgap/models/llama-3.1-8b-instruct/0e9e39f249a16976
  register: model_info

- name: The model can be split over the instance's GPUs
  airgap.inference.model_info:
    path: /srv/airgap/models/llama-3.1-8b-instruct/0e9e39f249a16976
    tensor_parallel_size: 2
"""

RETURN = r"""
model:
  description: The model. A value that its files do not state is V(null).
  returned: success, and when O(tensor_parallel_size) is refused
  type: dict
  contains:
    architecture:
      description: The first of the architectures that the configuration names.
      type: str
      sample: LlamaForCausalLM
    attention_heads:
      description: Attention heads of a layer.
      type: int
      sample: 32
    kv_heads:
      description: Key-value heads of a layer; as many as attention heads where the configuration states none.
      type: int
      sample: 8
    latent_attention:
      description: Whether the model has multi-head latent attention, where only the attention heads are divided.
      type: bool
      sample: false
    head_size:
      description: The size of a head. With latent attention, the size of what is cached for a token.
      type: int
      sample: 128
    hidden_size:
      description: The width of a layer.
      type: int
      sample: 4096
    intermediate_size:
      description: The width of the feed-forward part of a layer.
      type: int
      sample: 14336
    experts:
      description: The number of routed experts; V(0) for a dense model.
      type: int
      sample: 0
    layers:
      description: The number of layers.
      type: int
      sample: 32
    vision_heads:
      description: Attention heads of the vision tower, if there is one.
      type: int
      sample: 16
    context_length:
      description: The smallest of the context lengths stated, before any scaling of rotary embeddings.
      type: int
      sample: 131072
    vocabulary_size:
      description: The number of tokens.
      type: int
      sample: 128256
    dtype:
      description: The type in which the model computes.
      type: str
      sample: bfloat16
    quantization:
      description: How the weights are quantised. V(null) where they are not.
      type: dict
      contains:
        method:
          description: The method's name.
          type: str
          sample: fp8
        bits:
          description: Bits of a weight.
          type: int
          sample: 4
        group_size:
          description: How many weights share a scale.
          type: int
          sample: 128
        block_size:
          description: The two sides of a block of weights that share a scale.
          type: list
          elements: int
          sample: [128, 128]
    tensor_parallel_sizes:
      description: The sizes from 1 to 16 at which vLLM loads the model.
      type: list
      elements: int
      sample: [1, 2, 4, 8, 16]
    tokenizer:
      description: Whether the directory holds a tokenizer.
      type: bool
      sample: true
    weights:
      description: The weights. V(null) where the directory holds no safetensors file and no index.
      type: dict
      contains:
        files:
          description: The files with the weights; with an index, those that it names.
          type: list
          elements: str
          sample: [model-00001-of-00002.safetensors, model-00002-of-00002.safetensors]
        surplus_files:
          description: Safetensors files that the index does not name.
          type: list
          elements: str
          sample: []
        bytes:
          description: The exact size of all weights.
          type: int
          sample: 16060522496
        bytes_by_dtype:
          description: The same by the type in which they are stored.
          type: dict
          sample: {"BF16": 16060522496}
        elements:
          description: How many numbers are stored. For packed quantised weights this is less than the number of parameters.
          type: int
          sample: 8030261248
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "tensor_parallel_size": {"type": "int"},
        },
        supports_check_mode=True,
    )
    path, size = module.params["path"], module.params["tensor_parallel_size"]
    try:
        model = _model.read(path)
    except AirgapError as error:
        module.fail_json(msg=str(error))
    refusal = None if size is None else _model.tensor_parallel_refusal(model, size)
    if refusal is not None:
        module.fail_json(msg=f"{path}: {refusal}", model=model)
    module.exit_json(changed=False, model=model)


if __name__ == "__main__":
    main()
