"""Every job file and cluster profile that is shipped loads, and says in two lines what it does and needs."""

from pathlib import Path

import pytest

from runner.config.cluster import load_cluster
from runner.config.load import demo_file, load_job

ROOT = Path(__file__).parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
OTHER_TOOLS = {"ray-aws", "ray-on-premise", "kuberay-rayjob", "kuberay-rayjob-search", "runtime-env"}
READY = sorted(file for file in (ROOT / "cluster").glob("*.yaml") if file.stem in OTHER_TOOLS)
CLUSTERS = sorted(file for file in (ROOT / "cluster").glob("*.yaml") if file.stem not in OTHER_TOOLS)
METHODS = {
    "demo": "qlora",
    "mbpp-smollm2": "qlora",
    "paper": "qlora",
    "starcoder2-15b": "qlora",
    "starcoder2-3b": "qlora",
    "starcoder2-3b-lora": "lora",
    "starcoder2-7b": "qlora",
    "tiny-base": "full",
}


def test_the_shipped_files_are_found() -> None:
    assert {file.stem for file in JOBS} >= set(METHODS)
    assert {file.stem for file in CLUSTERS} >= {"local", "one-gpu", "workers"}
    assert demo_file().read_bytes() == (ROOT / "jobs" / "demo.yaml").read_bytes()


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_a_job_file_loads_and_is_of_its_method(file: Path) -> None:
    job = load_job(file)
    assert METHODS.get(file.stem, job.method) == job.method
    assert job.train.steps >= max(job.validation.every, job.checkpoint.every)


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda file: file.stem)
def test_a_cluster_profile_loads(file: Path) -> None:
    assert load_cluster(file).workers >= 1


@pytest.mark.parametrize("file", [*JOBS, *CLUSTERS, *READY], ids=lambda file: file.stem)
def test_a_file_begins_with_what_it_does_and_what_it_needs(file: Path) -> None:
    does, needs, first = file.read_text().splitlines()[:3]
    assert does.startswith("# ")
    assert does.endswith(".")
    assert needs.startswith("# Needs ")
    assert not first.startswith("#")


def test_job_names_differ() -> None:
    names = [load_job(file).name for file in JOBS]
    assert len(set(names)) == len(names)


def test_the_papers_run_is_what_its_text_fixes() -> None:
    job = load_job(ROOT / "jobs" / "paper.yaml")
    assert (job.model.id, job.data.questions, job.train.steps) == ("bigcode/starcoder2-3b", 10_000, 2_175)
    assert job.stop.plateau is None
