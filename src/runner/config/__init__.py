"""What a user writes: job files and cluster profiles, as types, and how they are read and checked.

What is done with them is everyone else's task.
"""
