"""A tiny model with random weights, in the layout of the real ones, written once and loaded by all tests."""

import gc
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from longlive import ModelBundle, ModelCard, ModelConfig, Story, TransformerConfig, load_models, save_models
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.allocator import configure_cpu
from longlive.storybook.world.drawing import HEIGHT, WIDTH
from tests import USUAL_THRESHOLD

WORDS = (
    "a",
    "the",
    "red",
    "blue",
    "ball",
    "cube",
    "star",
    "stands",
    "jumps",
    "spins",
    "on",
    "green",
    "meadow",
)


def pytest_collection_finish() -> None:
    """Leave out of every later search for garbage what the imports have made: it stays to the end.

    Some 700,000 objects, half a second at each ``gc.collect()``.
    """
    gc.freeze()
    gc.set_threshold(*USUAL_THRESHOLD)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute as the app does; tiny tensors gain nothing from threads, which wait for each other."""
    configure_cpu(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of 32x48 pictures and 12 text tokens; tests may read it, and not change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tiny_folder: Path) -> ModelBundle:
    """That model, loaded."""
    return load_models(tiny_folder)


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the picture size of the storybook, with pictures of noise; tests may not change it."""
    folder = tmp_path_factory.mktemp("models") / "noise"
    write_tiny_model(folder, height=HEIGHT, width=WIDTH, window=6, text_len=48)
    return folder


def write_tiny_model(folder: Path, **facts: object) -> None:
    """Write a tiny model with random weights; ``facts`` change its ModelConfig."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = TransformerConfig(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=16,
            freq_dim=16,
            ffn_dim=48,
            num_layers=2,
            rope_max_seq_len=64,
            prediction="clean",
        )
        defaults = dict(
            name="tiny", transformer=shape, height=32, width=48, text_len=12, positions="relative"
        )
        save_models(
            folder,
            config=ModelConfig(**(defaults | facts)),
            transformer=CausalWanTransformer(shape),
            vae=tiny_vae(),
            text_encoder=UMT5EncoderModel(tiny_encoder_config()),
            tokenizer=tiny_tokenizer(),
            card=ModelCard(
                "A model of noise.",
                tuple(WORDS),
                (Story("A ball", ((0.0, "a red ball"), (3.0, "a blue ball"))),),
            ),
        )


def tiny_vae() -> AutoencoderKLWan:
    """A Wan VAE that enlarges 8 times in space and 4 times in time."""
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        latents_mean=[0.1, -0.2, 0.3, -0.4],
        latents_std=[1.0, 1.5, 0.5, 2.0],
    ).eval()


def tiny_encoder_config() -> UMT5Config:
    """Two layers of width 16."""
    return UMT5Config(
        vocab_size=3 + len(WORDS),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        tie_word_embeddings=False,
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of WORDS; others are unknown."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
