"""``runner schema``: the JSON Schema of a job file, for editors.

The schema itself comes from the job's types.
"""

import json

import typer


def schema() -> None:
    """Print the JSON Schema of a job file, for editors."""
    from runner.config.load import schema as job_schema

    typer.echo(json.dumps(job_schema(), indent=2))
