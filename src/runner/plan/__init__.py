"""What a job will take: the form it is trained in, its memory, its steps and its hours."""
