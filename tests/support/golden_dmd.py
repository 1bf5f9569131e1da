"""Runner of the ``dmd`` goldens: predictions, KL gradient, losses and their derivatives, as released."""

import torch
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule
from longlive.training.objectives.dmd import critic_loss, generator_loss
from longlive.training.objectives.options import DmdOptions, ReleasedQuirks
from longlive.training.objectives.scores import RELEASED_SCORE_SHIFT, Scores, predict_clean
from tests.support.golden_files import (
    Case,
    Data,
    Goldens,
    assert_all_known,
    check_close,
    check_gradient,
    check_parameter_gradients,
    check_scalar,
)


def run_dmd(goldens: Goldens, case: Case, data: Data) -> None:
    teacher, critic = (
        goldens.transformer(
            case, weights=case.get(f"{role}_weights", f"weights_{case['config_name']}_{role}")
        )
        for role in ("teacher", "critic")
    )
    assert case.get("timestep_shift_score_models", RELEASED_SCORE_SHIFT) == RELEASED_SCORE_SHIFT
    options = DmdOptions(
        guidance=case["guidance_scale"], min_timestep=case["min_step"], max_timestep=case["max_step"]
    )
    timetable = FlowSchedule(case["timestep_shift_noise"], (1000, 750, 500, 250))
    scores = Scores(teacher, critic, timetable, options, ReleasedQuirks.as_released())
    known = check_predictions(scores, data) | check_generator(scores, case, data)
    known |= check_critic(scores, case, data)
    assert_all_known(data, known | {"text_cond", "text_uncond", "x", "timestep", "noise"})


def check_predictions(scores: Scores, data: Data) -> set[str]:
    """What both see in the noisy clip."""
    timesteps = data["timestep"][:, 0]
    noisy = scores.noisy(data["x"], timesteps, data["noise"])
    check_close("noisy", noisy, data["noisy"], 1e-6)
    check_close("pred_fake", scores.critic_clean(noisy, timesteps, data["text_cond"]), data["pred_fake"])
    for kind in ("cond", "uncond"):
        prompt = scores.teacher.read_prompt(data[f"text_{kind}"])
        seen = predict_clean(scores.teacher, noisy, timesteps, prompt, FlowSchedule(RELEASED_SCORE_SHIFT, ()))
        check_close(f"pred_real_{kind}", seen, data[f"pred_real_{kind}"])
    return {"noisy", "pred_fake", "pred_real_cond", "pred_real_uncond"}


def check_generator(scores: Scores, case: Case, data: Data) -> set[str]:
    """The KL gradient, and the loss and its derivative by the clip with and without the mask."""
    known = {"kl_grad", "gradient_mask_frames"}
    for kind, mask in masks_of(data).items():
        clip = data["x"].clone().requires_grad_(True)
        with torch.enable_grad():
            found = generator_loss(
                scores,
                clip,
                data["text_cond"],
                data["text_uncond"],
                timesteps=data["timestep"][:, 0],
                noise=data["noise"],
                mask=mask,
            )
        check_gradient("kl_grad", found.gradient, data["kl_grad"])
        check_scalar(f"loss_{kind}", found.loss, data[f"loss_{kind}"])
        if f"loss_{kind}_double" in case:
            check_scalar(f"loss_{kind}_double", found.loss, case[f"loss_{kind}_double"])
        (slope,) = torch.autograd.grad(found.loss, clip)
        check_gradient(f"dloss_dx_{kind}", slope, data[f"dloss_dx_{kind}"])
        known |= {f"loss_{kind}", f"dloss_dx_{kind}"}
    return known


def check_critic(scores: Scores, case: Case, data: Data) -> set[str]:
    """The critic's predictions, and its loss and gradients with and without the mask."""
    timesteps, critic, text = data["critic_timestep"][:, 0], scores.critic, data["text_cond"]
    noisy = scores.noisy(data["x"], timesteps, data["critic_noise"])
    check_close("critic_noisy", noisy, data["critic_noisy"], 1e-6)
    flow = critic(noisy, timesteps.unsqueeze(1), critic.read_prompt(text))
    check_close("critic_flow", flow, data["critic_flow"])
    check_close("critic_pred_x0", scores.critic_clean(noisy, timesteps, text), data["critic_pred_x0"])
    known = {f"critic_{name}" for name in ("timestep", "noise", "noisy", "flow", "pred_x0")}
    for kind, mask in masks_of(data).items():
        critic.requires_grad_(True).zero_grad()
        with torch.enable_grad():
            loss = critic_loss(
                scores, data["x"], text, timesteps=timesteps, noise=data["critic_noise"], mask=mask
            )
            loss.backward()
        check_scalar(f"critic_loss_{kind}", loss, data[f"critic_loss_{kind}"])
        known |= {f"critic_loss_{kind}"} | check_parameter_gradients(critic, data, f"critic_grad_{kind}.")
        critic.requires_grad_(False)
    return known


def masks_of(data: Data) -> dict[str, Tensor | None]:
    """The masks of a dmd case by the names that its tensors use."""
    mask = data.get("gradient_mask_frames")
    return {"nomask": None} | ({} if mask is None else {"mask": mask.bool()})
