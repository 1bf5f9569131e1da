"""A page whose GPU calls run blocks that were compiled in a worker of their own before it was launched."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import spaces
import torch

from longlive.models.transformer import Block
from longlive.runtime.aot import package
from longlive.runtime.compilation import optimize_for_inference
from longlive.serving.executors.zerogpu import compile_blocks
from tests.support.tiny_passes import passes
from tests.support.tiny_transformer import tiny_transformer

package.cache_folder = lambda: Path(os.environ["HOME"])
lines: list[str] = []
model = tiny_transformer().to("cuda")
optimize_for_inference(model)
compile_blocks(cast(Any, SimpleNamespace(transformer=model, transformers=(model,))), lines.append)


def refuse(*_: Any) -> Any:
    """Stands in for a method of a block that must not run."""
    raise AssertionError("a block ran eagerly")


@spaces.GPU
def predict_there() -> list[Any]:
    """The process, and what its passes predict."""
    Block.project_qkv = Block.post_attention = refuse  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        return [os.getpid(), [one.tolist() for one in passes(model, "relative")]]


def predict() -> list[Any]:
    """What this process was told while it started, and what a worker returns."""
    return [lines, *predict_there()]


with gr.Blocks() as page:
    gr.api(predict, api_name="predict")
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]))
