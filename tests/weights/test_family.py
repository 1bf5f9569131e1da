"""LongLive's relatives from a Hub on this machine: fetched, converted, loaded and played; wrong files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from longlive import CheckpointError, Session, load_models
from longlive.cli import main
from longlive.weights import registry
from longlive.weights.assembly import assemble
from longlive.weights.conversion import check_transformer
from longlive.weights.family import BUILT_IN, RELEASED
from longlive.weights.formats.lora import merge_lora
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.formats.lora_reading import read_lora
from longlive.weights.formats.weight_files import sha256_of
from longlive.weights.layout import ModelFolder, verify_digests
from longlive.weights.loading import load_transformer, merge_loras
from longlive.weights.released import LONGLIVE_SOURCES, change_sources, sources_for_checkpoint
from tests.support import published_family as published
from tests.support import published_weights
from tests.support.hub_fixtures import FakeHub, serving
from tests.support.published_family import DECOY, FAMILY, PLAIN, SECOND, State, released, small, weights

RED, BLUE = "a red ball", "a blue cube"


@pytest.fixture(scope="module")
def family_root(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family's repositories, and a link to Wan's text encoder."""
    root, text = tmp_path_factory.mktemp("family"), LONGLIVE_SOURCES.text_encoder.repository
    published.publish_family(root)
    (root / text).symlink_to(repositories / text)
    return root


@pytest.fixture
def family(family_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub that has them, and recipes that are small."""
    monkeypatch.setattr("longlive.weights.downloads.LARGE", 10_000)
    for name in FAMILY:
        monkeypatch.setitem(registry.RELEASED, name, small(name))
    hub = FakeHub(family_root, published_weights.revisions() | published.revisions())
    with serving(hub, tmp_path / "cache" / "hub", monkeypatch):
        yield hub


def same(transformer: torch.nn.Module | None, seed: int) -> bool:
    assert transformer is not None
    expected = weights(seed)
    own = transformer.state_dict()
    return all(torch.equal(own[name].float(), expected[name].bfloat16().float()) for name in expected)


@pytest.mark.parametrize("name", FAMILY)
def test_each_is_fetched_converted_loaded_and_played_by_its_name(name: str, family: FakeHub) -> None:
    models = load_models(name)
    assert models.config == small(name).config
    assert same(models.transformer, PLAIN)
    assert (models.context_transformer is not None) == name.startswith("sgf-plus")
    assert models.context_transformer is None or same(models.context_transformer, SECOND)
    steps = len(models.config.first_steps or models.config.steps), len(models.config.steps)
    num_frames, passes = 9 if models.config.chunk == 3 else 1, []
    models.transformer.register_forward_hook(lambda *_: passes.append(1))
    with Session(models, RED, seed=1) as session:
        assert session.next_chunk().frames.shape == (num_frames, 32, 48, 3)
        assert (session.switch, len(passes)) == ("keep", steps[0])
        session.set_prompt(BLUE)
        assert session.next_chunk().frames.shape == (4 * models.config.chunk, 32, 48, 3)
        assert (session.prompts[1].switch, len(passes)) == ("keep", sum(steps))
    verify_digests(models.folder)
    got = family.got(RELEASED[name].weights.files[0])
    assert load_models(name).digest == models.digest
    assert family.got(RELEASED[name].weights.files[0]) == got, "nothing is fetched again"


def test_causvid_goes_on_by_rollouts_that_overlap(family: FakeHub) -> None:
    models = load_models("causvid")
    with Session(models, RED, seed=1) as session:
        chunks = [session.next_latents() for _ in range(8)]
        frames = [len(session.decode(chunk).frames) for chunk in chunks]
    assert [chunk.first_latent for chunk in chunks] == [0, 3, 6, 9, 12, 15, 0, 3]
    assert frames == [9] + [12] * 7, "72 pictures of a rollout are shown, and the pace stays the same"
    assert session.seconds == sum(frames) / 16
    assert all(chunk.latents.isfinite().all() for chunk in chunks)


def test_what_is_fetched_is_described_before(family: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "sgf-plus-framewise", "--dry-run"]) == 0
    shown = capsys.readouterr().err
    for words in (
        "from ZihanSu/Self_Gradient_Forcing_Plus@c11e68083d89: framewise/model.pt (generator_ema)",
        "licence of the transformer: Apache-2.0",
        "settings: chunks of 1, window 21, sink 4, relative positions",
        "a second set of weights for the clean pass; pictures of 48x32 or 32x48; prompts change by keep",
        "480x832: the base model (Wan 2.1 T2V 1.3B) was trained for it; these weights were tuned at 832x480.",
    ):
        assert words in shown
    assert shown.index("licence") < shown.index("to fetch")
    assert not [path for method, path, _ in family.asked if method == "GET"]


def test_another_of_a_files_transformers_can_be_asked_for(family: FakeHub) -> None:
    sources = change_sources("sgf", small("sgf"), weights_key="generator")
    folder = assemble(sources)
    assert same(load_transformer(ModelFolder.read(folder)), DECOY)
    assert same(load_transformer(ModelFolder.read(assemble(small("sgf")))), PLAIN)


def write_loras(folder: Path) -> list[Path]:
    """Two LoRAs of the small transformer."""
    files = [folder / "style.safetensors", folder / "motion.safetensors"]
    for number, file in enumerate(files):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            save_file(published_weights.lora(), file)
    return files


def test_loras_are_merged_into_a_known_model_in_order_and_recorded(
    family: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style, motion = write_loras(tmp_path)
    options = ["--lora", f"{style}=0.5", "--lora", f"{motion}=-0.25"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("longlive.weights.family.RELEASED", {"sgf": small("sgf")})
        assert main(["fetch", "sgf", *options]) == 0
        folder = Path(capsys.readouterr().out.strip())
        assert main(["fetch", "sgf", *options]) == 0
        shown = capsys.readouterr()
        assert main(["fetch", "sgf", "--lora", f"{style}=0.5"]) == 0
        single = Path(capsys.readouterr().out.strip())
    assert Path(shown.out.strip()) == folder, "it is converted once"
    assert single != folder
    model = ModelFolder.read(folder)
    assert model.config.name == "sgf+style+motion"
    assert (
        "It was made with the LoRAs style.safetensors at 0.5, motion.safetensors at -0.25."
        in model.card.about
    )
    facts = json.loads((folder / "sources.json").read_text())["loras"]
    assert [(one["name"], one["strength"], one["scale"]) for one in facts] == [
        ("style.safetensors", 0.5, None),
        ("motion.safetensors", -0.25, None),
    ]
    assert [one["sha256"] for one in facts] == [{file.name: sha256_of(file)} for file in (style, motion)]
    merged = dict(weights(PLAIN))
    for file, strength in ((style, 0.5), (motion, -0.25)):
        merged = merge_lora(merged, read_lora(file), strength)
    written = load_transformer(model).state_dict()
    for name, tensor in merged.items():
        torch.testing.assert_close(written[name].float(), tensor, atol=0.01, rtol=0.01)
    verify_digests(folder)


def test_a_lora_that_does_not_fit_is_named_before_anything_is_fetched(
    family: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style, motion = write_loras(tmp_path)
    torch.save({"not": "a LoRA"}, tmp_path / "other.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("longlive.weights.family.RELEASED", {"sgf": small("sgf")})
        assert main(["fetch", "sgf", "--lora", str(style), "--lora", str(tmp_path / "other.pt")]) == 2
        assert "other.pt holds no readable LoRA" in capsys.readouterr().err
        for wrong, words in ((f"{motion}=x", "'x' is no number"), (f"{motion}=0", "changes nothing")):
            with pytest.raises(SystemExit) as caught:
                main(["fetch", "sgf", "--lora", str(style), "--lora", wrong])
            assert caught.value.code == 2 and words in capsys.readouterr().err
    assert not [path for method, path, _ in family.asked if method == "GET" and path.endswith(".pt")]


def test_a_lora_that_is_merged_at_load_gives_what_fetch_converts(family: FakeHub, tmp_path: Path) -> None:
    loras = [
        LoraFile(file, strength) for file, strength in zip(write_loras(tmp_path), (0.5, -2.0), strict=True)
    ]
    plain = load_models("sgf")
    before, own = plain.digest, {name: t.clone() for name, t in plain.transformer.state_dict().items()}
    merged = merge_loras(plain, loras)
    expected = load_models(assemble(change_sources("sgf", small("sgf"), loras=loras)))
    for name, tensor in expected.transformer.state_dict().items():
        torch.testing.assert_close(merged.transformer.state_dict()[name], tensor, atol=0.05, rtol=0.05)
        changed = not torch.equal(merged.transformer.state_dict()[name], own[name])
        assert changed == (name.startswith("blocks.") and tensor.ndim == 2)
    digests = {before, merged.digest, merge_loras(load_models("sgf"), loras[::-1]).digest}
    digests |= {merge_loras(load_models("sgf"), loras[:1]).digest, expected.digest}
    assert len(digests) == 5, "session files of one do not pass for those of another"
    assert merge_loras(load_models("sgf"), loras).digest == merged.digest


def test_nothing_is_merged_if_one_of_the_loras_does_not_fit(family: FakeHub, tmp_path: Path) -> None:
    style, _ = write_loras(tmp_path)
    save_file(
        {
            "blocks.9.ffn.0.lora_A.weight": torch.ones(2, 24),
            "blocks.9.ffn.0.lora_B.weight": torch.ones(48, 2),
        },
        tmp_path / "larger.safetensors",
    )
    models = load_models("sgf")
    own = {name: tensor.clone() for name, tensor in models.transformer.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"larger.safetensors: the LoRA changes blocks.9"):
        merge_loras(models, [LoraFile(style), LoraFile(tmp_path / "larger.safetensors")])
    assert all(torch.equal(tensor, own[name]) for name, tensor in models.transformer.state_dict().items())


def test_a_file_on_this_machine_plays_with_a_known_models_settings(family: FakeHub, tmp_path: Path) -> None:
    """A download of one's own, in parts with an index."""
    state = {name: tensor.contiguous() for name, tensor in published.with_second_set("").items()}
    names = sorted(state)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: state[name] for name in own}, tmp_path / file)
    index = {"weight_map": {name: file for file, own in parts.items() for name in own}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    sources = sources_for_checkpoint(tmp_path, name="mine", base=small("sgf-plus"))
    models = load_models(assemble(sources))
    assert same(models.transformer, PLAIN) and same(models.context_transformer, SECOND)
    assert (models.config.positions, models.config.switch, models.config.name) == ("relative", "keep", "mine")


def without(state: State, part: str) -> State:
    return {name: tensor for name, tensor in state.items() if part not in name}


@pytest.mark.parametrize(
    ("content", "has_context", "message"),
    [
        (lambda: {"generator": without(released(PLAIN), "ffn.2")}, False, "missing: blocks.0.ffn.net.2.bias"),
        (lambda: released(PLAIN) | {"model.blocks.0.extra.weight": torch.ones(1)}, False, "unexpected keys"),
        (lambda: published.with_second_set(), False, "second set of parameters.*context_transformer=true"),
        (lambda: {"generator_ema": released(PLAIN)}, True, "holds one set of parameters.*SGF"),
        (
            lambda: without(published.with_second_set(), "memory_head"),
            True,
            "the second set of parameters in .*missing: proj_out.bias",
        ),
        (
            lambda: released(PLAIN) | {"model.patch_embedding.weight": torch.zeros(5120, 16, 1, 2, 2)},
            False,
            r"2 blocks of width 5120 \(the 14B model\), but this model has 2 of width 24",
        ),
        (
            lambda: released(PLAIN) | {"model.blocks.39.modulation": torch.zeros(1, 6, 24)},
            False,
            "holds 40 blocks of width 24",
        ),
        (lambda: published_weights.lora(), False, "a LoRA. Give the base model as the checkpoint"),
        (lambda: {"generator_lora": published_weights.lora()}, False, "a LoRA. Give the base model"),
    ],
    ids=[
        "missing",
        "unexpected",
        "two sets",
        "one set",
        "half a set",
        "14B",
        "blocks",
        "lora",
        "nested lora",
    ],
)
def test_a_wrong_file_is_refused_by_name(
    content: Callable[[], Any], has_context: bool, message: str, tmp_path: Path
) -> None:
    torch.save(content(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        check_transformer(published_weights.SHAPE, tmp_path / "model.pt", has_context=has_context)
    assert "model.pt" in str(caught.value) or "unexpected" in message


def test_a_bidirectional_checkpoint_is_refused_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "bidirectional_checkpoint2" / "model.pt"
    file.parent.mkdir()
    torch.save({"generator": released(PLAIN)}, file)
    with pytest.raises(CheckpointError, match=r"a whole clip at once.*autoregressive_checkpoint"):
        check_transformer(published_weights.SHAPE, file)


def test_options_that_change_no_known_model_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        (["sgf", "--lora-scale", "0.5"], "it needs --lora"),
        (["storybook", "--weights-key", "generator"], "change published models"),
        (["sgf", "--set", "window=9"], "it needs --checkpoint"),
    ):
        assert main(["fetch", *options]) == 2
        assert words in capsys.readouterr().err


def test_random_weights_know_each_ones_size_and_settings() -> None:
    for name in FAMILY:
        config = BUILT_IN[name]
        assert (config.transformer.num_layers, config.height, config.switch) == (30, 480, "keep")
        assert config.sizes == ((480, 832),)
    assert BUILT_IN["causal-forcing-2step"].first_steps == (1000, 750, 500, 250)
    assert (BUILT_IN["causvid"].warp_steps, BUILT_IN["causvid"].overlap) == (False, 3)
    assert DECOY not in (PLAIN, SECOND)
