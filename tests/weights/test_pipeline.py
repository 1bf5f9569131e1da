"""The pipeline by diffusers' way of calling: the same videos as a session's, in every form."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import longlive
from longlive import ConfigError, LongLivePipeline, ModelBundle, Session
from longlive.generation.noise import MAX_SEED
from tests.support.paths import ROOT

RED, BLUE = "a red ball stands on the green meadow", "the blue cube spins"


@pytest.fixture(scope="module")
def pipe(tiny_models: ModelBundle) -> LongLivePipeline:
    return LongLivePipeline(tiny_models)


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_storybook_draws_what_its_prompts_ask_for() -> None:
    pipe = LongLivePipeline.from_pretrained("storybook")
    prompts = [(0, "a red ball stands on a green meadow"), (1, "a red ball stands in a night forest")]
    out = pipe(prompts=prompts, num_frames=40, generator=seeded())
    assert out[0] is out.frames and out.frames.shape == (1, 40, 80, 128, 3)
    assert out.frames.dtype == np.float32 and 0 <= out.frames.min() < out.frames.max() <= 1
    day, night = out.frames[0, 12].mean(), out.frames[0, 39].mean()
    assert night < 0.7 * day, "the meadow is light, the forest at night is dark"


def test_it_is_imported_only_when_it_is_used() -> None:
    code = "import longlive, sys; assert not {'torch', 'longlive.weights.pipeline'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_forms_show_the_same_pictures_as_a_session(pipe: LongLivePipeline) -> None:
    seed = int(torch.randint(MAX_SEED, (), generator=seeded()))
    with Session(pipe.models, RED, seed=seed) as session:
        first = session.next_chunk().frames
        session.set_prompt(BLUE)
        latent = session.next_latents()
        expected = np.concatenate([first, session.decode(latent).frames])[:20]
    calls: dict[str, Any] = {
        form: pipe(
            prompts=[(0, RED), (0.5, BLUE)], num_frames=20, generator=seeded(), output_type=form
        ).frames
        for form in ("np", "pt", "pil", "latent")
    }
    assert np.array_equal((calls["np"][0] * 255).round().astype(np.uint8), expected)
    assert torch.equal(calls["pt"][0].permute(0, 2, 3, 1), torch.from_numpy(calls["np"][0]))
    assert [np.array_equal(image, picture) for image, picture in zip(calls["pil"][0], expected, strict=True)]
    assert calls["latent"].shape == (1, 4, 6, 4, 6)
    assert torch.equal(calls["latent"].transpose(1, 2)[:, 3:], latent.latents)


def test_a_generator_goes_on_and_the_same_state_gives_the_same_video(pipe: LongLivePipeline) -> None:
    generator = seeded()
    first, second = (pipe(RED, num_frames=5, generator=generator).frames for _ in range(2))
    (again,) = pipe(RED, num_frames=5, generator=seeded(), return_dict=False)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    torch.manual_seed(3)
    default = pipe(RED, num_frames=5).frames
    torch.manual_seed(3)
    assert np.array_equal(default, pipe(RED, num_frames=5).frames)


def test_a_callback_sees_each_step_and_can_end_the_video(pipe: LongLivePipeline) -> None:
    seen: list[tuple[int, float, tuple[int, ...]]] = []

    def callback(own: LongLivePipeline, step: int, timestep: float, values: dict[str, torch.Tensor]) -> None:
        seen.append((step, round(timestep), tuple(values["latents"].shape)))
        own.interrupt = own.interrupt or step == 5

    frames = pipe(RED, num_frames=60, callback_on_step_end=callback).frames
    assert [step for step, _, _ in seen] == list(range(len(seen)))
    assert [timestep for _, timestep, _ in seen[:4]] == [1000, 938, 833, 625]
    assert seen[0][2] == (1, 3, 4, 4, 6)
    assert frames.shape[1] == 21, "the second chunk, whose second step asked for the end, is the last"


def test_it_makes_each_of_the_models_sizes(two_size_models: ModelBundle) -> None:
    pipe = LongLivePipeline(two_size_models)
    calls = [{}, {"height": 48, "width": 32}, {"width": 48}]
    shapes = [pipe(RED, num_frames=9, generator=seeded(), **size).frames.shape for size in calls]
    assert shapes == [(1, 9, 32, 48, 3), (1, 9, 48, 32, 3), (1, 9, 32, 48, 3)]


def test_moving_keeps_the_video(pipe: LongLivePipeline) -> None:
    before = pipe(RED, num_frames=9, generator=seeded()).frames
    assert pipe.to("cpu") is pipe
    assert (pipe.device.type, pipe.dtype) == ("cpu", torch.float32)
    assert np.array_equal(pipe(RED, num_frames=9, generator=seeded()).frames, before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({}, "give either it or prompts"),
        ({"prompt": RED, "prompts": [(0, RED)]}, "give either it or prompts"),
        ({"prompts": [(1, RED)]}, "the first prompt must be at 0 seconds"),
        ({"prompts": []}, "the first prompt must be at 0 seconds"),
        ({"prompts": [(0, RED), (-1, BLUE)]}, "it must be seconds from 0"),
        ({"prompt": RED, "output_type": "gif"}, "output_type is 'gif'"),
        ({"prompt": RED, "num_frames": 0}, "num_frames is 0"),
        ({"prompt": RED, "switch": "fade"}, "switch is 'fade'"),
        ({"prompt": RED, "height": 48, "width": 32}, "size is '32x48', but the pictures of tiny have 48x32"),
        ({"prompt": RED, "height": 64}, "size is '48x64'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(
    call: dict[str, Any], words: str, pipe: LongLivePipeline
) -> None:
    with pytest.raises(ConfigError, match=words):
        pipe(**call)
    assert longlive.LongLivePipeline is LongLivePipeline
