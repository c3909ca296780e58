"""`runner status`, `logs` and `stop`, and every way in which a cluster is not reached."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import runner.cli.submissions
from fake_job_server import TOKEN, FakeCluster
from runner.config.ray_job import CLUSTER
from runner.distributed import submission
from runner.distributed.job_server import SERVER, JobServer, connect, crosses_network_open
from runner.distributed.token import TOKEN_PATH, Token
from runner.errors import TrainingFailed, UserError
from typed import typed

Shown = pytest.CaptureFixture[str]


@contextmanager
def speaking(words: bytes) -> Iterator[int]:
    """A port that says ``words`` to whoever comes, as other programs do."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(words)
            self.request.recv(1000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a token."""
    for name in (SERVER, CLUSTER, TOKEN_PATH, "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """One whose token is known, and that has run two jobs and runs a third."""
    with FakeCluster().serving() as fake:
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://{fake.address}/")
        fake.add("demo-1", "FAILED", "demo")
        fake.add("raysubmit_x", "SUCCEEDED")
        fake.add("demo-2", "RUNNING", "demo")
        yield fake


def test_status_lists_the_newest_first_and_describes_one(cluster: FakeCluster, capsys: Shown) -> None:
    code, out, _ = typed(capsys, "status")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["demo-2", "running"],
        ["raysubmit_x", "succeeded"],
        ["demo-1", "failed"],
    ]
    cluster.jobs[0].update(message="The supervisor died.\nmore")
    code, out, _ = typed(capsys, "status", "demo-1")
    assert out.startswith("demo-1  failed\ncommand   runner train\nsubmitted 1970-01-01 00:00:01 UTC, took 1 s\n")
    assert "reason    The supervisor died.\n" in out


def test_a_runs_name_means_its_newest_submission(cluster: FakeCluster, capsys: Shown) -> None:
    assert typed(capsys, "status", "demo")[1].startswith("demo-2  running")
    code, out, _ = typed(capsys, "stop", "demo")
    assert (code, out) == (0, "demo-2 is asked to save and end\nstopped: done\n")
    assert [job["status"] for job in cluster.jobs] == ["FAILED", "SUCCEEDED", "STOPPED"]
    code, out, _ = typed(capsys, "stop", "demo")
    assert (code, out) == (0, "demo-2 had ended before: stopped\n")
    code, _, err = typed(capsys, "stop", "none")
    assert (code, "there is no submission none" in err, "demo-2" in err) == (2, True, True)


@pytest.mark.parametrize(
    ("environment", "usual_s", "code"),
    [
        ({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}, 0, 0),
        ({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "0"}}, 60, 4),
        ({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "soon"}}, 60, 0),  # not sent by this program, which refuses it
        ({}, 60, 0),
        (None, 60, 0),
    ],
)
def test_a_job_is_waited_for_as_long_as_it_was_given_to_save_though_the_server_is_away_for_a_while(
    environment: dict[str, object] | None,
    usual_s: int,
    code: int,
    cluster: FakeCluster,
    capsys: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submission, "POLL_S", 0.05)
    monkeypatch.setattr(runner.cli.submissions, "STOP_GRACE_S", 0.0)
    monkeypatch.setattr("runner.distributed.job_server.STOP_WAIT_S", usual_s)
    cluster.saves_s, cluster.silent_s = 1000.0 if code else 0.5, 0.3
    cluster.jobs[2]["runtime_env"] = environment
    ended, out, err = typed(capsys, "stop", "demo")
    assert (ended, "stopped: done\n" in out, "has not ended yet" in err) == (code, code == 0, code != 0), out + err


@pytest.mark.usefixtures("cluster")
def test_what_a_stopped_job_said_last_is_asked_for_again_where_the_server_is_busy(
    capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_last(server: JobServer, name: str) -> str:
        asked.append(name)
        if len(asked) < 3:
            raise TrainingFailed("the cluster answers 500", server.url)
        return "saved\n\n"

    asked: list[str] = []
    monkeypatch.setattr(submission, "POLL_S", 0.01)
    monkeypatch.setattr(JobServer, "logs", at_last)
    code, out, _ = typed(capsys, "stop", "demo")
    assert (code, out.splitlines()[-1]) == (0, "stopped: saved")


def test_logs_are_shown_to_the_end_with_the_jobs_code_or_as_they_are(cluster: FakeCluster, capsys: Shown) -> None:
    assert typed(capsys, "logs", "demo", "--no-follow")[:2] == (0, "working\ndone\n")
    assert cluster.jobs[2]["status"] == "RUNNING"
    cluster.status, cluster.exit_code = "FAILED", 5
    assert typed(capsys, "logs", "demo")[:2] == (5, "working\ndone\n")


@pytest.mark.parametrize("place", [0, 3, 8, 13])
def test_a_connection_that_breaks_is_made_anew_and_nothing_is_shown_twice(
    cluster: FakeCluster, capsys: Shown, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "POLL_S", 0.01)
    cluster.breaks_after = place
    assert typed(capsys, "logs", "demo")[:2] == (0, "working\ndone\n")
    assert sum(path.endswith("/tail") for _, path, _ in cluster.asked) == 2


def test_ctrl_c_ends_the_showing_and_not_the_job(
    cluster: FakeCluster, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.cli.submissions, "_show", interrupted)
    code, _, err = typed(capsys, "logs", "demo")
    assert (code, "demo-2 goes on" in err) == (130, True)
    assert not any(path.endswith("/stop") for _, path, _ in cluster.asked)


def test_a_server_that_goes_away_is_told_and_not_waited_for_for_ever(
    cluster: FakeCluster, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "LOST_S", 0.2)
    monkeypatch.setattr(submission, "POLL_S", 0.05)
    cluster.breaks_after, cluster.goes = 3, True
    code, out, err = typed(capsys, "logs", "demo")
    assert (code, out, "does not answer any more" in err) == (4, "wor", True)


def refused(capsys: Shown, *words: str) -> str:
    """The one line with which a command ends at once."""
    began = time.monotonic()
    code, out, err = typed(capsys, *words)
    assert time.monotonic() - began < 10
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    return err


@pytest.mark.usefixtures("cluster")
def test_a_token_that_is_missing_or_wrong_says_which_variable_to_set(
    home: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert "there is none" in (told := refused(capsys, "status"))
    assert "set RAY_AUTH_TOKEN" in told
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-wrong-one")
    assert "refuses the token (403)" in (told := refused(capsys, "stop", "demo"))
    assert "token of RAY_AUTH_TOKEN" in told
    assert "a-wrong-one" not in told
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv(TOKEN_PATH, str(home / "nowhere"))
    assert "cannot be read" in refused(capsys, "status")
    (home / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv(TOKEN_PATH, str(home / "token"))
    assert typed(capsys, "status")[0] == 0


def test_a_token_goes_only_to_a_server_that_asks_for_it(cluster: FakeCluster, capsys: Shown) -> None:
    cluster.token = None
    code, _, err = typed(capsys, "status")
    assert (code, "takes jobs from anyone" in err) == (0, True)
    assert {given for _, _, given in cluster.asked} == {""}


def test_the_clusters_own_address_is_taken_only_when_it_is_the_dashboards(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SERVER)
    monkeypatch.setenv(CLUSTER, f"http://{cluster.address}")
    assert connect(None).url == f"http://{cluster.address}"
    monkeypatch.setenv(CLUSTER, cluster.address)
    monkeypatch.setattr("runner.distributed.job_server.DEFAULT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="where none is named"):
        connect(None)


def test_nothing_there_no_http_silence_and_another_server_are_told_at_once(
    cluster: FakeCluster, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.distributed.job_server.ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "no answer in time" in refused(capsys, "status", "--address", f"127.0.0.1:{port}")
    with speaking(b"220 welcome\r\n") as port:
        assert "speaks no HTTP" in refused(capsys, "status", "--address", f"127.0.0.1:{port}")
    assert "Connection refused" in refused(capsys, "status", "--address", f"http://127.0.0.1:{port}")
    assert "(--address)" in refused(capsys, "status", "--address", "nowhere.invalid:8265")
    assert "is no address" in refused(capsys, "status", "--address", "ray://host:10001")
    assert "is no address" in refused(capsys, "status", "--address", "host:port")
    monkeypatch.setattr(FakeCluster, "_version", FakeCluster._logs)
    assert "is no Ray cluster (404)" in refused(capsys, "status", "--address", f"{cluster.address}/other")


@pytest.mark.parametrize(
    ("url", "open_"),
    [("http://127.0.0.1:1", False), ("http://localhost:1", False), ("https://far:1", False), ("http://far:1", True)],
)
def test_a_token_that_would_cross_the_network_in_the_open_is_noticed(url: str, open_: bool) -> None:
    assert crosses_network_open(JobServer(url, "2.60.0", Token("a", "b"))) is open_
