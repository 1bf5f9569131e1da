"""Phrases for every value of every attribute, the plainest first."""

Phrases = dict[str, tuple[str, ...]]


def _table(**values: str) -> Phrases:
    """Split each value's phrases, which are separated by bars."""
    return {name: _list(phrases) for name, phrases in values.items()}


def _list(phrases: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in phrases.split("|"))


COLOUR_WORDS = _table(
    red="red | red | crimson | scarlet | ruby",
    orange="orange | orange | tangerine | amber | ginger",
    yellow="yellow | yellow | golden | lemon | gold",
    green="green | green | emerald | lime | mint",
    blue="blue | blue | azure | sapphire | turquoise",
    purple="purple | purple | violet | lilac | lavender",
    pink="pink | pink | rosy | rose",
    white="white | white | snow-white | ivory | cream",
    black="black | black | coal-black | grey",
)
SUBJECT_WORDS = _table(
    cat="cat | cat | cat | kitten | kitty | pussycat",
    dog="dog | dog | dog | puppy | doggy | hound",
    rabbit="rabbit | rabbit | bunny | bunny | hare",
    penguin="penguin | penguin | penguin | bird | little penguin",
    robot="robot | robot | robot | machine | android | toy robot",
    dragon="dragon | dragon | dragon | dinosaur | dino | monster",
)
PLACE_WORDS = _table(
    meadow=(
        "on a meadow | on a green meadow | in the meadow | on the grass | in a field | "
        "in the park | in the garden | on a lawn | in the countryside | outside | on a hill"
    ),
    beach=(
        "on the beach | at the beach | on a sandy beach | by the sea | at the seaside | "
        "on the shore | by the ocean | under a palm tree | on an island | near the water"
    ),
    desert=(
        "in the desert | in a hot desert | among dunes | on a sand dune | near a cactus | "
        "in the sahara | in egypt | near the pyramids | among cactuses"
    ),
    forest=(
        "in the forest | in a forest | in the woods | among the trees | between tall trees | "
        "in the jungle | among mushrooms | in a dark wood"
    ),
    winter=(
        "in the snow | in a snowy landscape | in winter | on the ice | in snowy mountains | "
        "in the mountains | next to a snowman | at the north pole | in antarctica"
    ),
    city=(
        "in the city | in a city | in town | on the street | in a big city | downtown | "
        "between houses | on the road | in new york | in the streets | "
        "in front of tall buildings"
    ),
    castle=(
        "at a castle | in front of a castle | at the castle | in a castle | near the palace | "
        "in a fairy tale | in a kingdom | by the tower | in front of the palace"
    ),
    underwater=(
        "under water | underwater | under the sea | at the bottom of the sea | in the sea | "
        "in the ocean | among fish | in a coral reef | in an aquarium | deep in the ocean"
    ),
    space=(
        "in space | in outer space | on the moon | on a planet | among planets | "
        "on another planet | on mars | next to a rocket | in the galaxy | on a strange planet"
    ),
)
PLACE_NOUNS = _table(
    meadow="meadow | grass | field | park | garden",
    beach="beach | sea | shore | seaside | palm trees",
    desert="desert | dunes | cactus | pyramids",
    forest="forest | woods | jungle | trees",
    winter="winter | snowy landscape | ice | mountains | snowman",
    city="city | town | street | skyscrapers | houses",
    castle="castle | palace | kingdom | fairy tale",
    underwater="underwater | coral reef | sea floor | fish",
    space="space | moon | planets | rocket | outer space",
)
ACTION_WORDS = _table(
    stand=(
        "stands still | stands | waits | rests | stays | does nothing | is standing | stops | "
        "looks at us | does not move"
    ),
    left=(
        "walks left | walks to the left | moves left | goes left | strolls to the left | "
        "is walking left | runs left | runs to the left"
    ),
    right=(
        "walks right | walks to the right | moves right | goes right | strolls to the right | "
        "is walking right | runs right | runs to the right"
    ),
    jump=("jumps | jumps up and down | hops | leaps | bounces | is jumping | keeps jumping | jumps for joy"),
    spin=(
        "spins | rotates | turns somersaults | does somersaults | rolls over | is spinning | "
        "spins round and round | tumbles | does a flip"
    ),
    wave=(
        "waves | waves its hand | says hello | waves at us | greets us | is waving | "
        "waves hello | says hi | waves goodbye"
    ),
    dance=(
        "dances | is dancing | dances happily | boogies | sways to the music | "
        "dances to the music | has a party | sings and dances"
    ),
    sleep=(
        "sleeps | is sleeping | falls asleep | takes a nap | is asleep | snores | dreams | "
        "naps | goes to sleep"
    ),
    float=(
        "floats | floats in the air | flies | hovers | is floating | is flying | levitates | "
        "flies up | takes off into the air"
    ),
)
ACTION_PARTICIPLES = _table(
    stand="standing | standing still | waiting | resting",
    left="walking left | moving left | going to the left | running left",
    right="walking right | moving right | going to the right | running right",
    jump="jumping | hopping | bouncing | leaping",
    spin="spinning | rotating | tumbling | doing somersaults",
    wave="waving | waving hello | saying hello | greeting us",
    dance="dancing | dancing to music | having a party",
    sleep="sleeping | asleep | snoring | dreaming | taking a nap",
    float="floating | flying | hovering | floating in the air",
)
VAGUE_WALK = _list(
    "walks | is walking | strolls | goes for a walk | runs | moves | walks along | takes a walk"
)
WEATHER_WORDS = _table(
    clear="in fine weather | in clear weather | without a cloud | when the rain has stopped",
    rain=(
        "in the rain | while it rains | as rain falls | in rainy weather | "
        "when it is raining | on a rainy day | in a storm"
    ),
    snow=(
        "while it snows | as snow falls | under falling snow | in a snowfall | "
        "when it is snowing | in a blizzard | as snowflakes fall"
    ),
)
WEATHER_NOUNS = _table(
    clear="fine weather | clear weather",
    rain="rain | rainy | raining | it is raining",
    snow="snowing | snowfall | snowflakes | it is snowing",
)
WEATHER_CHANGES = _table(
    clear="the rain stops | fine weather | it clears up | the sun comes out",
    rain="it starts to rain | it rains | now it is raining | rain",
    snow="it starts to snow | it snows | now it is snowing | snow falls",
)
LIGHT_CHANGES = _table(
    day="it is day again | the sun comes up | morning comes",
    dusk="the sun sets | evening comes | it is dusk | sunset",
    night="night falls | it gets dark | it is night | the moon comes out",
)
LIGHT_WORDS = _table(
    day="by day | in the morning | on a sunny day | in the sunshine | at noon | in daylight",
    dusk="at dusk | at sunset | in the evening | at dawn | as the sun goes down | at sunrise",
    night=("at night | under the moon | under the stars | in the moonlight | at midnight | by night"),
)
LIGHT_NOUNS = _table(
    day="day | sunny | sunshine | morning",
    dusk="dusk | sunset | evening",
    night="night | moonlight | starry night",
)
PROP_WORDS = _table(
    none="",
    hat=("with a hat | wearing a hat | in a top hat | with a hat on | with a top hat | who wears a hat"),
    umbrella=(
        "with an umbrella | holding an umbrella | under an umbrella | with a parasol | carrying an umbrella"
    ),
    balloon=(
        "with a balloon | holding a balloon | with a red balloon | carrying a balloon | who has a balloon"
    ),
    scarf=("with a scarf | wearing a scarf | in a warm scarf | with a striped scarf | with a scarf on"),
)
PROP_NOUNS = _table(
    none="",
    hat="hat | top hat",
    umbrella="umbrella | parasol",
    balloon="balloon | red balloon",
    scarf="scarf | striped scarf",
)
PROP_VERBS = _table(
    hat="puts on a hat | wears a hat | has a hat | gets a hat | is wearing a top hat",
    umbrella=(
        "opens an umbrella | holds an umbrella | has an umbrella | takes an umbrella | gets an umbrella"
    ),
    balloon="holds a balloon | has a balloon | gets a balloon | takes a balloon | catches a balloon",
    scarf="puts on a scarf | wears a scarf | has a scarf | gets a scarf | is wearing a scarf",
)
DROP_VERBS = _table(
    hat="takes off the hat | takes the hat off | loses the hat | has no hat",
    umbrella="closes the umbrella | puts the umbrella away | drops the umbrella | has no umbrella",
    balloon="lets the balloon go | lets go of the balloon | loses the balloon | has no balloon",
    scarf="takes off the scarf | takes the scarf off | loses the scarf | has no scarf",
)
WITHOUT = _list("without a hat | without an umbrella | without anything | with empty hands")
ADJECTIVES = _list(
    "little | small | cute | happy | funny | big | smiling | lovely | tiny | friendly | "
    "nice | shiny | sweet | fluffy"
)
OPENINGS = _list(
    "a video of | a picture book page with | we see | watch | look, | now | then | "
    "suddenly | once upon a time | a cartoon of | show me | i want to see | please draw | "
    "there is | here is"
)
ENDINGS = _list(
    "slowly | again | happily | all day long | for a while | with a smile | alone | "
    "in a picture book | with big eyes | and smiles | quietly"
)
ANYONE = _list("thing | character | creature | friend | animal | it | toy | hero")
SYLLABLES = _list(
    "ba | dra | gon | ki | lo | mer | nu | pi | ro | sho | ta | vel | wi | zu | er | ing | an | the | st | ou"
)
