"""From a model and a loss to an edit: replay, training loops, resume, several processes."""

from .config import Tune
from .online_trainer import OnlineTraining, train_online
from .replay import Replay, ReplayPlan, record
from .replay_trainer import ReplayTraining, fit

__all__ = [
    "OnlineTraining",
    "Replay",
    "ReplayPlan",
    "ReplayTraining",
    "Tune",
    "fit",
    "record",
    "train_online",
]
