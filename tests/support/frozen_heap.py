"""Imported last: the garbage collector no longer goes through what was imported before.

Some hundred thousand objects of torch, transformers and diffusers outlive every test. Without this
each full collection goes through them, and in a forked process copies their memory.
"""

import gc

gc.collect()
gc.freeze()
