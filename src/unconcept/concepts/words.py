"""Words as people write them: singular and plural, names of styles, lists that are not one word."""

import re
import unicodedata

from ..errors import InputError, brief

# Singular and plural where no rule tells one from the other.
IRREGULAR = (
    ("man", "men"),
    ("woman", "women"),
    ("child", "children"),
    ("person", "people"),
    ("mouse", "mice"),
    ("goose", "geese"),
    ("foot", "feet"),
    ("tooth", "teeth"),
    ("ox", "oxen"),
    ("cactus", "cacti"),
    ("fungus", "fungi"),
    ("octopus", "octopi"),
    ("penny", "pence"),
    ("die", "dice"),
)

ARTICLES = ("a ", "an ", "the ")

# "in the style of X", "style of X", "by X": all of them name the style X.
STYLE_OF = re.compile(
    r"(?:in\s+)?(?:(?:the|a|an)\s+)?(?:art(?:istic)?\s+)?style\s+of\s+(?P<name>\S.*)"
    r"|by\s+(?P<by>\S.*)",
    re.IGNORECASE | re.DOTALL,
)

# "X style", "X's style"
NAMED_STYLE = re.compile(r"(?P<name>\S.*?)(?:['’]s)?\s+style", re.IGNORECASE | re.DOTALL)

SEPARATORS = re.compile(r"[,;|\n\r]")


def canonical(name: str) -> str:
    """A name by which two spellings of the same name are compared.

    Args:
        name: As the user wrote it.

    Returns:
        Without an article, in small letters, with single spaces, and composed (NFC).
    """
    text = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    for article in ARTICLES:
        if text.startswith(article) and len(text) > len(article):
            return text.removeprefix(article)
    return text


def number_forms(name: str) -> set[str]:
    """A name with its singular and its plural.

    Args:
        name: One word or several; the last one is put into the singular and the plural.

    Returns:
        Canonical names, `name` among them. Some may be words that do not exist: they are only
        compared with other words.
    """
    text = canonical(name)
    before, _, last = text.rpartition(" ")
    forms = {last, *_plurals(last), *_singulars(last)}
    for pair in IRREGULAR:
        for form in pair:
            if last == form or (len(form) > 2 and last.endswith(form) and form.endswith("men")):
                forms.update(last.removesuffix(form) + other for other in pair)
    if last.endswith("man") and len(last) > 3:
        forms.add(last.removesuffix("man") + "men")
    return {f"{before} {form}".strip() for form in forms if form}


def _plurals(word: str) -> set[str]:
    if len(word) < 3 or not word[-1].isalpha():
        return set()
    forms = {word + "s"}
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.add(word + "es")
    if word.endswith("y") and word[-2] not in "aeiou":
        forms.add(word[:-1] + "ies")
    if word.endswith("fe"):
        forms.add(word[:-2] + "ves")
    if word.endswith("f"):
        forms.add(word[:-1] + "ves")
    return forms


def _singulars(word: str) -> set[str]:
    forms = set()
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        forms.add(word[:-1])
    if len(word) > 4 and word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        forms.add(word[:-2])
    if len(word) > 4 and word.endswith("ies"):
        forms.add(word[:-3] + "y")
    if len(word) > 4 and word.endswith("ves"):
        forms |= {word[:-3] + "f", word[:-3] + "fe"}
    return forms


def same_name(one: str, other: str) -> bool:
    """Are two names the same up to capitals, spaces, articles, and singular or plural?

    Args:
        one: A name as somebody wrote it, "The pigs".
        other: Another, "pig".
    """
    return canonical(one) in number_forms(other) or canonical(other) in number_forms(one)


def style_name(text: str) -> str | None:
    """The name of the style that some words describe.

    Args:
        text: "van gogh style", "Van Gogh's style", "in the style of Van Gogh", "by Van Gogh".

    Returns:
        "van gogh", "Van Gogh"; None where the words do not describe a style.
    """
    text = text.strip()
    if match := STYLE_OF.fullmatch(text):
        text = (match["name"] or match["by"]).strip()
        inner = NAMED_STYLE.fullmatch(text)
        return inner["name"].strip() if inner else text
    if match := NAMED_STYLE.fullmatch(text):
        return match["name"].strip()
    return None


def describes_style(text: str) -> bool:
    """Is this a phrase such as "in the style of X", which cannot stand where an object does?

    Args:
        text: What a user wrote as an alternative; blanks around it do not matter.

    Returns:
        True for "in the style of X", "style of X" and "by X"; False for "X style".
    """
    return STYLE_OF.fullmatch(text.strip()) is not None


def check_one_name(text: str, what: str, way: str) -> None:
    """Refuse a list where one name is expected.

    Args:
        text: What was given.
        what: What it was given for, for the error: "--keep".
        way: How several names are given, for the error.

    Raises:
        InputError: There is a comma, semicolon, bar, line break or "=" in it.
    """
    if SEPARATORS.search(text.strip()):
        raise InputError(
            f"{what} {text!r} looks like a list, and it takes one name: {way}. "
            "A name that has such a sign in it goes into a --config file (erase: ...)"
        )
    if "=" in text:
        raise InputError(f'{what} {text!r} has an "=" too many: a pair is pig=cow')


def check_words(words: object, field: str) -> None:
    """Refuse what is not a list of words.

    Args:
        words: The value of the field.
        field: Its name, for the error.

    Raises:
        InputError: It is not a list of words, or one of them is blank.
    """
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{field} is {brief(words)}: it must be a list of words{QUOTES}")
    for word in words:
        if not word.strip():
            raise InputError(f"a word in {field} is blank: leave it away, or name something")
        check_encodable(word, field)


# YAML reads some words as other things.
QUOTES = " (in YAML, words such as yes, no, numbers and dates need quotes)"


def check_encodable(text: str, what: str) -> None:
    """Refuse text that no file can hold.

    Args:
        text: A prompt, a name.
        what: What it is, for the error.

    Raises:
        InputError: It has bytes that are not UTF-8 (lone surrogates).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} {text!a} is not valid UTF-8 text") from error
