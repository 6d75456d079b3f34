#!/usr/bin/python
# Copyright (c) 2026 airgap.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Describe the NVIDIA GPUs of a host
version_added: "0.1.0"
description:
  - Asks C(nvidia-smi), the PCI bus and the kernel log of this boot, and returns the GPUs with their state, the driver's version,
    the newest CUDA version that the driver serves, the GPUs on the bus and the XIDs of each.
  - Names the problems of each GPU with what to do about them, and fails on request where a GPU is sick or is not the one
    that is expected; all GPUs in one message.
  - Where the GPUs cannot be described, the module fails and says which of the known failures it met, and what to do.
    It tells apart a driver that is not installed, not loaded, or of another version than its libraries,
    a host without GPUs, a GPU that was lost from the bus or waits for a reset, and an C(nvidia-smi) that hangs; and it adds
    what the bus and the kernel log say.
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
  nvidia_smi:
    description:
      - The program to ask, as a name on the C(PATH) or as a path.
    type: str
    default: nvidia-smi
  timeout:
    description:
      - Seconds to wait for an answer. It is asked twice, and a third time where a GPU is divided by MIG.
      - Without C(nvidia-persistenced), C(nvidia-smi) initialises every GPU anew, which takes seconds for each.
    type: int
    default: 60
  required:
    description:
      - How many GPUs are needed. With fewer on the host the module fails and states both numbers.
    type: int
  expected:
    description:
      - The hardware that the host must show. With other GPUs the module fails and names them.
    type: dict
    suboptions:
      count:
        description:
          - How many GPUs the driver must show, exactly.
        type: int
      name:
        description:
          - Part of every GPU's name, in small or capital letters.
        type: str
      memory_mib:
        description:
          - The memory that every GPU has at the least, as C(nvidia-smi) states it; a few per cent less are let through, since ECC takes them.
        type: int
      compute_capability:
        description:
          - The compute capability of every GPU, such as V(9.0). Not compared where an old C(nvidia-smi) does not state it.
        type: str
  healthy:
    description:
      - Whether the module fails where a GPU is sick, or is on the PCI bus and not shown by the driver.
      - "Sick is a GPU with uncorrectable ECC errors since it was initialised, with memory that waits to be replaced or cannot be,
        with a recovery action that the driver asks for, with an NVLink fabric that is not ready, slowed down by its hardware
        for heat or power, or with an XID in the kernel log of this boot after which NVIDIA's catalogue wants a reset, a restart or
        a look at the hardware. XIDs of applications (13, 31, 43, 45, 94 and others) are returned, and are no sickness."
      - An XID stays in the kernel log until the host is started again, which also resets the GPU.
      - A GPU that is set aside for virtual machines (driver vfio-pci) is not missed.
    type: bool
    default: false
notes:
  - The kernel log is read by C(journalctl -k -b), or by C(dmesg) where the journal has nothing of the kernel.
    Where neither can be read, the module warns and goes on without XIDs.
  - It is tested with reports in the shape of the driver branches 418 to 590, from V100 to B200 and GB10, and with simulated GPUs.
    It has not been run on a real GPU yet.
  - NVIDIA's Ampere boards with NVSwitch do not state their fabric, RV(gpus[].fabric) is V(null) for them.
seealso:
  - name: Analyzing Xid Errors with the Xid Catalog
    description: NVIDIA's list of XIDs and what to do after each.
    link: https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
  - name: Error Recovery and Response Flags
    description: What NVIDIA means by pending and failed row remapping and by a recovery action.
    link: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/error-recovery-and-response-flags.html
"""

EXAMPLES = r"""
- name: The GPUs of the host are known
  airgap.inference.gpu_info:
  register: gpu_info

- name: The host has the GPUs that its instance asks for
  airgap.inference.gpu_info:
    required: 2

- name: The host has its eight GPUs, and all of them are well
  airgap.inference.gpu_info:
    expected:
      count: 8
      name: H100
    healthy: true
"""

RETURN = r"""
gpus:
  description: The GPUs, in the order in which the driver numbers them.
  returned: success
  type: list
  elements: dict
  contains:
    index:
      description: The GPU's number, as in C(nvidia-smi) and in its CDI name.
      type: int
      sample: 0
    uuid:
      description: The GPU's identity, which stays when cards are moved.
      type: str
      sample: GPU-8a56a4bc-e184-a047-2620-be19fdf913d5
    name:
      description: The product's name.
      type: str
      sample: NVIDIA H100 80GB HBM3
    architecture:
      description: The product's generation. V(null) where the driver does not state it.
      type: str
      sample: Hopper
    compute_capability:
      description: What CUDA calls the generation. V(null) where an old C(nvidia-smi) does not know the field.
      type: str
      sample: "9.0"
    serial:
      description: The board's serial number. V(null) for boards without one.
      type: str
      sample: "1654523003308"
    pci_address:
      description: The GPU's place on the PCI bus.
      type: str
      sample: "00000000:1B:00.0"
    slot:
      description: The name of the slot that it sits in. V(null) where the machine names none.
      type: str
      sample: "7"
    memory_mib:
      description: The GPU's memory in MiB. V(null) where it shares the host's memory.
      type: int
      sample: 81559
    memory_used_mib:
      description: Of it, what is in use.
      type: int
      sample: 4
    persistence:
      description: Whether persistence mode is on, so that the driver keeps the GPU initialised.
      type: bool
      sample: true
    ecc_mode:
      description: V(enabled), V(disabled), or V(null) for a GPU without ECC.
      type: str
      sample: enabled
    ecc:
      description: ECC in detail. V(null) stands for what the GPU or the driver does not state.
      type: dict
      contains:
        mode:
          description: As RV(gpus[].ecc_mode).
          type: str
          sample: enabled
        pending:
          description: The mode after the next reset.
          type: str
          sample: enabled
        volatile_corrected:
          description: Corrected errors since the GPU was initialised.
          type: int
          sample: 0
        volatile_uncorrected:
          description: Uncorrectable errors since the GPU was initialised.
          type: int
          sample: 0
        aggregate_corrected:
          description: Corrected errors in the life of the GPU.
          type: int
          sample: 0
        aggregate_uncorrected:
          description: Uncorrectable errors in the life of the GPU.
          type: int
          sample: 0
        sram_threshold_exceeded:
          description: Whether the uncorrectable errors of the SRAM are past the limit for a replacement.
          type: bool
          sample: false
        channel_repair_pending:
          description: Whether a memory channel waits for a reset to be repaired.
          type: bool
          sample: false
        tpc_repair_pending:
          description: Whether a processing cluster waits for a reset to be repaired.
          type: bool
          sample: false
        unrepairable_memory:
          description: Whether there is memory that cannot be repaired.
          type: bool
          sample: false
    row_remap:
      description: Faulty memory rows and the spare ones in their place, on Ampere and later.
        V(null) stands for what is not stated, as while MIG instances exist.
      type: dict
      contains:
        corrected:
          description: Rows replaced for correctable errors.
          type: int
          sample: 0
        uncorrected:
          description: Rows replaced for uncorrectable errors.
          type: int
          sample: 0
        pending:
          description: Whether a row waits for a reset to be replaced.
          type: bool
          sample: false
        failure:
          description: Whether a row could not be replaced.
          type: bool
          sample: false
    retired_pages:
      description: Faulty memory pages that are out of use, before Ampere. V(null) stands for what is not stated.
      type: dict
      contains:
        single_bit:
          description: Pages retired for repeated single-bit errors.
          type: int
          sample: 0
        double_bit:
          description: Pages retired for double-bit errors.
          type: int
          sample: 0
        pending:
          description: Whether pages wait for a restart to be retired.
          type: bool
          sample: false
    mig_mode:
      description: V(enabled), V(disabled), or V(null) for a GPU that cannot be divided into instances.
      type: str
      sample: disabled
    mig:
      description: How the GPU is divided into instances.
      type: dict
      contains:
        mode:
          description: As RV(gpus[].mig_mode).
          type: str
          sample: enabled
        pending:
          description: The mode after the next reset.
          type: str
          sample: enabled
        instances:
          description: The MIG devices.
          type: list
          elements: dict
          contains:
            index:
              description: The number of the MIG device on its GPU, as in its CDI name.
              type: int
              sample: 0
            gi_id:
              description: The number of its GPU instance.
              type: int
              sample: 1
            ci_id:
              description: The number of its compute instance.
              type: int
              sample: 0
            profile:
              description: The name of its profile. V(null) where C(nvidia-smi -L) does not name it.
              type: str
              sample: 3g.40gb
            uuid:
              description: Its identity. V(null) where C(nvidia-smi -L) does not name it.
              type: str
              sample: MIG-3f1c8a52-7b0e-5d44-9a61-0c2f5e7d1a90
            memory_mib:
              description: Its memory in MiB.
              type: int
              sample: 40448
            memory_used_mib:
              description: Of it, what is in use.
              type: int
              sample: 44
            multiprocessors:
              description: Its multiprocessors.
              type: int
              sample: 60
    temperature_celsius:
      description: The GPU's temperature.
      type: int
      sample: 31
    power_limit_watts:
      description: The power limit in force.
      type: float
      sample: 700.0
    power:
      description: Power in watts. V(null) stands for what the GPU does not state.
      type: dict
      contains:
        draw:
          description: What the GPU draws now.
          type: float
          sample: 71.4
        limit:
          description: As RV(gpus[].power_limit_watts).
          type: float
          sample: 700.0
        default_limit:
          description: The limit after a restart.
          type: float
          sample: 700.0
        min_limit:
          description: The lowest limit that can be set.
          type: float
          sample: 200.0
        max_limit:
          description: The highest limit that can be set.
          type: float
          sample: 700.0
    throttle_reasons:
      description: Why the clocks are lower than they could be, as C(nvidia-smi) names the active reasons.
      type: list
      elements: str
      sample: [sw_power_cap]
    clock_reasons:
      description: Active reasons that are nobody's fault, idleness and settings.
      type: list
      elements: str
      sample: [gpu_idle]
    recovery_action:
      description: What the driver asks for, in its own words, the word V(None) for nothing.
        V(null) where the driver does not state it.
      type: str
      sample: Reset
    fabric:
      description: How far the GPU's registration with its NVLink fabric is, in the driver's words.
        V(null) for a GPU outside a fabric.
      type: dict
      contains:
        state:
          description: V(Completed) when it is done.
          type: str
          sample: Completed
        status:
          description: How it ended.
          type: str
          sample: Success
        clique_id:
          description: The part of the fabric that the GPU belongs to.
          type: str
          sample: "0"
        cluster_uuid:
          description: The fabric's identity, zeros within one host.
          type: str
          sample: 00000000-0000-0000-0000-000000000000
    processes:
      description: What uses the GPU.
      type: list
      elements: dict
      contains:
        pid:
          description: The process.
          type: int
          sample: 4711
        name:
          description: Its program. V(null) for another user's.
          type: str
          sample: /usr/bin/python3
        type:
          description: V(C) for computing, V(G) for graphics, V(C+G) for both.
          type: str
          sample: C
        memory_mib:
          description: The GPU's memory that it uses, in MiB.
          type: int
          sample: 70312
        gi_id:
          description: The GPU instance that it runs on. V(null) without MIG.
          type: int
          sample: 1
        ci_id:
          description: The compute instance that it runs on. V(null) without MIG.
          type: int
          sample: 0
    problems:
      description: What makes the GPU sick, each with the value seen and the remedy.
      type: list
      elements: str
      sample: ["a faulty memory row waits to be replaced by a spare one. Remedy: reboot the host"]
    vbios_version:
      description: The version of the GPU's firmware.
      type: str
      sample: 96.00.A5.00.01
driver_version:
  description: The version of the driver.
  returned: success
  type: str
  sample: 580.95.05
cuda_version:
  description: The newest CUDA version that the driver serves.
  returned: success
  type: str
  sample: "13.0"
gpus_on_bus:
  description: The NVIDIA GPUs on the PCI bus, whether a driver serves them or not.
  returned: always
  type: list
  elements: dict
  contains:
    pci_address:
      description: The place as the kernel writes it.
      type: str
      sample: 0000:1b:00.0
    device_id:
      description: The device's number under NVIDIA's vendor number 10de.
      type: str
      sample: "2330"
    driver:
      description: The kernel driver that serves it. V(null) for none.
      type: str
      sample: nvidia
    slot:
      description: The name of the slot that it sits in. V(null) where the machine names none.
      type: str
      sample: "7"
xids:
  description: What the driver wrote into the kernel log since the host started, one entry for each GPU and XID.
  returned: always
  type: list
  elements: dict
  contains:
    time:
      description: The time of the last one.
      type: str
      sample: "2026-11-21T08:05:19+00:00"
    first_time:
      description: The time of the first one.
      type: str
      sample: "2026-11-21T08:05:19+00:00"
    count:
      description: How many there were.
      type: int
      sample: 1
    pci_address:
      description: The GPU's place as the kernel writes it.
      type: str
      sample: 0000:1b:00.0
    xid:
      description: The number.
      type: int
      sample: 79
    text:
      description: What the driver wrote behind the number, the last time.
      type: str
      sample: pid=1234, name=python3, GPU has fallen off the bus.
    fatal:
      description: Whether the GPU must not be used before something is done.
      type: bool
      sample: true
    gpu:
      description: The GPU's number. V(null) where the driver does not show it.
      type: int
      sample: 0
problems:
  description: What is wrong with GPUs that the driver does not show.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.inference.plugins.module_utils import _gpu, _gpu_bus, _gpu_health, _gpu_xid
from ansible_collections.airgap.inference.plugins.module_utils._errors import AirgapError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nvidia_smi": {"type": "str", "default": "nvidia-smi"},
            "timeout": {"type": "int", "default": 60},
            "required": {"type": "int"},
            "expected": {
                "type": "dict",
                "options": {
                    "count": {"type": "int"},
                    "name": {"type": "str"},
                    "memory_mib": {"type": "int"},
                    "compute_capability": {"type": "str"},
                },
            },
            "healthy": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    bus = _gpu_bus.read()
    log = _gpu_xid.read()
    if log.warning:
        module.warn(log.warning)
    try:
        described = _gpu.describe(module.params["nvidia_smi"], module.params["timeout"])
    except AirgapError as error:
        module.fail_json(msg=_gpu_health.why(str(error), bus, log.xids), gpus_on_bus=bus, xids=log.xids)
    for warning in described.pop("warnings"):
        module.warn(warning)
    examined = _gpu_health.examine(described, bus, log.xids)
    expected = module.params["expected"] or {}
    refusal = _gpu.count_refusal(examined["gpus"], module.params["required"] or 0)
    refusals = [
        *([refusal] if refusal else []),
        *_gpu_health.unexpected(examined, **expected),
        *(_gpu_health.sick(examined) if module.params["healthy"] else []),
    ]
    if refusals:
        examined["msg"] = ". ".join(refusals)
        module.fail_json(**examined)
    examined["changed"] = False
    module.exit_json(**examined)


if __name__ == "__main__":
    main()
