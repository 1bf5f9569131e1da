"""Checkouts of other systems with the calls that ours makes, and nothing behind them."""

from pathlib import Path

NOVA = """
import numpy as np


class Part:
    def forward(self, *args):
        return self

    def decode(self, *args):
        return self


class NOVAPipeline:
    def __init__(self):
        self.transformer, self.vae = Part(), Part()

    @classmethod
    def from_pretrained(cls, path, **options):
        assert path == "weights"
        return cls()

    def to(self, device):
        return self

    def encode_prompt(self, prompt):
        return prompt

    def __call__(self, prompt, max_latent_length, **options):
        self.encode_prompt(prompt)
        self.transformer.forward()
        self.vae.decode()
        pictures = 1 + 4 * (max_latent_length - 1)
        return type("Output", (), {"frames": np.full((1, pictures, 16, 32, 3), 7, np.uint8)})
"""
BUILDER = """
def build_pipeline(path, kind, dtype):
    return kind.from_pretrained(path)
"""
PYRAMID_FLOW = """
from PIL import Image


class Part:
    def to(self, device):
        return self

    def forward(self, *args):
        return self

    def decode(self, *args):
        return self


class PyramidDiTForVideoGeneration:
    def __init__(self, path, **options):
        self.options = options
        self.vae, self.dit, self.text_encoder = Part(), Part(), Part()

    def generate(self, *, video_num_inference_steps, height, width, temp, **options):
        assert self.options["model_name"] == "pyramid_flux"
        self.text_encoder.forward()
        for _ in range(sum(video_num_inference_steps)):
            self.dit.forward()
        self.vae.decode()
        return [Image.new("RGB", (width, height))] * (1 + 8 * (temp - 1))
"""
MAGI_1 = """
import torch


def get_txt_embeddings(prompt, config):
    return 1, 2


def generate_per_chunk(model, prefix_video, caption_embs, emb_masks):
    yield from (torch.zeros(6, 3, 16, 32, dtype=torch.uint8) for _ in range(4))


def post_chunk_process(chunk, config):
    return chunk


def save_video_to_disk(video, path, fps):
    raise AssertionError("nothing is written")


class MagiPipeline:
    def __init__(self, config_path):
        self.config = config_path

    def run_text_to_video(self, prompt, output_path):
        get_txt_embeddings(prompt, self.config)
        chunks = generate_per_chunk(model=0, prefix_video=None, caption_embs=1, emb_masks=2)
        save_video_to_disk(torch.cat([post_chunk_process(chunk, 0) for chunk in chunks]), output_path, fps=24)
"""
FILES = {
    "nova": {
        "diffnext/__init__.py": "",
        "diffnext/pipelines/__init__.py": NOVA,
        "diffnext/pipelines/builder.py": BUILDER,
    },
    "pyramid-flow": {"pyramid_dit/__init__.py": PYRAMID_FLOW},
    "magi-1": {
        "inference/__init__.py": "",
        "inference/pipeline/__init__.py": "",
        "inference/pipeline/pipeline.py": MAGI_1,
    },
}


def write_checkout(name: str, folder: Path) -> Path:
    """Write the fake checkout of a system, and return its folder."""
    for path, source in FILES[name].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source, encoding="utf-8")
    return folder
