"""Runs in VBench's own environment: one dimension on a folder of videos; prints one line of JSON.

It imports nothing of ours, and needs Python 3.9.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
from importlib import metadata
from typing import Any

LONG_MODULES = ("scenedetect", "moviepy.editor", "dreamsim", "torchvision.io:write_video")


def main() -> None:
    """Score one dimension, or say what is installed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--videos", default="")
    parser.add_argument("--output", default="")
    parser.add_argument("--dimension", default="")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--standard", action="store_true")
    args = parser.parse_args()
    print(json.dumps(_installed() if args.check else _score(args)))  # noqa: T201


def _installed() -> dict[str, Any]:
    names = ("vbench", "torch", "torchvision", "detectron2")
    return {"versions": {name: _version(name) for name in names}, "long_needs": _long_needs()}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name) if _has(name) else None
    except metadata.PackageNotFoundError:
        return "unknown"


def _long_needs() -> list[str]:
    """What VBench-Long misses here: its wheel has no configs, and several packages are not declared."""
    missing = [f"{name.split('.')[0]} ({why})" for name in LONG_MODULES if (why := _import_error(name))]
    spec = importlib.util.find_spec("vbench2_beta_long")
    if spec is None or spec.origin is None:
        return ["vbench2_beta_long", *missing]
    if not os.path.isdir(os.path.join(os.path.dirname(spec.origin), "configs")):
        missing.insert(0, "its folder configs, which only a checkout has (--vbench-repo)")
    return missing


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _import_error(name: str) -> str | None:
    """Why a module, or what follows a colon in it, cannot be imported."""
    module, _, part = name.partition(":")
    try:
        found = importlib.import_module(module)
        return None if not part or hasattr(found, part) else f"it has no {part}"
    except Exception as error:  # of any kind: torchvision raises RuntimeError
        return str(error).strip().split("\n")[-1]


def _score(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench, mode, options = (_long if args.long else _short)(device, args.output, args.standard)
    call = {"videos_path": args.videos, "name": "results", "dimension_list": [args.dimension], "local": False}
    bench.evaluate(**call, prompt_list=[], read_frame=False, mode=mode, **options)
    with open(os.path.join(args.output, "results_eval_results.json"), encoding="utf-8") as file:
        value = json.load(file)[args.dimension]
    return {"score": value[0], "videos": len(value[1]), "device": str(device)}


def _short(device: Any, output: str, standard: bool) -> tuple[Any, str, dict[str, Any]]:
    import vbench

    full = os.path.join(os.path.dirname(vbench.__file__), "VBench_full_info.json")
    return vbench.VBench(device, full, output), "vbench_standard" if standard else "custom_input", {}


def _long(device: Any, output: str, standard: bool) -> tuple[Any, str, dict[str, Any]]:
    """VBench-Long with the options of its evaluate_long.sh."""
    import vbench2_beta_long

    here = os.path.dirname(vbench2_beta_long.__file__)
    configs = os.path.join(here, "configs")
    options = {
        "sb_clip2clip_feat_extractor": "dinov2",
        "bg_clip2clip_feat_extractor": "dreamsim",
        "imaging_quality_preprocessing_mode": "longer",
        "clip_length_config": "clip_length_mix.yaml",
        "w_inclip": 1.0,
        "w_clip2clip": 0.0,
        "use_semantic_splitting": False,
        "slow_fast_eval_config": os.path.join(configs, "slow_fast_params.yaml"),
        "sb_mapping_file_path": os.path.join(configs, "subject_mapping_table.yaml"),
        "bg_mapping_file_path": os.path.join(configs, "background_mapping_table.yaml"),
        "num_of_samples_per_prompt": 5,
        "static_filter_flag": standard,
        "dev_flag": True,
        "category": None,
    }
    full = os.path.join(here, "VBench_full_info.json")
    bench = vbench2_beta_long.VBenchLong(device, full, output)
    return bench, "long_vbench_standard" if standard else "long_custom_input", options


if __name__ == "__main__":
    main()
