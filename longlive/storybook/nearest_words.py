"""The nearest word that a model of few words knows to one that it does not know.

Three ways, in this order: another form of a known word ("jumped"), a word of similar meaning from the table
below, and a known word that was misspelt ("purpel"). The table is for no model in particular: of what it
suggests, only what the model's own vocabulary holds is taken.
"""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

_SIMILAR = """
dog puppy doggy hound poodle dachshund terrier wolf fox coyote = dog puppy cat kitten
pup doggo beagle husky labrador retriever bulldog spaniel jackal = dog puppy cat kitten
cat kitten kitty tomcat lion tiger leopard panther = cat kitten
cheetah lynx cougar feline tabby moggy jaguar = cat kitten
rabbit bunny hare hamster mouse rat = rabbit bunny cat kitten
squirrel guinea hedgehog kangaroo cottontail chipmunk = rabbit bunny cat kitten
penguin duck chicken hen bird owl parrot swan goose sparrow = penguin bird cat
eagle crow seagull pelican duckling raven chick rooster turkey puffin = penguin bird cat
robot machine android droid cyborg computer automaton terminator bot automata transformer = robot cube box
dragon dinosaur dino monster lizard crocodile alligator godzilla unicorn = dragon monster cat creature
snake griffin wyvern raptor tyrannosaurus velociraptor rex hydra = dragon monster cat creature
horse pony cow pig sheep goat donkey elephant giraffe bear = dog cat creature
panda monkey deer zebra foal mule llama camel calf lamb = dog cat creature
boy girl man woman child kid baby person human = character friend
people king queen prince princess knight wizard witch = character friend
fish shark whale dolphin octopus mermaid turtle = fish penguin cat
pet beast critter being fellow buddy guy = creature friend character
football basketball bubble marble globe egg balloon apple planet moon sun = balloon ball sphere
dice die brick crate cabinet television suitcase present = cube box
starfish sparkle comet asterisk = star

maroon burgundy cherry rose-red vermilion blood-red reddish = red crimson
apricot peach copper rusty carrot ginger = orange ginger amber
blond blonde sunny mustard straw canary yellowish = yellow golden
olive grassy jade forest-green greenish teal = green emerald
navy cyan indigo sky-blue aqua bluish cobalt = blue azure
mauve magenta plum lavender violet-blue purplish = purple violet lilac
pinkish salmon fuchsia rosy coral = pink red
whitish pale snowy ivory cream silver = white yellow
dark ebony charcoal grey gray black = black purple blue

village suburb metropolis street road avenue city town downtown skyscraper building = city town park field
market square pavement sidewalk boulevard alley plaza traffic suburbs rome chicago = city town park field
london paris tokyo berlin manhattan chicago shanghai = city town park
palace fortress fort manor chateau tower kingdom = castle palace park field
castle citadel stronghold drawbridge courtyard castles = castle palace park field
lawn prairie pasture farm backyard garden yard = meadow grass field park
orchard hillside countryside barnyard farmland ranch grassland = meadow grass field park
coast bay island harbour harbor lagoon riviera hawaii = beach shore sea
seashore lake river quay pier wharf lighthouse boardwalk = beach shore sea
sahara arizona savanna dune oasis canyon wasteland outback steppe cacti tumbleweed = desert dunes
wood grove woodland rainforest jungle taiga thicket = forest woods
arctic antarctic antarctica glacier iceberg alaska greenland siberia = winter ice snow
alps frost pole tundra igloo summit himalaya = winter ice snow
reef seabed seafloor depths submarine aquarium underwater atlantis kelp seaweed = underwater sea ocean
galaxy cosmos universe mars venus jupiter saturn orbit moon = space moon stars night
planet asteroid spaceship space crater astronaut comet rocket = space moon stars night

walk stroll march stride wander hike saunter tiptoe = walks moves goes
trot crawl creep waddle shuffle promenade amble = walks moves goes
run jog sprint dash race rush hurry gallop scamper bolt flee = runs walks
jump hop leap bounce skip bound spring hurdle vault = jumps hops
spin twirl whirl rotate pirouette revolve somersault = spins rotates rolls
cartwheel tumble roll flip backflip cartwheels = spins rotates rolls
wave greet hello hi salute beckon = waves hello
dance boogie waltz disco tango ballet groove jive party swing sway salsa samba rumba shimmy = dances jumps
sleep nap doze slumber snooze rest snore dream nod siesta hibernate kip = sleeps rests
float hover fly soar glide levitate drift flutter = floats flies
stand wait stay pause stop halt linger idle freeze sit = stands waits stays
grow swell inflate expand shrink breathe pulse pulsate = pulses grows breathes

drizzle pour downpour shower storm thunderstorm wet rainfall drip monsoon deluge bucketing = rain rainy
blizzard snowstorm snowfall flurry sleet hail snowflake flake flakes = snowfall snowflakes
sunny cloudless bright warm dry = clear fine
sunset sundown sunrise dawn daybreak dusk twilight evening = dusk sunset evening night
midnight nighttime nightfall starlight moonlight = night moonlight
darkness dark constellation starlit starry = night moonlight
noon midday daytime daylight morning afternoon lunchtime = day morning

leftward leftwards = left
rightward rightwards = right

cap bonnet beret crown helmet sombrero headgear = hat
parasol brolly sunshade = umbrella parasol
shawl muffler bandana neckerchief = scarf
tiny miniature wee teeny = tiny small little
huge giant gigantic enormous large = big
glad cheerful merry joyful jolly = happy
pretty beautiful adorable = lovely cute
"""
_FORMS = {
    "ran": "run",
    "flew": "fly",
    "flown": "fly",
    "slept": "sleep",
    "stood": "stand",
    "went": "go",
    "goes": "go",
    "gone": "go",
    "leapt": "leap",
    "spun": "spin",
    "fell": "fall",
    "swam": "swim",
    "mice": "mouse",
    "geese": "goose",
    "wolves": "wolf",
}
_COMMON = """
about above across after again also another around because been before behind being below beside
could every from have here just like many might much never often other others over please should
since some such than their them then there these they this those through together towards under
until very were what when where which while whole whose will with within without would your
"""
"""Words that are no misspelling, though a model may not know them."""
_ENDINGS = ("ing", "ies", "ed", "es", "s")
MIN_MISSPELT = 5
"""Letters of the shortest word that may be a misspelling; of short ones too many differ by one letter."""


def nearest_word(word: str, known: Collection[str]) -> str | None:
    """The known word nearest to one that is not known; None if none is near.

    Args:
        word: a single word, in any case.
        known: words in lower case.
    """
    word = word.lower()
    by_stem = _by_stem(frozenset(known))
    candidates: Iterator[str] = iter((word, *_similar().get(stem(word), ())))
    for candidate in candidates:
        forms = by_stem.get(stem(candidate), ())
        if forms:
            return min(forms, key=lambda form: _rank(form, word))
    return _misspelt(word, known)


def stem(word: str) -> str:
    """A word without its ending, the same for its common forms: ``hopping``, ``hops`` and ``hop``."""
    word = _FORMS.get(word, word)
    for ending in _ENDINGS:
        rest = word.removesuffix(ending)
        is_word = len(rest) > 1 and (ending == "ies" or re.search("[aeiouy]", rest))
        if rest != word and is_word and not word.endswith("ss"):
            word = rest + "y" if ending == "ies" else rest
            break
    word = word.removesuffix("e") if len(word) > 3 else word
    is_doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aelos"
    return word[:-1] if is_doubled else word


def _ending(word: str) -> str:
    """``ing``, ``ed``, ``s`` or nothing."""
    found = next((ending for ending in _ENDINGS if word.endswith(ending)), "")
    return "s" if found in ("ies", "es") else found


def _rank(form: str, word: str) -> tuple[bool, bool, str]:
    """How well a form of a known word stands for ``word``: the same ending first, then a verb's plainest."""
    return _ending(form) != _ending(word), _ending(form) not in ("", "s"), form


@lru_cache(maxsize=8)
def _by_stem(known: frozenset[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for word in sorted(known):
        found[stem(word)] = (*found.get(stem(word), ()), word)
    return found


@lru_cache(maxsize=1)
def _similar() -> dict[str, tuple[str, ...]]:
    """Suggestions for each stem of the table, the nearest first."""
    found: dict[str, tuple[str, ...]] = {}
    for line in filter(None, map(str.strip, _SIMILAR.splitlines())):
        words, suggestions = (part.split() for part in line.split("="))
        for word in words:
            found[stem(word)] = (*found.get(stem(word), ()), *suggestions)
    return found


def _misspelt(word: str, known: Collection[str]) -> str | None:
    """The known word of which this one may be a misspelling."""
    if len(word) < MIN_MISSPELT or word in _COMMON.split():
        return None
    allowed = 1 if len(word) < 8 else 2
    near = [
        (distance, other)
        for other in known
        if len(other) >= MIN_MISSPELT - 1
        and abs(len(other) - len(word)) <= allowed
        and (distance := _edits(word, other)) <= allowed
    ]
    return min(near)[1] if near else None


def _edits(first: str, second: str) -> int:
    """Letters that were added, left out, replaced or swapped between two words."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
