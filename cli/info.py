"""``bwlm info``: what is installed and what it found."""

from __future__ import annotations

import typer

from .options import JsonOption
from .output import command, finish_with_json, print_table


@command
def info(as_json: JsonOption = False) -> None:
    """Print versions, the core's SIMD level and threads, and whether CUDA is built and available.

    Example: `bwlm info --json`
    """
    import torch

    from brainwavlm_fast.files import provenance
    from brainwavlm_fast.kernels import build_info

    found = provenance()
    core = build_info()
    result = {
        **found,
        "core": core,
        "torch_threads": torch.get_num_threads(),
        "torch_cuda_available": torch.cuda.is_available(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
    }
    if as_json:
        finish_with_json(result)
    rows = [["Python", found["python"]], ["platform", found["platform"]]]
    rows += [[name, version] for name, version in found["versions"].items()]
    rows += [["core: SIMD", core["simd"]], ["core: threads", str(core["threads"])]]
    rows += [["core: CUDA built", "yes" if core["cuda_built"] else "no (nvcc was not found when it was built)"]]
    rows += [["GPUs the core sees", str(core["cuda_devices"])], ["torch: threads", str(result["torch_threads"])]]
    rows += [["torch: CUDA available", "yes" if result["torch_cuda_available"] else "no"]]
    print_table("brainwavlm_fast", ["", ""], rows)
    if core["cuda_built"] and not torch.cuda.is_available():
        typer.echo("The core has CUDA kernels, but torch finds no GPU: everything runs on the CPU.")
    if torch.cuda.is_available() and not core["cuda_built"]:
        typer.echo("torch finds a GPU, but the core has no CUDA kernels: reinstall it where nvcc is found.")
