"""The passes of a stream of the tiny transformer, each on random latents."""

from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.sampling import recache
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import CausalWanTransformer
from tests.support.tiny_transformer import CONFIG, TOKENS_PER_LATENT, random_latents, random_prompt


def passes(model: CausalWanTransformer, positions: str) -> list[Tensor]:
    """What each pass of a stream predicts that fills its window, rolls on, and has a prompt switch.

    All passes are given random latents, so that no error of one adds to that of the next.
    """
    cache = KVCache(CONFIG, StreamConfig(positions=positions), TOKENS_PER_LATENT)
    prompt, predictions = random_prompt(model), []
    for start in range(0, 21, 3):
        latents = random_latents(3, seed=start)
        predictions.append(model(latents, 700.0, prompt, cache, start=start))
        model.remember(latents, 0.0, prompt, cache, start=start)
    prompt = random_prompt(model, seed=1)
    recache(model, random_latents(12, seed=50), prompt, cache, start=21)
    predictions.append(model(random_latents(3, seed=51), 300.0, prompt, cache, start=21))
    return predictions


def largest_difference(made: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(made, expected, strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)
