"""From a learner to files that people load: a model's folder in our layout, and the LoRA by itself."""

from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from longlive.models.bundle import ModelBundle
from longlive.models.transformer import CausalWanTransformer
from longlive.training.learner import Learner
from longlive.training.lora import save_lora, split_lora
from longlive.training.stages import Stage
from longlive.weights.lora import merge_lora
from longlive.weights.saving import save_models


def export(stage: Stage, folder: Path, *, is_main: bool = True) -> None:
    """Write ``FOLDER/model`` and, of a LoRA, ``FOLDER/lora.safetensors``; averages, where they are kept.

    Args:
        is_main: whether this process writes; sharded learners need all of them to take part.
    """
    with ExitStack() as stack:
        for learner in stage.learners.values():
            stack.enter_context(learner.averaged())
        state = stage.learners[stage.subject].whole_state()
        if is_main:
            _write(stage.models, stage.learners[stage.subject], state, folder)


def _write(models: ModelBundle, learner: Learner, state: dict[str, Tensor], folder: Path) -> None:
    plain, lora = split_lora(state)
    if lora:
        folder.mkdir(parents=True, exist_ok=True)
        save_lora(folder / "lora.safetensors", lora, alpha=learner.options.alpha)
        plain = merge_lora(plain, lora, learner.options.alpha / learner.options.lora_rank)
    write_model(models, plain, folder / "model")


def write_model(models: ModelBundle, state: dict[str, Tensor], folder: Path) -> None:
    """``models`` with other weights of the transformer, as a folder that ``load_models`` reads."""
    transformer = CausalWanTransformer(models.config.transformer)
    transformer.load_state_dict(state)
    save_models(
        folder,
        config=models.config,
        transformer=transformer.to(next(iter(state.values())).dtype),
        vae=models.vae,
        text_encoder=models.text_encoder.model,  # type: ignore[arg-type]
        tokenizer=models.text_encoder.tokenizer,
        card=models.card,
    )
