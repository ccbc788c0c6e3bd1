"""The exam of an erasure on the embedded model: prompts whose right answer is known, and the judge's marks for the pictures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...concepts.concept import Concept
from ...concepts.templates import article
from ...models.emoji.concepts import things
from ...models.emoji.vocabulary import CATEGORIES, COLOURFUL, COLOURS, OBJECTS, SCENIC, STYLES, WORDS, Thing, find, neighbours
from .judge import load_judge, quality

ERASED = ("target", "synonym", "implied")  # groups whose prompts ask for what is erased


@dataclass(frozen=True)
class EmojiCase:
    """A prompt and what must be seen: object (-1: unknown) and other (-1: one object) are indices into OBJECTS, style and colour into theirs
    (-1: any)."""

    prompt: str
    group: str  # one of questions.GROUPS
    name: str  # the word in question
    object: int = -1
    other: int = -1
    style: int = -1
    colour: int = -1
    way: str = "plain"  # how it is asked: plain, colour, style, scene
    instead: str = ""  # the same prompt with the alternative in the concept's place
    seed: int | None = None  # the caller's own


class EmojiBenchmark:
    """Questions about several concepts at once, `n` in each group, and the marks for pictures of them.

    likely: words that count as near neighbours besides those of the table: near in the text encoder's space, say.
    """

    def __init__(
        self, concepts: Sequence[Concept], n: Mapping[str, int], seed: int = 0, own: Sequence[EmojiCase] = (), likely: Sequence[str] = ()
    ):
        self.concepts, self.seed, self.rng = tuple(concepts), seed, np.random.default_rng([7, seed])
        self.likely = tuple(OBJECTS[WORDS.index(word)] for word in likely)
        self.erased = tuple({OBJECTS.index(thing) for thing in things(c)} for c in concepts)
        self.styles = {c.erase for c in concepts if c.kind == "style"}
        taken = {i for erased in self.erased for i in erased}
        taken |= {OBJECTS.index(t) for c in concepts if c.alternative and (t := find(c.alternative))}
        self.free = [thing for i, thing in enumerate(OBJECTS) if i not in taken]
        self.cases = [question for group, ask in self.groups().items() for i in range(n.get(group, 0)) if (question := ask(i)) is not None]
        self.cases += own

    def groups(self) -> dict[str, Callable[[int], EmojiCase | None]]:
        return {
            "target": self.target,
            "synonym": self.synonym,
            "implied": self.implied,
            "neighbour": self.neighbour,
            "unrelated": self.unrelated,
        }

    def target(self, i: int) -> EmojiCase | None:
        concept = self.concepts[i % len(self.concepts)]
        if concept.kind == "style":
            return self.ask(self.choose(self.free), "target", concept.erase, style=concept.erase)
        known = things(concept)
        if not known:
            return None
        thing = self.choose(known)
        word = concept.erase if concept.erase in CATEGORIES and i // len(self.concepts) % 2 else thing.word
        return self.ask(thing, "target", concept.erase, word=word)

    def synonym(self, i: int) -> EmojiCase | None:
        concept = self.concepts[i % len(self.concepts)]
        named = [t for t in things(concept) if t.synonyms]
        if not named:
            return None
        thing = self.choose(named)
        return self.ask(thing, "synonym", concept.erase, word=str(self.rng.choice(thing.synonyms)))

    def implied(self, i: int) -> EmojiCase | None:
        """A category of the thing, in its place: "a farm animal" may be a pig, and shall be none any more."""
        concept = self.concepts[i % len(self.concepts)]
        named = [t for t in things(concept) if set(t.categories) - {concept.erase}]
        if not named:
            return None
        thing = named[i // len(self.concepts) % len(named)]
        word = sorted(set(thing.categories) - {concept.erase})[0]
        return replace(self.ask(thing, "implied", concept.erase, word=word, way=i // len(self.concepts) % 3), object=-1)

    def neighbour(self, i: int) -> EmojiCase | None:
        concept = self.concepts[i % len(self.concepts)]
        names = self.nearby(concept)
        if not names:
            return None
        name = names[i // len(self.concepts) % len(names)]
        if concept.kind == "style":
            return self.ask(self.choose(self.free), "neighbour", name, style=name)
        return self.ask(OBJECTS[WORDS.index(name)], "neighbour", name)

    def nearby(self, concept: Concept) -> list[str]:
        """What is asked for as a neighbour, by turns: near objects that are not erased; for a style the other styles."""
        if concept.kind == "style":
            return [style for style in STYLES[2:] if style not in self.styles]
        return [thing.word for thing in self.near(concept) if thing in self.free or thing.word == concept.alternative]

    def near(self, concept: Concept) -> list[Thing]:
        """Neighbours by the table, by what the judge takes for what, and `likely` ones."""
        own = things(concept)
        if not own:
            return []
        confused = quality().get("confusions", {})
        by_eye = [OBJECTS[WORDS.index(word)] for thing in own for word in confused.get(thing.word, ())[:2]]
        return [t for t in dict.fromkeys((*neighbours(own), *by_eye, *self.likely)) if t not in own]

    def unrelated(self, i: int) -> EmojiCase | None:
        near = {t for c in self.concepts if c.kind == "object" for t in self.near(c)} if any(self.erased) else set()
        thing = self.choose([t for t in self.free if t not in near])
        return self.ask(thing, "unrelated", thing.word)

    def choose(self, items: Sequence[Thing]) -> Thing:
        return items[int(self.rng.integers(len(items)))]

    def ask(
        self, thing: Thing, group: str, name: str, word: str | None = None, style: str | None = None, way: int | None = None
    ) -> EmojiCase:
        """One of four ways to ask: plainly, on a colour, in a style, or beside another object."""
        subject, fields, wanted = article(word or thing.word), {"object": OBJECTS.index(thing)}, style
        way = int(self.rng.integers(4)) if way is None else way
        scenic = style is None or style in SCENIC
        scene = way == 3 and scenic
        if scene:
            other = self.choose([t for t in self.free if t is not thing])
            subject, fields["other"] = f"{subject} and {article(other.word)}", OBJECTS.index(other)
        if way == 2 and style is None:
            style = str(self.rng.choice([s for s in STYLES[2:] if s not in self.styles]))
        prompt = subject
        if style is not None:
            fields["style"] = STYLES.index(style)
            prompt = f"{article(style)} of {subject}" if self.rng.random() < 0.5 else f"{subject} in {style} style"
        if way == 1 and (style is None or style in COLOURFUL):
            colour = str(self.rng.choice(list(COLOURS)))
            fields["colour"], prompt = list(COLOURS).index(colour), f"{prompt} on {article(colour)} background"
        name_of_way = "scene" if scene else "colour" if "colour" in fields else "style" if style is not wanted else "plain"
        return EmojiCase(prompt, group, name, **fields, way=name_of_way, instead=self.instead(prompt, group, name, word or thing.word))

    def instead(self, prompt: str, group: str, name: str, word: str) -> str:
        concept = next((c for c in self.concepts if c.erase == name), None)
        if concept is None or concept.alternative is None or group not in ("target", "synonym"):
            return ""
        words, other = (word, concept.alternative) if concept.kind == "object" else (concept.erase, concept.alternative)
        return prompt.replace(article(words), article(other), 1) if article(words) in prompt else prompt.replace(words, other, 1)

    def real(self, group: str) -> Tensor:
        """Real pictures [N, 3, 64, 64] of what the questions of a group shall show: of the erased what comes instead, or anything where nothing does."""
        from .rendering import LABELS, ONE_HAND, render_image

        made, rng = [], np.random.default_rng([11, self.seed])
        any_of = lambda things: OBJECTS.index(things[int(rng.integers(len(things)))])
        for q in (q for q in self.cases if q.group == group):
            thing, style, concept = q.object, q.style, next((c for c in self.concepts if c.erase == q.name), None)
            if group in ERASED and concept and concept.kind == "style":
                style = STYLES.index(concept.alternative) if concept.alternative in STYLES else -1
            elif group in ERASED:
                thing = OBJECTS.index(other) if concept and (other := find(concept.alternative or "")) else -1
            thing, style = any_of(self.free) if thing < 0 else thing, int(rng.integers(2)) if style < 0 else style
            colour = int(rng.integers(len(COLOURS))) if q.colour < 0 else q.colour
            label: Any = np.array((thing, q.other, style, colour if STYLES[style] in COLOURFUL else 0), LABELS)
            made.append(render_image(label[()], rng, ONE_HAND, aligned=True))
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255 if made else torch.zeros(0, 3, 64, 64)

    def marks(self, pictures: Tensor) -> dict[str, Tensor]:
        """The judge's marks [N] for pictures [N, 3, 64, 64] of the questions: floats 0 or 1, NaN where a mark does not apply.

        concept      what should be erased is seen, or only suspected, whoever was asked for      alternative  what should come instead is seen
        right        what was asked for is seen (for a style: the style; else the object)
        other, style, background      of a scene, of the prompt: seen as asked
        all                           everything that the prompt asks for is seen (what is erased does not count as asked)
        """
        seen, names = load_judge().look(pictures), ("concept", "alternative", "right", "other", "style", "background", "all")
        marks = {name: torch.full((len(self.cases),), math.nan) for name in names}
        for i, q in enumerate(self.cases):
            areas, style = ("left", "right") if q.other >= 0 else ("whole",), STYLES[int(seen.style[i])]
            found, suspected = {int(getattr(seen, area)[i]) for area in areas}, {int(seen.guess[area][i]) for area in areas}
            if q.name in STYLES or q.object >= 0:
                marks["right"][i] = style == q.name if q.name in STYLES else q.object in found
            if q.other >= 0:
                marks["other"][i] = q.other in found
            if q.style >= 0:
                marks["style"][i] = style == STYLES[q.style]
            if q.colour >= 0:
                marks["background"][i] = int(seen.colour[i]) == q.colour
            if q.group not in ERASED:  # where nobody asked for it: before, this is where the judge errs
                marks["concept"][i] = any(self.there(k, suspected, style) for k in range(len(self.concepts)))
            else:
                # A question of the caller's own names none of them: then it is about all.
                about = [k for k, c in enumerate(self.concepts) if c.erase == q.name] or list(range(len(self.concepts)))
                there, instead = [], []
                for k, concept in ((k, self.concepts[k]) for k in about):
                    there.append(self.there(k, suspected, style))
                    if concept.kind == "style":
                        marks["style"][i] = math.nan
                        if concept.alternative in STYLES:
                            instead.append(style == concept.alternative)
                    elif (other := find(concept.alternative or "")) and q.group != "implied":
                        instead.append(OBJECTS.index(other) in found)
                marks["concept"][i] = any(there)
                if instead:
                    marks["alternative"][i] = any(instead)
            asked = [marks[name][i] for name in ("other", "style", "background", *(() if q.group in ERASED else ("right",)))]
            asked = [float(mark) for mark in asked if not mark.isnan()]
            if asked:
                marks["all"][i] = min(asked)
        return marks

    def there(self, k: int, suspected: set[int], style: str) -> bool:
        """Is concept k in a picture of these objects, or suspected ones, and this style?"""
        return style == self.concepts[k].erase if self.concepts[k].kind == "style" else bool(suspected & self.erased[k])

    def values(self, pictures: Tensor) -> dict[str, Tensor]:
        """How sure the judge is of what it sees [N] in [0, 1]: the largest probability of an object; of pictures that fell apart it is sure of none."""
        return {"confidence of the judge": load_judge().look(pictures).objects[:, :-1].amax(1)}
