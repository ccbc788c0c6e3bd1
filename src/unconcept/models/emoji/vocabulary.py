"""What the embedded models know: objects, styles, background colors, and how people name them.

One table, used by the training (captions), by the judge (labels) and by the evaluation (synonyms,
neighbors, categories). Names of objects follow Unicode CLDR; synonyms and category words follow
its keywords.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """One object.

    word        its name
    slug        the CLDR slug of its emoji
    synonyms    other names for it
    categories  the categories that it belongs to
    """

    word: str
    slug: str
    synonyms: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


def _read(table: str) -> tuple[Thing, ...]:
    things = []
    for line in table.strip().splitlines():
        word, slug, synonyms, categories = (part.strip() for part in line.split("|"))
        slug = slug or word.replace(" ", "-")
        things.append(Thing(word, slug, _split(synonyms), _split(categories)))
    return tuple(things)


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


# word | slug if it differs from the word | synonyms | categories
# Lines that follow each other are near neighbors.
OBJECTS = _read("""
pig          | pig-face        | hog, piglet          | farm animal
cow          | cow-face        | cattle, heifer       | farm animal
horse        | horse-face      | pony, stallion       | farm animal
unicorn      |                 | magic horse          |
cat          | cat-face        | kitten, kitty        | pet
dog          | dog-face        | puppy, hound         | pet
rabbit       | rabbit-face     | bunny, hare          | pet
mouse        | mouse-face      | rodent               |
fox          |                 | vixen                | wild animal
wolf         |                 | grey wolf            | wild animal
tiger        | tiger-face      | big striped cat      | wild animal
lion         |                 | king of beasts       | wild animal
bear         |                 | grizzly              | wild animal
panda        |                 | panda bear           | wild animal
koala        |                 | koala bear           | wild animal
monkey       | monkey-face     | ape                  | wild animal
frog         |                 | toad                 |
chicken      |                 | hen                  | farm animal, bird
penguin      |                 | emperor penguin      | bird
owl          |                 | night owl            | bird
duck         |                 | mallard              | bird
eagle        |                 | bald eagle           | bird
turtle       |                 | tortoise             |
octopus      |                 | eight armed animal   | sea animal
dolphin      |                 | porpoise             | sea animal
shark        |                 | great white          | sea animal
fish         | tropical-fish   | reef fish            | sea animal
butterfly    |                 | moth                 | insect
bee          | honeybee        | bumblebee            | insect
ladybug      | lady-beetle     | ladybird             | insect
snail        |                 | slug with a shell    |
sunflower    |                 | helianthus           | flower
rose         |                 | red blossom          | flower
tulip        |                 | spring flower        | flower
cactus       |                 | desert plant         | plant
mushroom     |                 | toadstool            |
palm tree    |                 | coconut palm         | plant, tree
pine tree    | evergreen-tree  | fir, conifer         | plant, tree
apple        | red-apple       | red fruit            | fruit
banana       |                 | yellow fruit         | fruit
grapes       |                 | bunch of grapes      | fruit
watermelon   |                 | melon slice          | fruit
strawberry   |                 | red berry            | fruit
pineapple    |                 | ananas               | fruit
lemon        |                 | citrus               | fruit
pizza        |                 | slice of pizza       | fast food
hamburger    |                 | burger               | fast food
hot dog      |                 | sausage in a bun     | fast food
french fries |                 | chips                | fast food
doughnut     |                 | donut                | sweet food
cake         | birthday-cake   | birthday cake        | sweet food
cookie       |                 | biscuit              | sweet food
car          | automobile      | automobile, sedan    | vehicle
bus          |                 | coach                | vehicle
truck        | delivery-truck  | lorry, van           | vehicle
locomotive   |                 | steam engine, train  | vehicle
bicycle      |                 | bike                 | vehicle
airplane     |                 | aeroplane, jet       | aircraft
rocket       |                 | spaceship            | aircraft
helicopter   |                 | chopper              | aircraft
sailboat     |                 | sailing boat, yacht  | vehicle
house        |                 | home, cottage        | building
castle       |                 | fortress, palace     | building
church       |                 | chapel               | building
laptop       |                 | notebook computer    | electronics
desktop      | desktop-computer| desktop computer     | electronics
television   |                 | tv                   | electronics
camera       |                 | photo camera         | electronics
telephone    |                 | landline phone       | electronics
guitar       |                 | electric guitar      | musical instrument
violin       |                 | fiddle               | musical instrument
trumpet      |                 | bugle                | musical instrument
drum         |                 | snare drum           | musical instrument
football     | soccer-ball     | soccer ball          | ball
basketball   |                 | orange ball          | ball
key          |                 | door key             |
umbrella     |                 | parasol              |
alarm clock  |                 | clock                |
crown        |                 | royal crown          |
gem          | gem-stone       | diamond, jewel       |
light bulb   |                 | electric lamp        |
snowman      |                 | man of snow          |
pumpkin      | jack-o-lantern  | jack o lantern       |
ghost        |                 | phantom              |
skull        |                 | death's head         |
bomb         |                 | explosive            | weapon
dagger       |                 | knife                | weapon
swords       | crossed-swords  | crossed swords       | weapon
bow and arrow|                 | archer's bow         | weapon
beer         | beer-mug        | mug of beer          | drink
wine         | wine-glass      | glass of wine        | drink
coffee       | hot-beverage    | cup of tea           | drink
""")


# The first two are the original drawings; the others are filters over the whole image.
STYLES = (
    "cartoon",
    "3d render",
    "line icon",
    "pixel art",
    "pencil sketch",
    "watercolor",
    "neon",
    "blueprint",
    "halftone",
    "cross-stitch",
    "sepia",
)

# Styles that leave the background's color as it was: only these are captioned with a color.
COLOURFUL = (
    "cartoon",
    "3d render",
    "line icon",
    "pixel art",
    "watercolor",
    "halftone",
    "cross-stitch",
)


# Styles fine enough for two small objects side by side.
SCENIC = ("cartoon", "3d render", "line icon", "pencil sketch", "watercolor", "blueprint", "sepia")


COLOURS = {
    "white": (250, 250, 250),
    "black": (18, 18, 20),
    "gray": (142, 142, 146),
    "red": (206, 52, 52),
    "orange": (242, 148, 44),
    "yellow": (250, 222, 84),
    "green": (72, 164, 84),
    "blue": (58, 112, 214),
    "purple": (142, 84, 186),
    "pink": (248, 170, 204),
}


def _held_out_pairs(n: int) -> tuple[tuple[str, str], ...]:
    pairs = []
    for i in range(n):
        thing = OBJECTS[(7 * i + 3) % len(OBJECTS)]
        pairs.append((thing.word, STYLES[2 + i % (len(STYLES) - 2)]))
    return tuple(pairs)


# (object, style) pairs that the training never shows: they measure composition.
HELD_OUT = _held_out_pairs(36)


WORDS = tuple(thing.word for thing in OBJECTS)

CATEGORIES = tuple(sorted({category for thing in OBJECTS for category in thing.categories}))

SYNONYMS = tuple(word for thing in OBJECTS for word in thing.synonyms)

# Words of the captions besides WORDS.
LEXICON = (*SYNONYMS, *CATEGORIES, *STYLES, *COLOURS)


def find(name: str) -> Thing | None:
    """The object with a name.

    Args:
        name: Its word, or one of its synonyms.

    Returns:
        The object; None if there is no such object.
    """
    return next((thing for thing in OBJECTS if name in (thing.word, *thing.synonyms)), None)


def members(category: str) -> tuple[Thing, ...]:
    """The objects of a category.

    Args:
        category: One of `CATEGORIES`; any other has no members.
    """
    return tuple(thing for thing in OBJECTS if category in thing.categories)


def neighbours(things: tuple[Thing, ...], n: int = 6) -> tuple[Thing, ...]:
    """The objects nearest to some objects.

    Args:
        things: The objects; they are not their own neighbors.
        n: How many.

    Returns:
        Objects that share a category first, each part sorted by distance in the table.
    """
    shared = {category for thing in things for category in thing.categories}
    positions = [OBJECTS.index(thing) for thing in things]

    def distance(other: Thing) -> tuple[bool, int]:
        position = OBJECTS.index(other)
        nearest = min(abs(position - place) for place in positions)
        return (not shared & set(other.categories), nearest)

    others = [thing for thing in OBJECTS if thing not in things]
    return tuple(sorted(others, key=distance)[:n])
