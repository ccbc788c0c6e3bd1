"""`python -m unconcept`: the command line."""

from .cli.entry_point import main

main()
