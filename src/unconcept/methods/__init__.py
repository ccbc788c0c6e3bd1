"""Every method of erasing, one file each. A method is called with a model and concepts, and returns an Edit."""

from .all_but_one import AllButOne

__all__ = ["AllButOne"]
