"""The training of one job: its step, its loop, its resume; it knows nothing of Ray or of the command line.

It is called through ``loop.train``; nothing is imported here, so that what needs no torch can be had without it.
"""
