"""What `emoji-video` knows of motion: its motions, and how a prompt names them."""

FRAMES = 8  # of a clip

# Every motion with its phrases; the first phrase is the one that evaluations use. A phrase stands
# behind a comma at the end of a prompt: the text encoder is causal, so the token states before the
# comma are those of the same prompt without motion.
MOTIONS = {
    "still": ("standing still", "at rest", "not moving"),
    "left": ("moving to the left", "moving left"),
    "right": ("moving to the right", "moving right"),
    "up": ("moving up", "rising"),
    "down": ("moving down", "falling"),
    "grow": ("growing", "getting bigger"),
    "shrink": ("shrinking", "getting smaller"),
    "spin": ("spinning", "turning around"),
}

# Those that the packaged model was trained on. The judge of motions knows all.
TRAINED = ("still", "left", "right", "up", "down")

# What is right for a clip that plays backwards.
REVERSED = {
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
    "grow": "shrink",
    "shrink": "grow",
}

ROUND = ("football", "basketball", "cookie")  # spinning does not show

PHRASES = {phrase: name for name, phrases in MOTIONS.items() for phrase in phrases}


def with_motion(prompt: str, motion: str) -> str:
    """A prompt that asks for a motion.

    Args:
        prompt: What the clip shows, such as "a pig on a blue background".
        motion: A name or a phrase of `MOTIONS`.

    Returns:
        The prompt, a comma and the phrase.
    """
    phrase = MOTIONS[motion][0] if motion in MOTIONS else motion
    return f"{prompt}, {phrase}"


def motion_of(prompt: str) -> str | None:
    """The motion that a prompt asks for.

    Args:
        prompt: Any prompt.

    Returns:
        A name of `MOTIONS`; None if the prompt does not end with one of its phrases.
    """
    _, comma, phrase = prompt.rpartition(", ")
    return PHRASES.get(phrase) if comma else None
