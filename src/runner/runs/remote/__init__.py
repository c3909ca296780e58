"""Runs kept in a bucket: the same folders, a register of what holds, and a copy on each machine that needs one.

``runs`` knows of it only what a copy says of itself.
"""
