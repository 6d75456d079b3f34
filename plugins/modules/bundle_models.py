#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_models
short_description: Collect models into the bundle
version_added: "0.1.0"
author: "airgap.inference contributors (@airgap-inference)"
description:
  - Brings models into the bundle, from a hub, from a directory, or by a NIM image, each with a list of SHA-256 digests beside it.
  - Files are hashed while they arrive or are copied. An interrupted run goes on in the middle of a file of a hub, and with the files that
    are still missing.
  - The revision of a model of a hub is its commit (with eight digits of its digest where patterns chose its files); that of any other model
    is made from its content.
  - A file of a hub is checked against the hub's own digest, SHA-256 or that of git. One that is wrong is refused by name.
  - A branch or tag is resolved once and locked to its commit.
  - Where a model has safetensors, the same weights in other formats are left out, and the message says so. Pickled files are refused unless
    they are allowed by name. Licence and model card always stay.
  - A model whose index of shards names a file that is not there is refused.
  - A model whose files have the same sizes and times as its source is not read again.
  - Links inside a directory, and those of a hub's cache, are followed. Links that leave it and special files are refused.
  - Directories C(.git) and C(.cache) at the top of a directory are left out.
  - Models that are no longer listed are removed from the bundle.
  - A hub is asked as the environment says, by the variables of huggingface_hub. C(HF_TOKEN) is the only place a token is taken from;
    C(HF_ENDPOINT) names a mirror; C(HTTPS_PROXY), C(HTTP_PROXY) and C(NO_PROXY) name proxies; C(SSL_CERT_FILE), C(REQUESTS_CA_BUNDLE) or
    C(CURL_CA_BUNDLE) names the PEM file of a private CA.
  - A NIM image is run by Docker, and gets C(NGC_API_KEY), C(HF_TOKEN), proxies and C(SSL_CERT_FILE) of the environment.
requirements:
  - huggingface_hub >= 1, < 3 (for sources hf://)
  - docker (for sources nim://)
options:
  path:
    description: The directory of models in the bundle.
    type: path
    required: true
  models:
    description: The models.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name that clients ask for.
        type: str
        required: true
      source:
        description:
          - C(hf://organisation/name@revision), a model of a hub; the revision is a commit, a branch or a tag, and C(main) when it is left out.
          - C(nim://registry/repository:tag), a NIM image.
          - The absolute path of a directory on the staging machine.
        type: str
        required: true
      include:
        description: Patterns of the files that travel, as huggingface_hub knows them. Without any, all but duplicates of safetensors.
        type: list
        elements: str
        default: []
      exclude:
        description: Patterns of files that do not travel.
        type: list
        elements: str
        default: []
      allow_pickle:
        description: Names of pickled files that may travel. Loading one can run the code of whoever made it.
        type: list
        elements: str
        default: []
      nim:
        description: What a NIM image is asked for.
        type: dict
        suboptions:
          profile:
            description: The identifier of the profile. Without one the module fails and shows the image's own list.
            type: str
          command:
            description:
              - C(create-model-store) leaves a directory of the model, to be served by its path.
              - C(download-to-cache) leaves a cache. Its links are carried as files, which takes more space.
            type: str
            choices: [create-model-store, download-to-cache]
            default: create-model-store
  cache:
    description: Where files of hubs and of NIM are kept between runs. Needed for these sources.
    type: path
  lock:
    description: The file that says which commit a branch or tag was when it was first staged, and which digest a NIM image had.
    type: path
  update:
    description: Names of models whose branch, tag or NIM image is resolved anew.
    type: list
    elements: str
    default: []
  digests:
    description: A file in which digests of files are remembered, so that they are not read again.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: partial
    details: A NIM image that has not been asked yet is not run; its model is said to be fetched, and its bytes are not known.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: partial
    details: A model in O(update) is changed by each run before which its branch, tag or image has moved.
"""

EXAMPLES = r"""
- name: Collect models
  airgap.inference.bundle_models:
    path: /srv/staging/bundle/models
    cache: /srv/staging/cache
    lock: /srv/staging/models.lock.json
    models:
      - name: llama-3.1-8b-instruct
        source: hf://meta-llama/Llama-3.1-8B-Instruct@0e9e39f249a16976918f6564b8830bc894c89659
      - name: qwen-gguf
        source: hf://example/Qwen-GGUF@main
        include: ["*Q4_K_M*.gguf"]
      - name: house-model
        source: /srv/staging/models/house-model
      - name: nim-llama
        source: nim://nvcr.io/nim/meta/llama-3.1-8b-instruct:1.15.5
        nim: {profile: 1cafe40d906fd2c1f82cdcb56d141212826ad4521124276ee77611e776f1f04a}
"""

RETURN = r"""
artifacts:
  description: What the manifest says about the models. In check mode, those that the bundle already holds.
  returned: success
  type: list
  elements: dict
fetched:
  description: The models that were brought.
  returned: success
  type: list
  elements: str
fetched_bytes:
  description: The bytes of these models.
  returned: success
  type: int
  sample: 16060522496
left_out:
  description: The files that were left out because safetensors hold the same weights, with the name of their model before them.
  returned: success
  type: list
  elements: str
  sample: [llama-3.1-8b-instruct/original/consolidated.00.pth]
removed:
  description: The models and revisions that were removed.
  returned: success
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 14.2
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _models
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    nim = {
        "profile": {"type": "str"},
        "command": {
            "type": "str",
            "choices": ["create-model-store", "download-to-cache"],
            "default": "create-model-store",
        },
    }
    patterns = {"type": "list", "elements": "str", "default": []}
    model = {
        "name": {"type": "str", "required": True},
        "source": {"type": "str", "required": True},
        "include": patterns,
        "exclude": patterns,
        "allow_pickle": patterns,
        "nim": {"type": "dict", "options": nim},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "models": {"type": "list", "elements": "dict", "required": True, "options": model},
            "cache": {"type": "path"},
            "lock": {"type": "path"},
            "update": {"type": "list", "elements": "str", "default": []},
            "digests": {"type": "path"},
        },
        supports_check_mode=True,
    )
    started = time.monotonic()
    try:
        collection = _models.collect(module.params, check_mode=module.check_mode)
    except (AirgapError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**collection.result(), seconds=round(time.monotonic() - started, 2))


if __name__ == "__main__":
    main()
