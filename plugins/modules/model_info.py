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
  - Reads C(config.json), C(generation_config.json), the index and the headers of the safetensors files of a model directory, or the header
    of a GGUF file; never the weights.
  - Returns what an engine will make of it, and the tensor parallel sizes at which vLLM really loads it.
    vLLM's own check of the configuration asks only whether the attention heads can be divided;
    the key-value heads, the vocabulary, the intermediate sizes and the blocks and groups of a quantisation stop it later, while it loads.
  - What the configuration leaves to the engine's own configuration classes is filled in from them, as the engine does.
    What is not known is said in RV(model.unknown), and never guessed.
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
  complete:
    description:
      - Whether it is an error that weight files are missing which the index names. Otherwise they are in RV(model.weights.missing_files).
    type: bool
    default: true
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
    known_architecture:
      description:
        - Whether vLLM 0.32 has this architecture.
        - V(false) is no refusal, as an engine may load others by their own code or by transformers. V(null) where the configuration names none.
      type: bool
      sample: true
    model_type:
      description: The name of the configuration's class.
      type: str
      sample: llama
    format:
      description: In which format the weights are. V(null) where the directory holds none.
      type: str
      choices: [safetensors, gguf]
      sample: safetensors
    attention_heads:
      description: Attention heads of a layer; V(0) for a model without attention.
      type: int
      sample: 32
    kv_heads:
      description: Key-value heads of a layer; as many as attention heads where the configuration states none.
      type: int
      sample: 8
    latent_attention:
      description: Whether vLLM keeps one latent vector for all heads, so that only the attention heads are divided.
      type: bool
      sample: false
    head_size:
      description: The size of a head. With latent attention, the size of what is cached for a token.
      type: int
      sample: 128
    v_head_size:
      description: The size of a value's head, where the configuration states one.
      type: int
      sample: 128
    attention:
      description:
        - The layers in groups that are alike. A layer with both attention and a recurrent part is in two groups; one with neither is in none.
        - V(null) where the configuration states them in no form that is known.
      type: list
      elements: dict
      contains:
        kind:
          description: What the layers do.
          type: str
          choices: [full, sliding, chunked, latent, linear, recurrent]
          sample: full
        layers:
          description: How many they are.
          type: int
          sample: 32
        cached:
          description: Whether they keep something of their own. V(false) for layers that read what earlier layers keep.
          type: bool
          sample: true
        window:
          description: How many tokens a sliding layer looks back, or the length of a chunk.
          type: int
          sample: 4096
        heads:
          description: Attention heads. V(null) where there are none.
          type: int
          sample: 32
        kv_heads:
          description: Key-value heads; V(1) with latent attention.
          type: int
          sample: 8
        head_size:
          description: What is cached of a key.
          type: int
          sample: 128
        v_head_size:
          description: What is cached of a value; V(0) with latent attention, which keeps both in one.
          type: int
          sample: 128
        indexer_head_size:
          description: The size of the second key that sparse attention keeps.
          type: int
          sample: 128
        state:
          description: >-
            What a linear or recurrent layer keeps for a sequence, however long it is, by its C(type): C(gated_delta) (key_heads, value_heads,
            key_head_size, value_head_size, convolution), C(kda) (heads, head_size, convolution), C(lightning) (heads, head_size),
            C(short_convolution) (width, convolution), C(mamba1) (width, state_size, convolution) or C(mamba2) (width, heads, head_size, groups,
            state_size, convolution).
          type: dict
          sample: {"type": "mamba1", "width": 8192, "state_size": 16, "convolution": 4}
    kv_cache_bytes_per_token:
      description:
        - What all layers together keep for a token in RV(model.engine_dtype), not divided among GPUs.
        - Neither the states of recurrent layers nor the second key of sparse attention are in it.
      type: int
      sample: 131072
    kv_cache_dtype_hint:
      description: The type in which vLLM keeps the cache of this checkpoint when nothing else is asked for. V(null) for that of the model.
      type: str
      sample: fp8_e4m3
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
    experts_shared:
      description: The number of experts that every token takes.
      type: int
      sample: 0
    experts_per_token:
      description: How many routed experts a token takes.
      type: int
      sample: 0
    moe_intermediate_size:
      description: The width of an expert. V(null) for a dense model.
      type: int
      sample: 1536
    shared_intermediate_size:
      description: The width of the experts that every token takes, together.
      type: int
      sample: 2048
    dense_layers:
      description: How many layers have no experts.
      type: int
      sample: 32
    layers:
      description: The number of layers.
      type: int
      sample: 32
    vision:
      description: The vision tower. V(null) where there is none.
      type: dict
      contains:
        heads:
          description: Its attention heads.
          type: int
          sample: 16
        hidden_size:
          description: Its width.
          type: int
          sample: 1152
        layers:
          description: Its layers.
          type: int
          sample: 27
        replicated:
          description: Whether vLLM keeps the tower whole on each GPU where its heads cannot be divided.
          type: bool
          sample: false
    vision_heads:
      description: Attention heads of the vision tower, if there is one.
      type: int
      sample: 16
    context_length:
      description: The smallest of the context lengths stated, before any scaling of rotary embeddings.
      type: int
      sample: 131072
    context_length_scaled:
      description: What vLLM takes as C(max_model_len) when none is stated.
      type: int
      sample: 131072
    context_length_max:
      description: The largest C(max_model_len) that vLLM accepts.
      type: int
      sample: 131072
    rope_scaling:
      description: How rotary embeddings are scaled. V(null) where they are not.
      type: dict
      contains:
        type:
          description: The method.
          type: str
          sample: llama3
        factor:
          description: By how much.
          type: float
          sample: 8.0
        original_context_length:
          description: The context length with which the model was trained first.
          type: int
          sample: 8192
    sliding_window:
      description: How many tokens sliding layers look back, if the configuration states it; RV(model.attention) says which layers do.
      type: int
      sample: 4096
    vocabulary_size:
      description: The number of tokens.
      type: int
      sample: 128256
    tied_embeddings:
      description: Whether the output uses the weights of the input. V(null) where the configuration does not say.
      type: bool
      sample: false
    dtype:
      description: The type that the configuration states, else that of the weights.
      type: str
      sample: bfloat16
    engine_dtype:
      description: The type in which vLLM computes when none is stated.
      type: str
      choices: [bfloat16, float16]
      sample: bfloat16
    quantization:
      description: How the weights are quantised. V(null) where they are not.
      type: dict
      contains:
        method:
          description: The method's name.
          type: str
          sample: fp8
        engine_support:
          description: Whether vLLM 0.32 knows the method. V(null) where the configuration names none.
          type: bool
          sample: true
        bits:
          description: Bits of a weight.
          type: int
          sample: 4
        weight_type:
          description: What the bits are, V(int) or V(float).
          type: str
          sample: int
        activation_bits:
          description: Bits of an activation. V(null) where only the weights are quantised.
          type: int
          sample: 8
        group_size:
          description: How many weights share a scale; V(-1) for a whole channel.
          type: int
          sample: 128
        block_size:
          description: The two sides of a block of weights that share a scale.
          type: list
          elements: int
          sample: [128, 128]
        per_tensor:
          description: Whether a whole tensor shares one scale.
          type: bool
          sample: false
        mixed:
          description: Whether layers are quantised differently. The values are then those of the first group.
          type: bool
          sample: false
        modules_to_not_convert:
          description: What was left as it was.
          type: list
          elements: str
          sample: [lm_head]
        kv_cache_scheme:
          description: How the cache is meant to be quantised, as the checkpoint states it.
          type: dict
          sample: {"algorithm": "FP8"}
    remote_code:
      description: Classes of the model's own that its files ask the engine to run.
      type: list
      elements: str
      sample: [modeling_phi3.Phi3ForCausalLM]
    unknown:
      description: What could not be told, in words. Empty where everything is known.
      type: list
      elements: str
      sample: []
    tensor_parallel_sizes:
      description: The sizes from 1 to 16 at which vLLM loads the model.
      type: list
      elements: int
      sample: [1, 2, 4, 8, 16]
    tokenizer:
      description: Whether the directory holds a tokenizer.
      type: bool
      sample: true
    tokenizer_kind:
      description: Whose form the tokenizer has.
      type: str
      choices: [tokenizers, mistral, sentencepiece, tiktoken, bpe, wordpiece, gguf]
      sample: tokenizers
    generation:
      description: What C(generation_config.json) says. V(null) without that file.
      type: dict
      contains:
        max_length:
          description: The longest text.
          type: int
          sample: 4096
        max_new_tokens:
          description: The longest answer.
          type: int
          sample: 2048
        eos_token_ids:
          description: The tokens that end an answer.
          type: list
          elements: int
          sample: [128001, 128008, 128009]
    licence:
      description: What the model's card says, else the name of the licence file.
      type: str
      sample: llama3.1
    weights:
      description: The weights. V(null) where the directory holds none.
      type: dict
      contains:
        files:
          description: The files with the weights; with an index, those that it names.
          type: list
          elements: str
          sample: [model-00001-of-00002.safetensors, model-00002-of-00002.safetensors]
        surplus_files:
          description: Files with weights that no engine reads beside these.
          type: list
          elements: str
          sample: []
        missing_files:
          description: Files that the index names and that are not there; only where O(complete) is V(false).
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
        parameters:
          description: The number of parameters, packed weights unpacked and without scales. V(null) where the packing is not known.
          type: int
          sample: 8030261248
alternatives:
  description: >-
    The ways to put O(tensor_parallel_size) GPUs to use, best first: dividing each layer, then stages of layers (they need not be equal; vLLM
    has them for most models), then replicas of the whole model.
  returned: when O(tensor_parallel_size) is stated
  type: list
  elements: dict
  contains:
    tensor_parallel_size:
      description: Over how many GPUs each layer is divided.
      type: int
      sample: 2
    pipeline_parallel_size:
      description: How many stages of layers there are.
      type: int
      sample: 2
    data_parallel_size:
      description: How many replicas there are.
      type: int
      sample: 1
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _model
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "complete": {"type": "bool", "default": True},
            "tensor_parallel_size": {"type": "int"},
        },
        supports_check_mode=True,
    )
    path, size = module.params["path"], module.params["tensor_parallel_size"]
    try:
        model = _model.read(path, module.params["complete"])
    except AirgapError as error:
        module.fail_json(msg=str(error))
    refusal = None if size is None else _model.tensor_parallel_refusal(model, size)
    answer = {"model": model} if size is None else {"model": model, "alternatives": _model.alternatives(model, size)}
    if refusal is not None:
        module.fail_json(msg=". ".join(filter(None, [f"{path}: {refusal}", _model.proposal(model, size)])), **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
