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
white whitish pale snowy ivory cream silver = white yellow
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
about above across after again also along another around away back because become becomes been before begin
begins behind being below beside both but came come comes could each ever every few finally first from had
has have he her here him his how if into its just last later like made make makes making many maybe might
more most much must never next nobody off often only onto or other others our out over please really second
she should since so some somebody soon start started starting starts such suddenly taken than their them
themselves then there these they this those three through together too towards until very was well were
what when where which while who whole whose why will with within without would yet you your
"""
COMMON_WORDS = frozenset(_COMMON.split())
"""Words that show nothing: no misspelling, and nothing is missed if a model does not know them."""
_NO_MISSPELLINGS = """
acute advances advancing altogether awhile baking balls bands batch bench blank bleeding block brain brains
brass breach breaking breeding broad burns cakes calling calls candy catch cattle chile chill clean cleaning
clock closest closet clothing codes contains counting cover covering covers creating creative crops dairy
demon drain drawn drinking dropping dudes dying failing fails fairly fears fight filed files filling finger
flood flooding flour foods forecast forth founding fountain freaking fried gaining gains gambling glass
goods governing grain grasp greek gross ground grown halls hands handy hearing heather holdings holes homes
ignoring knowing knows lands laying leading leads leaks leaning learning lease leather leaving light lively
locks lonely loser losses lover lovers loves loving lower lying maintains marks marsh match matches matching
miles minister modes moral moses mounting movie movies niche painting partly parts patch patches paying
place plane planes plant plants pleasure pocket polls potatoes pound power pressing pulling pursuing raids
raising randy range reach reaching relating remaining removing resulting rings roles rugby ruins sailing
saves saving scare scary score scores scoring scream screaming seats sells shall share sheet shells shine
shipping shopping shops short showing shown shows sight signs singer singh skill smell smells songs sound
sounding spare spark spending spice sporting stairs stakes stark stats steep steering store stores story
stranger strangers streaming striking stronger stunning surprise sweat sweep swept table talking talks taxes
teach tears testing tests theme think thinking throwing tight towel tracking train training trains treasure
treating tries tweet violent wages waist waking wales walls walter wanting wants wasting wells whore width
wings winner wives words worrying worth wound wrestling wright write writing writings years yield
"""
"""Others among the 9,000 most frequent of English (wordfreq 3) that are spelt nearly like a known one."""
_SPELT_RIGHT = COMMON_WORDS | frozenset(_NO_MISSPELLINGS.split())
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
    if len(word) < MIN_MISSPELT or word in _SPELT_RIGHT:
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
