"""The storybook's prompts come by seed and index, and never leave the training combinations."""

from dataclasses import replace

from longlive.storybook.sources import SECOND_EDITION, StorybookPrompts
from longlive.storybook.world import captions
from longlive.storybook.world.drawing import Scene, is_held_out


def test_the_same_seed_and_index_give_the_same_pair_and_others_give_others() -> None:
    source = StorybookPrompts()
    pairs = [source.pair_at(3, index) for index in range(50)]
    assert pairs == [source.pair_at(3, index) for index in range(50)]
    assert [pair.prompt for pair in pairs] == [source.prompt_at(3, index) for index in range(50)]
    assert len({pair.prompt for pair in pairs}) > 45
    assert not {pair.prompt for pair in pairs} & {source.prompt_at(4, index) for index in range(50)}


def test_both_scenes_are_of_the_training_combinations_and_differ() -> None:
    scenes: list[Scene] = []

    def noting(scene, rng, *, complete=False):
        scenes.append(scene)
        return captions.caption(scene, rng, complete=complete)

    world = replace(SECOND_EDITION, caption=noting)
    for index in range(300):
        StorybookPrompts(world=world).pair_at(0, index)
    assert not any(is_held_out(scene) for scene in scenes)
    assert all(first != second for first, second in zip(scenes[::2], scenes[1::2], strict=True))


def test_complete_prompts_hold_known_words_only() -> None:
    known = set(captions.known_words())
    texts = [StorybookPrompts(1.0).prompt_at(0, index) for index in range(200)]
    assert all(set(text.lower().strip(".!").replace(",", "").split()) <= known for text in texts)
    texts = [StorybookPrompts(0.0).prompt_at(0, index) for index in range(200)]
    assert not all(set(text.lower().strip(".!").replace(",", "").split()) <= known for text in texts)
