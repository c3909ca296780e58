"""How many held-out questions the model solves, recorded before and after training.

Answering and executing are ``runner.evaluation``'s.
"""
