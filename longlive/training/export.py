"""Export a trained model: a model folder in our layout, and a LoRA file."""

from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from longlive.models.bundle import ModelBundle
from longlive.models.transformer import CausalWanTransformer
from longlive.training.learner import Learner
from longlive.training.lora import save_lora, split_lora
from longlive.training.trainer import ModelStage
from longlive.weights.formats.lora import merge_lora
from longlive.weights.formats.lora_reading import pair_up
from longlive.weights.saving import save_models


def export(stage: ModelStage, folder: Path, *, is_main: bool = True) -> None:
    """Write ``FOLDER/model`` and, for a LoRA, ``FOLDER/lora.safetensors``; moving averages, if there are any.

    Args:
        is_main: whether this process writes; if the learners are sharded, all processes must call this.
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
        plain = merge_lora(plain, pair_up(lora, alpha=learner.options.alpha))
    write_model(models, plain, folder / "model")


def write_model(models: ModelBundle, state: dict[str, Tensor], folder: Path) -> None:
    """Write ``models`` with other weights of the transformer as a folder that ``load_models`` reads."""
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
        context_transformer=models.context_transformer,
    )
