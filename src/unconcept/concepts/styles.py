"""Styles: artists by movement, and media, by the names that prompts use for them.

In each movement those who died before 1955 come first: their works are in the public domain in
most countries.
"""

import functools

# Movement -> artists. "van Gogh / Vincent van Gogh": what prompts call the artist, other names.
ARTISTS: dict[str, tuple[str, ...]] = {
    "renaissance": (
        "Leonardo da Vinci / da Vinci",
        "Michelangelo",
        "Raphael",
        "Sandro Botticelli / Botticelli",
        "Titian",
        "Giotto",
        "Fra Angelico",
        "Piero della Francesca",
        "Andrea Mantegna / Mantegna",
        "Giovanni Bellini",
        "Giorgione",
        "Tintoretto",
        "Paolo Veronese",
        "El Greco",
        "Giuseppe Arcimboldo / Arcimboldo",
        "Masaccio",
    ),
    "northern renaissance": (
        "Jan van Eyck / van Eyck",
        "Hieronymus Bosch / Bosch",
        "Pieter Bruegel the Elder / Pieter Bruegel / Bruegel",
        "Albrecht Dürer / Albrecht Durer / Dürer",
        "Hans Holbein the Younger / Hans Holbein / Holbein",
        "Lucas Cranach the Elder / Lucas Cranach",
        "Matthias Grünewald",
        "Rogier van der Weyden",
        "Hans Memling",
        "Albrecht Altdorfer",
    ),
    "baroque": (
        "Rembrandt / Rembrandt van Rijn",
        "Johannes Vermeer / Vermeer / Jan Vermeer",
        "Caravaggio",
        "Peter Paul Rubens / Rubens",
        "Diego Velázquez / Diego Velazquez / Velázquez / Velazquez",
        "Frans Hals",
        "Artemisia Gentileschi",
        "Anthony van Dyck / van Dyck",
        "Nicolas Poussin / Poussin",
        "Claude Lorrain",
        "Georges de La Tour",
        "Francisco de Zurbarán",
        "Bartolomé Esteban Murillo / Murillo",
        "Jacob van Ruisdael",
        "Judith Leyster",
        "Pieter de Hooch",
        "Rachel Ruysch",
    ),
    "rococo and neoclassicism": (
        "Jean-Honoré Fragonard / Fragonard",
        "François Boucher",
        "Antoine Watteau / Watteau",
        "Canaletto",
        "Giovanni Battista Tiepolo / Tiepolo",
        "Jean Siméon Chardin / Chardin",
        "Jacques-Louis David",
        "Jean-Auguste-Dominique Ingres / Ingres",
        "Élisabeth Vigée Le Brun",
        "Angelica Kauffman",
        "Thomas Gainsborough / Gainsborough",
        "Joshua Reynolds",
        "William Hogarth / Hogarth",
        "George Stubbs",
        "Giovanni Battista Piranesi / Piranesi",
    ),
    "romanticism": (
        "Francisco Goya / Goya",
        "J. M. W. Turner / William Turner / JMW Turner",
        "Caspar David Friedrich",
        "Eugène Delacroix / Eugene Delacroix / Delacroix",
        "John Constable",
        "William Blake",
        "Théodore Géricault / Géricault",
        "Thomas Cole",
        "Frederic Edwin Church",
        "Albert Bierstadt / Bierstadt",
        "Ivan Aivazovsky / Aivazovsky",
        "John Martin",
        "Henry Fuseli",
        "Carl Spitzweg",
        "Thomas Moran",
    ),
    "realism": (
        "Gustave Courbet / Courbet",
        "Jean-François Millet",
        "Camille Corot / Jean-Baptiste-Camille Corot / Corot",
        "Honoré Daumier / Daumier",
        "Ilya Repin",
        "Ivan Shishkin",
        "Isaac Levitan",
        "Winslow Homer",
        "Thomas Eakins",
        "Rosa Bonheur",
        "Adolph Menzel",
        "William-Adolphe Bouguereau / Bouguereau",
        "Jean-Léon Gérôme",
        "Lawrence Alma-Tadema / Alma-Tadema",
        "John Singer Sargent",
        "James McNeill Whistler / Whistler",
        "Anders Zorn",
        "Joaquín Sorolla / Joaquin Sorolla",
        "Ivan Kramskoi",
        "Gustave Doré / Gustave Dore",
    ),
    "pre-raphaelites": (
        "John Everett Millais",
        "Dante Gabriel Rossetti",
        "John William Waterhouse",
        "Edward Burne-Jones",
        "William Holman Hunt",
        "William Morris",
        "Evelyn De Morgan",
        "Ford Madox Brown",
        "Frederic Leighton",
    ),
    "impressionism": (
        "Claude Monet / Monet",
        "Pierre-Auguste Renoir / Renoir / Auguste Renoir",
        "Edgar Degas / Degas",
        "Édouard Manet / Edouard Manet / Manet",
        "Camille Pissarro / Pissarro",
        "Alfred Sisley / Sisley",
        "Berthe Morisot",
        "Mary Cassatt",
        "Gustave Caillebotte",
        "Frédéric Bazille",
        "Childe Hassam",
        "Max Liebermann",
        "William Merritt Chase",
    ),
    "post-impressionism": (
        "Vincent van Gogh / van Gogh",
        "Paul Cézanne / Paul Cezanne / Cézanne / Cezanne",
        "Paul Gauguin / Gauguin",
        "Georges Seurat / Seurat",
        "Henri de Toulouse-Lautrec / Toulouse-Lautrec",
        "Paul Signac",
        "Henri Rousseau",
        "Pierre Bonnard",
        "Édouard Vuillard",
        "Suzanne Valadon",
    ),
    "symbolism and art nouveau": (
        "Gustav Klimt / Klimt",
        "Alphonse Mucha / Mucha",
        "Odilon Redon",
        "Gustave Moreau",
        "Arnold Böcklin",
        "Aubrey Beardsley / Beardsley",
        "Arthur Rackham",
        "Ivan Bilibin",
        "Mikhail Vrubel",
        "Nicholas Roerich",
        "Franz von Stuck",
        "John Bauer",
        "Walter Crane",
        "Beatrix Potter",
        "Kay Nielsen",
    ),
    "expressionism": (
        "Edvard Munch / Munch",
        "Egon Schiele / Schiele",
        "Franz Marc",
        "August Macke",
        "Ernst Ludwig Kirchner",
        "Käthe Kollwitz",
        "Paula Modersohn-Becker",
        "Chaïm Soutine",
        "Amedeo Modigliani / Modigliani",
        "James Ensor",
        "Max Beckmann",
        "Henri Matisse / Matisse",
        "Raoul Dufy",
    ),
    "abstraction and cubism": (
        "Wassily Kandinsky / Kandinsky",
        "Piet Mondrian / Mondrian",
        "Kazimir Malevich / Malevich",
        "Paul Klee",
        "Juan Gris",
        "Robert Delaunay",
        "Umberto Boccioni",
        "Lyubov Popova",
        "El Lissitzky",
        "Hilma af Klint",
        "László Moholy-Nagy",
        "Pablo Picasso / Picasso",
        "Georges Braque",
        "Joan Miró / Joan Miro",
        "Jackson Pollock",
        "Mark Rothko",
    ),
    "ukiyo-e and east asian painting": (
        "Katsushika Hokusai / Hokusai",
        "Utagawa Hiroshige / Hiroshige",
        "Kitagawa Utamaro / Utamaro",
        "Utagawa Kuniyoshi / Kuniyoshi",
        "Tōshūsai Sharaku / Sharaku",
        "Tsukioka Yoshitoshi / Yoshitoshi",
        "Ogata Kōrin",
        "Sesshū Tōyō",
        "Shitao",
        "Bada Shanren",
        "Shen Zhou",
        "Kawase Hasui",
    ),
    "modern": (
        "Frida Kahlo / Kahlo",
        "Grant Wood",
        "Salvador Dalí / Salvador Dali / Dalí / Dali",
        "René Magritte / Rene Magritte / Magritte",
        "M. C. Escher / MC Escher / Escher",
        "Edward Hopper",
        "Andy Warhol",
        "Roy Lichtenstein",
        "Georgia O'Keeffe",
        "Norman Rockwell",
        "Marc Chagall / Chagall",
        "Diego Rivera",
    ),
}

# Media and styles, those that resemble each other together.
MEDIA: dict[str, tuple[str, ...]] = {
    "paint": (
        "watercolor / watercolour",
        "oil painting",
        "acrylic painting",
        "gouache",
        "fresco",
        "tempera",
        "ink wash painting / sumi-e",
        "impasto",
        "dry brushing",
        "finger painting",
        "spray paint",
        "airbrush",
        "miniature painting",
        "mural",
    ),
    "drawing": (
        "pencil sketch / pencil drawing",
        "charcoal drawing",
        "ink drawing / pen and ink",
        "pastel drawing",
        "colored pencil / coloured pencil",
        "crayon drawing",
        "chalk drawing",
        "line art / line drawing",
        "doodle",
        "blueprint",
        "caricature",
        "calligraphy",
        "silhouette",
        "crosshatching",
        "stippling",
    ),
    "print": (
        "woodcut",
        "linocut",
        "etching",
        "engraving",
        "lithograph",
        "screen print",
        "risograph",
        "ukiyo-e",
        "halftone",
        "stencil",
        "collage",
        "vintage poster / retro poster",
    ),
    "digital": (
        "pixel art / 8-bit",
        "low poly",
        "voxel art",
        "3d render / cgi",
        "vector art / vector illustration",
        "flat design",
        "isometric",
        "concept art",
        "digital painting",
        "matte painting",
        "glitch art",
        "ascii art",
        "claymation",
    ),
    "comics": (
        "cartoon",
        "comic book / comic",
        "manga",
        "anime",
        "chibi",
        "graphic novel",
        "storybook illustration / children's book illustration",
        "coloring book",
    ),
    "photography": (
        "black and white photography / black and white",
        "sepia",
        "film photography / analog film",
        "polaroid",
        "daguerreotype",
        "long exposure",
        "macro photography",
        "double exposure",
        "tilt-shift",
        "infrared photography",
        "high dynamic range / hdr",
        "film noir",
        "cinematic",
    ),
    "crafts": (
        "stained glass",
        "mosaic",
        "origami",
        "paper cutout / papercut",
        "embroidery",
        "cross-stitch",
        "knitted",
        "felt",
        "quilt",
        "batik",
        "wood carving",
        "clay",
        "porcelain",
        "marble sculpture",
        "bronze sculpture",
        "tapestry",
    ),
    "movements": (
        "impressionism / impressionist",
        "post-impressionism / post-impressionist",
        "expressionism / expressionist",
        "cubism / cubist",
        "surrealism / surrealist",
        "pop art",
        "art nouveau",
        "art deco",
        "baroque",
        "rococo",
        "renaissance",
        "romanticism",
        "realism",
        "photorealism / photorealistic / hyperrealism",
        "minimalism / minimalist",
        "abstract",
        "pointillism / pointillist",
        "fauvism",
        "futurism",
        "constructivism",
        "bauhaus",
        "psychedelic",
        "graffiti",
        "gothic",
        "byzantine",
    ),
    "genres": (
        "cyberpunk",
        "steampunk",
        "vaporwave",
        "synthwave",
        "solarpunk",
        "fantasy art",
        "science fiction art",
        "neon",
        "grunge",
        "kawaii",
        "folk art",
        "retrofuturism",
    ),
}

NEIGHBOURS = 24


@functools.cache
def table() -> dict[str, tuple[str, ...]]:
    """Every name in lower case -> all names of that artist or style, the usual one first."""
    names_of = {}
    for group in (*ARTISTS.values(), *MEDIA.values()):
        for entry in group:
            names = tuple(entry.split(" / "))
            for name in names:
                names_of[name.lower()] = names
    return names_of


def names_of(style: str) -> tuple[str, ...]:
    """All names of an artist or style.

    Args:
        style: One of its names, in capitals or not.

    Returns:
        The usual name first; () for those that are not listed.
    """
    return table().get(style.lower(), ())


def is_artist(style: str) -> bool:
    """Is a name one of the listed artists'?"""
    names = names_of(style)
    return bool(names) and any(
        names[0] == entry.partition(" / ")[0] for group in ARTISTS.values() for entry in group
    )


def neighbours(style: str, n: int = NEIGHBOURS) -> list[str]:
    """Other artists or styles: half of them of the same movement, the rest from all groups.

    Args:
        style: Any style. Of one that is not listed nothing is known but that it is a style.
        n: How many are wanted.

    Returns:
        Their usual names.
    """
    own = names_of(style)[:1]
    near: list[str] = []
    rest: list[list[str]] = []
    for groups in (ARTISTS, MEDIA) if is_artist(style) else (MEDIA, ARTISTS):
        for group in groups.values():
            names = [entry.partition(" / ")[0] for entry in group]
            if own and own[0] in names:
                near = [name for name in names if name != own[0]]
            else:
                rest.append(names)
    chosen = near[: n // 2]
    for place in range(max(len(names) for names in rest)):
        chosen += [names[place] for names in rest if place < len(names)]
    return chosen[:n]
