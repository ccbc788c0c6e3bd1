"""The pages of docs/results: each module reads the results of one benchmark and builds the tables
of one page. `rows` is what they share.
"""
