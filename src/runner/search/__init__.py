"""The search: rank, learning rate, stop step and any other key of a job, with Ray Tune and Optuna.

Training itself is ``runner.train``'s.
"""
