"""Benchmark of the embedded models: prompts with known answers, a judge, rendered real images."""

from .benchmark import EmojiBenchmark
from .judge import quality

__all__ = [
    "EmojiBenchmark",
    "quality",
]
