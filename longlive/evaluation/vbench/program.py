"""Runs in VBench's own environment: one dimension on a folder of videos; prints one line of JSON.

It imports nothing of ours, and needs Python 3.9.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from importlib import metadata
from typing import Any


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
    names = ("vbench", "torch", "detectron2")
    return {name: metadata.version(name) if importlib.util.find_spec(name) else None for name in names}


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
    """VBench-Long with the options that its own command has by default."""
    import vbench2_beta_long

    here = os.path.dirname(vbench2_beta_long.__file__)
    options = {
        "sb_clip2clip_feat_extractor": "dino",
        "bg_clip2clip_feat_extractor": "clip",
        "imaging_quality_preprocessing_mode": "longer",
        "clip_length_config": "clip_length_mix.yaml",
        "w_inclip": 1.0,
        "w_clip2clip": 0.0,
        "use_semantic_splitting": False,
        "slow_fast_eval_config": os.path.join(here, "configs", "slow_fast_params.yaml"),
        "dev_flag": False,
        "category": None,
    }
    bench = vbench2_beta_long.VBenchLong(device, os.path.join(here, "VBench_full_info.json"), output)
    return bench, "long_vbench_standard" if standard else "long_custom_input", options


if __name__ == "__main__":
    main()
