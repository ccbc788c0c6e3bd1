"""The benchmark of the embedded models: prompts with known answers, a trained judge, rendered reference images."""

from .benchmark import EmojiBenchmark
from .judge import quality

__all__ = [
    "EmojiBenchmark",
    "quality",
]
