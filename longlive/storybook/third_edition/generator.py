"""The third edition's transformer, and its teacher forcing in one pass per batch of windows.

A window is what a chunk sees when it is made: the sink, the two chunks before it and itself, 12 latents in
all. The clean context and the noisy chunks are one sequence with a mask: a noisy chunk sees itself and the
clean chunks before it. After a turn (a change of prompt), the whole window is read under the new caption, and
the context from before the turn sees itself in both directions, as after a recache.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.config import ModelConfig
from longlive.generation.flow_matching import FlowSchedule, add_noise, prediction_to_clean
from longlive.models.attention import AttentionContext, Backend, PromptKV
from longlive.models.transformer import Call, CausalWanTransformer
from longlive.storybook.generator import CONTEXT_NOISE, StorybookModel, random_timesteps, storybook_config
from longlive.storybook.third_edition.codec import LATENT_CHANNELS, PIXELS
from longlive.storybook.third_edition.vocabulary import TEXT_LEN
from longlive.storybook.third_edition.world.drawing import SIZE

CHUNK = 3
CONTEXT = 3 * CHUNK
WINDOW = 4 * CHUNK
SUBJECT_WEIGHT = 3.0


def third_edition_config() -> ModelConfig:
    """The config of the model: the second edition's grid of latents, with 16 x 16 pixels each."""
    config = storybook_config()
    transformer = replace(config.transformer, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS)
    height, width = SIZE
    return replace(
        config,
        transformer=transformer,
        height=height,
        width=width,
        spatial_scale=PIXELS,
        text_len=TEXT_LEN,
        display_scale=2,
    )


@dataclass(frozen=True)
class WindowLayout:
    """Which noisy chunks are trained in a window, and where its story turns.

    Attributes:
        is_late: whether the window lies far from the start: after its first chunk, the sink, there is a gap.
        turn: number of the first of the four chunks under the new caption; 0 if there is no turn.
    """

    is_late: bool
    turn: int

    @property
    def noisy(self) -> tuple[int, ...]:
        """Numbers of the chunks that are predicted, each from its own noise; a chunk may occur repeatedly."""
        if self.is_late:
            return (3, 3, 3)
        return {0: (0, 0, 0, 1, 2, 3), 1: (1, 1, 2, 3), 2: (2, 2, 3), 3: (3, 3, 3)}[self.turn]

    @property
    def positions(self) -> tuple[int, ...]:
        """The position of each latent of the sequence, context and noisy chunks."""
        return (*range(CONTEXT), *(CHUNK * chunk + i for chunk in self.noisy for i in range(CHUNK)))


LAYOUT_SHARES = {
    WindowLayout(False, 0): 0.33,
    WindowLayout(False, 1): 0.10,
    WindowLayout(False, 2): 0.10,
    WindowLayout(False, 3): 0.10,
    WindowLayout(True, 0): 0.10,
    WindowLayout(True, 1): 0.09,
    WindowLayout(True, 2): 0.08,
    WindowLayout(True, 3): 0.10,
}
"""The share of each layout in training."""


@lru_cache(maxsize=16)
def attention_mask(layout: WindowLayout, tokens: int, device: str) -> Tensor:
    """Which tokens see which: bool (L, L), a row sees a column; ``tokens`` of them a latent."""
    chunks = [0, 1, 2, *layout.noisy]
    sees = torch.eye(len(chunks), dtype=torch.bool)
    for row, chunk in enumerate(chunks):
        for column in range(3):
            is_recached = row < 3 and max(chunk, column) < layout.turn
            sees[row, column] |= column < chunk or is_recached
    size = CHUNK * tokens
    return sees.repeat_interleave(size, 0).repeat_interleave(size, 1).to(device)


def predict_windows(
    transformer: CausalWanTransformer,
    context: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    prompt: PromptKV,
    layout: WindowLayout,
) -> Tensor:
    """The raw prediction for the noisy chunks of a batch of windows.

    Args:
        context: (B, 9, C, H, W), clean.
        noisy: (B, 3 n, C, H, W), for the n chunks of ``layout.noisy``.
        timesteps: (B, n), in [0, 1000].
        prompt: of ``read_prompt``.
        layout: of all windows of the batch.

    Returns:
        (B, 3 n, C, H, W).
    """
    patch = transformer.config.patch_size
    rows, columns = context.shape[3] // patch[1], context.shape[4] // patch[2]
    mask = attention_mask(layout, rows * columns, str(context.device))

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries, keys, values = (x.type_as(values).transpose(1, 2) for x in (queries, keys, values))
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return attended.transpose(1, 2).flatten(2)

    labels = torch.cat([timesteps.new_zeros(len(context), CONTEXT), timesteps.repeat_interleave(CHUNK, 1)], 1)
    time, modulation = transformer.condition_embedder(labels, context.device)
    attention = AttentionContext(transformer.rope.rotation(layout.positions, rows, columns))
    call = Call(attention, prompt, time, modulation, rows, columns, Backend("masked", attend), False)
    return transformer._predict(torch.cat([context, noisy], 1), call)[:, CONTEXT:]


def window_loss(
    model: StorybookModel,
    latents: Tensor,
    ids: Tensor,
    layout: WindowLayout,
    schedule: FlowSchedule,
    rng: torch.Generator,
) -> Tensor:
    """Mean weighted squared error of the predicted clean latents, divided by sigma squared.

    Args:
        latents: normalised, (B, 12, C, H, W).
        ids: of the captions' tokens, (B, 64).
        rng: draws noise and timesteps, on the CPU.
    """
    batch, device = len(latents), latents.device
    clean = latents.unflatten(1, (4, CHUNK))[:, list(layout.noisy)].flatten(1, 2)
    timesteps = random_timesteps(schedule, batch * len(layout.noisy), rng).view(batch, -1).to(device)
    sigma = schedule.sigmas_of(timesteps).repeat_interleave(CHUNK, 1)[:, :, None, None, None]
    noisy = add_noise(clean, torch.randn(clean.shape, generator=rng).to(device), sigma)
    context = _add_context_noise(latents[:, :CONTEXT], rng)
    output = predict_windows(model.transformer, context, noisy, timesteps, model.read_ids(ids), layout)
    predicted = prediction_to_clean(output.float(), noisy, sigma, model.transformer.config.prediction)
    weight = cell_weights(*latents.shape[-2:], str(device)) / sigma.square().clamp_min(0.1)
    return (weight * (predicted - clean).square()).mean()


def _add_context_noise(context: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the windows with a slightly noisy context, so that the model tolerates its own errors."""
    shape = (len(context), 1, 1, 1, 1)
    sigma = CONTEXT_NOISE * torch.rand(shape, generator=rng) * (torch.rand(shape, generator=rng) < 0.5)
    noise = torch.randn(context.shape, generator=rng).to(context.device)
    return add_noise(context, noise, sigma.to(context.device))


@lru_cache(maxsize=4)
def cell_weights(rows: int, columns: int, device: str) -> Tensor:
    """Weight of each cell of a latent in the loss, mean 1: the middle, where the subject is, counts more."""
    weights = torch.ones(rows, columns)
    weights[rows // 10 :, columns // 4 : columns - columns // 4] = SUBJECT_WEIGHT
    return (weights / weights.mean()).to(device)
