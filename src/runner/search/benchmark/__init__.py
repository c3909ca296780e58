"""How long the search takes beside the ways in which people search with Ray Tune, on one machine and one space.

Searching itself is the rest of ``runner.search``.
"""
