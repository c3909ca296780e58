"""Fine-tune code models with QLoRA on one GPU or a Ray cluster, from one job file."""

__version__ = "0.1.0"
