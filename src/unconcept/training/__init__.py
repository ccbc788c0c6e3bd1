"""From a model and a loss to an edit: record a replay, train on it or on fresh samples, resume, distribute."""

from .config import Tune
from .online_trainer import train_online
from .replay import Replay, record
from .replay_trainer import fit

__all__ = [
    "Replay",
    "Tune",
    "fit",
    "record",
    "train_online",
]
