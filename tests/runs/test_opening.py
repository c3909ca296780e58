"""Which folder a start gets: new, continued, finished, refused; and that paths stay inside."""

import subprocess
import sys
from pathlib import Path

import pytest

from disks import fill, mounted
from runner.errors import DoesNotFit, UserError
from runner.runs import JSON, Attempt, JobRecord, RunFolder, open_run, read_job, read_state
from runner.runs.opening import Resume, differences

RESUMES: tuple[Resume, ...] = ("auto", "never")
JOB = JobRecord({"name": "demo", "train": {"steps": 10, "learning_rate": 1e-5}, "lora": None}, "hash-of-demo")
OTHER = JobRecord({"name": "demo", "train": {"steps": 20, "learning_rate": 1e-5}, "lora": {"rank": 4}}, "hash-of-other")


def start(storage: Path, *, job: JobRecord = JOB, resume: Resume = "auto") -> tuple[str, str]:
    """Name and status of a run opened and closed again."""
    with open_run(storage, "demo", job=job, resume=resume) as run:
        return run.folder.name, run.status


def test_a_new_run_records_its_job_and_that_it_runs(tmp_path: Path) -> None:
    with open_run(tmp_path / "storage", "demo", job=JOB, resume="auto") as run:
        assert run.status == "new"
        assert run.folder.root == tmp_path / "storage" / "demo"
        assert sorted(path.name for path in run.folder.root.iterdir()) == ["job.yaml", "run.lock", "state.json"]
        assert read_job(run.folder) == JOB.values
        state = read_state(run.folder.state_file)
        assert state is not None
        assert (state.state, state.job_hash, state.step) == ("running", "hash-of-demo", 0)


def test_auto_continues_an_unfinished_run_and_returns_a_finished_one(tmp_path: Path) -> None:
    with open_run(tmp_path, "demo", job=JOB, resume="auto") as run:
        run.record("stopped", step=4, steps=10, reason="SIGTERM")
    with open_run(tmp_path, "demo", job=JOB, resume="auto") as run:
        assert (run.status, run.state.step, run.state.state) == ("resumed", 4, "running")
        run.record("finished", step=10, steps=10)
    with open_run(tmp_path, "demo", job=JOB, resume="must") as run:
        assert (run.status, run.state.step, run.state.steps) == ("finished", 10, 10)


def test_another_job_of_the_name_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    start(tmp_path)
    with pytest.raises(UserError) as raised:
        start(tmp_path, job=OTHER)
    assert "train.steps: 10 -> 20, lora: null -> {'rank': 4}" in str(raised.value)
    assert "--name" in raised.value.remedy
    assert start(tmp_path) == ("demo", "resumed")


def test_never_counts_up_to_a_free_name(tmp_path: Path) -> None:
    assert [start(tmp_path, resume="never") for _ in range(3)] == [
        ("demo", "new"),
        ("demo-2", "new"),
        ("demo-3", "new"),
    ]
    with open_run(tmp_path, "x" * 64, job=JOB, resume="never") as first:
        assert first.folder.name == "x" * 64
    with open_run(tmp_path, "x" * 64, job=JOB, resume="never") as second:
        assert second.folder.name == "x" * 59 + "-2"


def test_must_refuses_where_there_is_nothing_to_resume_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run demo to resume"):
        start(tmp_path, resume="must")
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path, "demo", job=JOB, resume="auto"), pytest.raises(UserError, match="in use by process"):
        start(tmp_path)
    assert start(tmp_path) == ("demo", "resumed")


def test_a_start_cut_short_before_its_job_was_written_begins_anew(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "demo" / "job.yaml").unlink()
    (tmp_path / "demo" / f"job.yaml.tmp-{'a' * 32}").write_text("name: de")
    assert start(tmp_path) == ("demo", "new")


def test_a_lost_state_is_rebuilt_from_the_job(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "demo" / "state.json").write_bytes(b"\0\0\0")
    assert start(tmp_path) == ("demo", "resumed")
    (tmp_path / "demo" / "state.json").unlink()
    with pytest.raises(UserError, match=r"train\.steps: 10 -> 20"):
        start(tmp_path, job=OTHER)


def test_a_folder_of_something_else_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis\.tex and no job\.yaml"):
        start(tmp_path)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        start(tmp_path / "file")


def test_a_spoilt_job_file_is_told_in_one_line(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "demo" / "job.yaml").write_bytes(b"\xff\xfe{{{")
    with pytest.raises(UserError, match=r"job\.yaml cannot be read") as raised:
        start(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc", "a/b", ".hidden", "a\n", "a" * 65, "name with spaces"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="the run's name is"):
        open_run(tmp_path, name, job=JOB, resume="auto")
    assert list(tmp_path.iterdir()) == []


def test_links_that_lead_out_of_the_run_are_refused(tmp_path: Path) -> None:
    storage, outside = tmp_path / "storage", tmp_path / "outside"
    storage.mkdir()
    outside.mkdir()
    (storage / "linked").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of the run's folder"):
        RunFolder.at(storage, "linked")
    folder = RunFolder.at(storage, "demo")
    folder.root.mkdir()
    for parts in (("..", "other"), ("best", "..", "..", "x"), ("/etc/passwd",)):
        with pytest.raises(UserError, match="leads out"):
            folder.inside(*parts)


PATHS = [name for name, value in vars(RunFolder).items() if isinstance(value, property) and name != "name"]


@pytest.mark.parametrize("name", PATHS)
def test_no_path_of_a_run_may_be_a_link_that_leads_out(tmp_path: Path, name: str) -> None:
    assert len(PATHS) > 10
    folder = RunFolder.at(tmp_path, "demo")
    folder.root.mkdir()
    path = getattr(folder, name)
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out of the run's folder, to "):
        getattr(folder, name)


@pytest.mark.parametrize("name", ["run.lock", "state.json", "job.yaml"])
@pytest.mark.parametrize("resume", RESUMES)
def test_a_start_writes_through_no_link(tmp_path: Path, name: str, resume: Resume) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / name).symlink_to(tmp_path / "outside")
    if resume == "auto":
        with pytest.raises(UserError, match="leads out"):
            start(tmp_path)
    else:
        assert start(tmp_path, resume="never") == ("demo-2", "new")
    assert not (tmp_path / "outside").exists()


def test_an_attempt_begins_through_no_link(tmp_path: Path) -> None:
    (tmp_path / ".attempt.lock").symlink_to(tmp_path.parent / "outside")
    with pytest.raises(UserError, match="leads out"):
        Attempt.begin(tmp_path)
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize("resume", RESUMES)
@pytest.mark.parametrize(
    ("storage", "why"),
    [
        ("/proc/x", "No such file"),
        ("/proc/version", "(Not a directory|File exists)"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_place_that_takes_no_folder_is_told_in_one_line(storage: str, why: str, resume: Resume) -> None:
    with pytest.raises(UserError, match=rf"cannot be made or written to \({why}") as raised:
        start(Path(storage), resume=resume)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_disk_that_takes_nothing_any_more_is_told_in_one_line(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        start(disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for resume in RESUMES:
            with pytest.raises(UserError, match=r"cannot be made or written to \(Read-only file system\)"):
                start(disk, resume=resume)


def test_a_full_disk_is_told_with_need_and_have(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        with open_run(disk, "demo", job=JOB, resume="auto") as run:
            fill(disk)
            with pytest.raises(DoesNotFit, match=r"the disk is full .*need 256\.0 MiB .*have 0\.0 MiB"):
                run.record("finished", step=10, steps=10)
        for resume in RESUMES:
            with pytest.raises(DoesNotFit, match="the disk is full") as raised:
                start(disk, resume=resume)
            assert "\n" not in str(raised.value)
        (disk / "of-another-program").unlink()
        assert start(disk) == ("demo", "resumed")


def test_differences_name_every_key_once() -> None:
    old: dict[str, JSON] = {"a": {"x": 1, "same": 0}, "gone": 1, "b": [1]}
    new: dict[str, JSON] = {"a": {"x": 2, "same": 0}, "b": [1, 2], "more": True}
    assert differences(old, new) == ("a.x: 1 -> 2", "gone: 1 -> absent", "b: [1] -> [1, 2]", "more: absent -> True")


START = """
import sys
from pathlib import Path
from runner.errors import UserError
from runner.runs import JSON, JobRecord, open_run
try:
    run = open_run(Path(sys.argv[1]), "demo", job=JobRecord({"name": "demo"}, "h"), resume=sys.argv[2])
    print(run.folder.name, run.status, flush=True)
    sys.stdin.read()
except UserError as error:
    print("refused", error, flush=True)
"""


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_starts_at_the_same_moment_never_share_a_folder(tmp_path: Path, resume: str) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", START, str(tmp_path / "storage"), resume]
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    lines = [child.stdout.readline() for child in children if child.stdout]
    for child in children:
        child.communicate(timeout=30)
    opened = sorted(line.strip() for line in lines if not line.startswith("refused"))
    if resume == "auto":
        assert opened == ["demo new"]
        assert sum("in use by process" in line for line in lines) == 3
    else:
        assert opened == ["demo new", "demo-2 new", "demo-3 new", "demo-4 new"]
