"""The files that other tools read, each against that tool or its schema: ray up, KubeRay, Docker, Ray's jobs.

The schema of KubeRay's own resource ships with no package; the fields that may be used are written down here from its
reference, and pods are held against Kubernetes' own schema where it is installed.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runner.config.cluster import Cluster, load_cluster
from runner.config.load_search import load_search
from runner.distributed.ray_session import share_out
from runner.distributed.runtime_env import STOP_WAIT, complete, read_runtime_env
from runner.search.share import share_out as share_out_trials

ROOT = Path(__file__).parents[2]
FILES = ROOT / "cluster"
RAY_UP = ["ray-aws", "ray-on-premise"]
RAY_JOBS = ["kuberay-rayjob", "kuberay-rayjob-search"]
SECRETS = re.compile(r"hf_[A-Za-z0-9]{8}|AKIA|-----BEGIN|[0-9a-f]{32}")

JOB_FIELDS = {
    "entrypoint": str,
    "runtimeEnvYAML": str,
    "submissionMode": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "rayClusterSpec": dict,
}
CLUSTER_FIELDS = {"rayVersion": str, "authOptions": dict, "headGroupSpec": dict, "workerGroupSpecs": list}
HEAD_FIELDS = {"rayStartParams": dict, "template": dict}
WORKER_FIELDS = {**HEAD_FIELDS, "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}


def read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    return values


def held_to(values: Mapping[str, Any], fields: Mapping[str, type], optional: set[str] | None = None) -> None:
    """All of ``fields`` with their types, and nothing else."""
    assert set(values) <= set(fields), set(values) - set(fields)
    assert set(fields) - set(values) <= (optional or set())
    assert {key for key, value in values.items() if type(value) is not fields[key]} == set()


@pytest.mark.parametrize("name", RAY_UP)
def test_a_file_for_ray_up_keeps_its_schema_and_is_taken_by_ray(name: str) -> None:
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    values = read(name)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values, "no_such_key": 1}, schema)
    prepared = prepare_config(values)
    validate_config(prepared)
    workers = [kind for kind in prepared["available_node_types"].values() if kind["max_workers"]]
    assert [kind["min_workers"] for kind in workers] == [kind["max_workers"] for kind in workers] == [2]


@pytest.mark.parametrize("name", RAY_UP)
def test_a_cluster_of_ray_up_asks_for_a_token_and_shows_its_dashboard_to_itself_alone(name: str) -> None:
    values = read(name)
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in values[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    (target,) = values["file_mounts"]
    assert values["file_mounts"][target] == "~/.ray/auth_token"
    assert values["setup_commands"] == [f"chmod 600 {target}"]


@pytest.mark.parametrize("name", RAY_JOBS)
def test_a_ray_job_has_the_fields_of_its_kind_and_no_others(name: str) -> None:
    values = read(name)
    held_to(values, {"apiVersion": str, "kind": str, "metadata": dict, "spec": dict})
    assert (values["apiVersion"], values["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", values["metadata"]["name"])
    spec = values["spec"]
    held_to(spec, JOB_FIELDS, optional={"activeDeadlineSeconds"})
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    assert spec["shutdownAfterJobFinishes"]  # without it the time to live means nothing
    cluster = spec["rayClusterSpec"]
    held_to(cluster, CLUSTER_FIELDS)
    held_to(cluster["headGroupSpec"], HEAD_FIELDS)
    for group in cluster["workerGroupSpecs"]:
        held_to(group, WORKER_FIELDS)
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
    for group in groups_of(values):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        held_to(group["template"], {"spec": dict})


@pytest.mark.parametrize("name", RAY_JOBS)
def test_its_pods_keep_the_schema_of_kubernetes(name: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for group in groups_of(read(name)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["template"]["spec"]}
        assert validator.validate(pod, validator.latest_version(), strict=True)
        with pytest.raises(validator.ValidationError):
            validator.validate(
                {**pod, "spec": {**pod["spec"], "noSuchKey": 1}}, validator.latest_version(), strict=True
            )


@pytest.mark.parametrize("name", RAY_JOBS)
def test_its_cluster_asks_for_a_token_runs_as_nobody_special_and_trains_on_workers_alone(name: str) -> None:
    cluster = read(name)["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in groups_of(read(name)):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        (container,) = pod["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted == {"shared": "/shared", "job": "/etc/runner", "shm": "/dev/shm"}
        assert {volume["name"] for volume in pod["volumes"]} == set(mounted)
    limits = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert "nvidia.com/gpu" not in limits


@pytest.mark.parametrize("name", RAY_JOBS)
def test_its_command_is_one_of_ours_whose_files_are_mounted_and_that_finds_room(name: str) -> None:
    import typer.main

    from runner.cli.app import app

    spec = read(name)["spec"]
    program, command, *words = shlex.split(spec["entrypoint"])
    assert program == "runner"
    options = typer.main.get_command(app).commands[command].make_context(command, list(words)).params  # type: ignore[attr-defined]
    assert str(options["storage"]).startswith("/shared/")
    nodes = nodes_of(spec["rayClusterSpec"])
    if command == "train":
        assert options["job"] == Path("/etc/runner/starcoder2-3b.yaml")
        assert (ROOT / "jobs" / "starcoder2-3b.yaml").is_file()
        assert share_out(Cluster(workers=int(options["workers"])), nodes).gpus_per_worker == 1.0
    else:
        volume = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"][1]
        mounted = {item["path"] for item in volume["configMap"]["items"]}
        search = load_search(ROOT / "search" / "starcoder2-3b.yaml").search
        assert options["retry"]
        assert options["search"] == Path("/etc/runner/search/search.yaml")
        assert mounted == {"search/search.yaml", f"search/{search.job}".replace("search/../", "")}
        assert share_out_trials(search, Cluster(), nodes).at_once == len(nodes) - 1


@pytest.mark.parametrize("name", RAY_JOBS)
def test_its_runtime_environment_lets_a_stopped_job_save(name: str) -> None:
    spec = read(name)["spec"]
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"] == read("runtime-env")["env_vars"]
    pod = spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > int(read("runtime-env")["env_vars"][STOP_WAIT])


def test_the_runtime_environment_is_taken_by_ray_and_by_us() -> None:
    found = read_runtime_env(FILES / "runtime-env.yaml")
    assert found.values["env_vars"] == {STOP_WAIT: "60"}
    taken = complete(found, "_ray_pkg_0.zip")
    assert taken["env_vars"] == {STOP_WAIT: "60"}
    assert taken["working_dir"] == "gcs://_ray_pkg_0.zip"


def test_the_image_is_of_a_pinned_base_for_an_ordinary_user_and_holds_what_the_package_is_built_from() -> None:
    lines = (FILES / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    assert re.fullmatch(r"python:3\.1[12]\.\d+-slim-\w+", dict(steps)["FROM"])
    assert [words for word, words in steps if word == "USER"] == ["1000:1000"]
    assert steps.index(("USER", "1000:1000")) > max(place for place, (word, _) in enumerate(steps) if word == "RUN")
    assert not [word for word, _ in steps if word in ("ADD", "ARG")]
    assert "RAY_AUTH_MODE=token" in next(words for word, words in steps if word == "ENV")
    copied = {source for word, words in steps if word == "COPY" for source in words.split()[:-1]}
    project = (ROOT / "pyproject.toml").read_text()
    needed = {"pyproject.toml", "README.md", "LICENSE", "src"} | set(
        re.findall(r'^"(\w+)/[^"]+" = "runner/', project, re.M)
    )
    assert copied == needed
    assert all((ROOT / source).exists() for source in copied)


def test_one_version_of_ray_in_the_image_and_in_the_files_for_kuberay() -> None:
    (pinned,) = re.findall(r"ray\[[\w,]+\]==([\d.]+)", (FILES / "Dockerfile").read_text())
    assert {read(name)["spec"]["rayClusterSpec"]["rayVersion"] for name in RAY_JOBS} == {pinned}
    (low,) = re.findall(r'"ray\[[\w,]+\]>=([\d.]+),<', (ROOT / "pyproject.toml").read_text())
    assert pinned.startswith(low)
    images = {
        group["template"]["spec"]["containers"][0]["image"] for name in RAY_JOBS for group in groups_of(read(name))
    }
    assert images == {read("ray-aws")["docker"]["image"]}


@pytest.mark.skipif(not shutil.which("hadolint"), reason="no hadolint")
def test_the_image_passes_hadolint() -> None:
    ended = subprocess.run(["hadolint", FILES / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_profiles_say_on_how_many_machines_they_run() -> None:
    assert load_cluster(FILES / "one-gpu.yaml").workers == 1
    several = load_cluster(FILES / "gpus.yaml")
    assert share_out(several, [{"CPU": 32.0, "GPU": 4.0}]).workers == 4
    assert (several.address, load_cluster(FILES / "workers.yaml").address) == (None, "ray-head.example:6379")


def test_no_file_holds_a_secret() -> None:
    files = [file for file in FILES.iterdir() if file.is_file()]
    assert len(files) >= 11
    assert {file.name for file in files if SECRETS.search(file.read_text())} == set()


def groups_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The head's group and the workers'."""
    cluster = values["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def nodes_of(cluster: Mapping[str, Any]) -> list[dict[str, float]]:
    """The resources of the Ray nodes that KubeRay makes of a cluster."""
    nodes: list[dict[str, float]] = [{"CPU": float(cluster["headGroupSpec"]["rayStartParams"]["num-cpus"])}]
    for group in cluster["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
        nodes += [node] * group["replicas"]
    return nodes
