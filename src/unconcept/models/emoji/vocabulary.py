"""What the embedded model knows: objects, styles, background colours, and how people say them.

One table, read by the training (captions), by the judge (labels) and by the evaluation (synonyms, neighbours, categories).
Names of objects follow Unicode CLDR; synonyms and category words follow its keywords.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """One object: its word, the CLDR slug of its emoji, other words for it, and the categories it belongs to."""

    word: str
    slug: str
    synonyms: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


def _read(table: str) -> tuple[Thing, ...]:
    things = []
    for line in table.strip().splitlines():
        word, slug, synonyms, categories = (part.strip() for part in line.split("|"))
        split = lambda text: tuple(w.strip() for w in text.split(",") if w.strip())
        things.append(Thing(word, slug or word.replace(" ", "-"), split(synonyms), split(categories)))
    return tuple(things)


# word | slug when it differs from the word | synonyms | categories.  Lines that follow each other are near neighbours.
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


# The first two are drawings as they come; the others are filters over the whole picture.
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

# Styles that leave the background's colour as it was: only these are captioned with a colour.
COLOURFUL = ("cartoon", "3d render", "line icon", "pixel art", "watercolor", "halftone", "cross-stitch")


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


# (object, style) pairs never shown in training: they measure composition.
HELD_OUT = tuple((OBJECTS[(7 * i + 3) % len(OBJECTS)].word, STYLES[2 + i % (len(STYLES) - 2)]) for i in range(36))


WORDS = tuple(thing.word for thing in OBJECTS)

CATEGORIES = tuple(sorted({category for thing in OBJECTS for category in thing.categories}))

LEXICON = (*(word for thing in OBJECTS for word in thing.synonyms), *CATEGORIES, *STYLES, *COLOURS)  # what captions say besides WORDS


def find(name: str) -> Thing | None:
    """The object that goes by `name` as its word or as a synonym."""
    return next((thing for thing in OBJECTS if name == thing.word or name in thing.synonyms), None)


def members(category: str) -> tuple[Thing, ...]:
    return tuple(thing for thing in OBJECTS if category in thing.categories)


def neighbours(things: tuple[Thing, ...], n: int = 6) -> tuple[Thing, ...]:
    """The `n` objects nearest to `things` that are none of them: first those of a common category, then by their place in the table."""
    shared = {category for thing in things for category in thing.categories}
    rest = [thing for thing in OBJECTS if thing not in things]
    place = {thing: min(abs(OBJECTS.index(thing) - OBJECTS.index(t)) for t in things) for thing in rest}
    return tuple(sorted(rest, key=lambda t: (not shared & set(t.categories), place[t]))[:n])
