"""What one prompt asks for: a scene of seven attributes, and which scenes make sense."""

from dataclasses import dataclass, replace

import numpy as np

SETTINGS = ("meadow", "beach", "desert", "forest", "winter", "city", "castle", "underwater", "space")
SUBJECTS = ("cat", "dog", "rabbit", "penguin", "robot", "dragon")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
ACTIONS = ("stand", "left", "right", "jump", "spin", "wave", "dance", "sleep", "float")
WEATHERS = ("clear", "rain", "snow")
LIGHTS = ("day", "dusk", "night")
PROPS = ("none", "hat", "umbrella", "balloon", "scarf")

ATTRIBUTES = {
    "setting": SETTINGS,
    "subject": SUBJECTS,
    "colour": COLOURS,
    "action": ACTIONS,
    "weather": WEATHERS,
    "light": LIGHTS,
    "prop": PROPS,
}
SHARES = {"weather": (0.6, 0.2, 0.2), "light": (0.5, 0.2, 0.3), "prop": (0.4, 0.15, 0.15, 0.15, 0.15)}
WITHOUT_SKY = ("underwater", "space")

_HELD_OUT_FACTORS = {
    "setting": 7,
    "subject": 3,
    "colour": 5,
    "action": 11,
    "weather": 3,
    "light": 1,
    "prop": 9,
}


@dataclass(frozen=True)
class Scene:
    """One subject that does one thing in one place.

    Attributes:
        setting, subject, colour, action, weather, light, prop: one of the values in ``ATTRIBUTES`` each.
    """

    setting: str
    subject: str
    colour: str
    action: str
    weather: str = "clear"
    light: str = "day"
    prop: str = "none"

    @property
    def attributes(self) -> tuple[str, ...]:
        """The seven values, in the order of ``ATTRIBUTES``."""
        return tuple(getattr(self, name) for name in ATTRIBUTES)

    def index_of(self, attribute: str) -> int:
        """Position of this scene's value in ``ATTRIBUTES[attribute]``."""
        return ATTRIBUTES[attribute].index(getattr(self, attribute))


def sensible(scene: Scene) -> Scene:
    """The same scene, in fine weather by day where there is no sky (under water and in space)."""
    return replace(scene, weather="clear", light="day") if scene.setting in WITHOUT_SKY else scene


def is_held_out(scene: Scene) -> bool:
    """Whether this combination of attributes is kept from training (one in ten), to test composition."""
    code = sum(factor * scene.index_of(name) for name, factor in _HELD_OUT_FACTORS.items())
    return (code + scene.index_of("subject") * scene.index_of("action")) % 10 == 4


def random_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """A random sensible scene, from the combinations for training or from those held out."""
    while True:
        drawn = {name: str(rng.choice(words, p=SHARES.get(name))) for name, words in ATTRIBUTES.items()}
        scene = sensible(Scene(**drawn))
        if is_held_out(scene) == held_out:
            return scene


TURN_SHARES = {
    "action": 0.46,
    "prop": 0.20,
    "setting": 0.10,
    "weather": 0.07,
    "light": 0.05,
    "colour": 0.04,
    "subject": 0.03,
    "all": 0.05,
}


def random_turn(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another scene to turn to: mostly another action or prop, sometimes another look or place."""
    while True:
        kind = str(rng.choice(list(TURN_SHARES), p=list(TURN_SHARES.values())))
        if kind == "all":
            turned = random_scene(rng)
        else:
            turned = sensible(replace(scene, **{kind: str(rng.choice(ATTRIBUTES[kind]))}))
        if turned != scene and not is_held_out(turned):
            return turned
