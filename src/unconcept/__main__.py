"""`python -m unconcept`: the command line."""

from .cli import main

main()
