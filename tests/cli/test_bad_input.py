"""What a user can get wrong on the command line and in a job file: one line, the exit code, no traceback."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from typed import typed


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and standard error of the program."""
    code, _, said = typed(capsys, *words)
    return code, said


VALUES = [
    ("lora.rank=0", "lora.rank is 0; it must be a whole number from 1 to 1,024"),
    ("lora.rank=-4", "lora.rank is -4; it must be a whole number from 1 to 1,024; did you mean 4?"),
    ("lora.rank=1.5", "lora.rank is 1.5; it must be a whole number"),
    ("lora.rank=16x", 'lora.rank is "16x"; it must be a whole number from 1 to 1,024; did you mean 16?'),
    ("lora.rank=true", "lora.rank is true"),
    ("lora.alpha=0", "lora.alpha is 0; it must be a number above 0 and at most 4096"),
    ("lora.dropout=1", "lora.dropout is 1; it must be a number of at least 0 and below 1; did you mean 0.01?"),
    ("lora.targets=[]", "lora.targets is []; it must be all-linear or a list of at least one text"),
    ("lora=null", "lora is null and model.quantization is nf4"),
    ("train.learning_rate=0", "train.learning_rate is 0; it must be a number above 0 and below 0.1"),
    ("train.learning_rate=-1e-4", "train.learning_rate is -1e-4; it must be a number above 0 and below 0.1"),
    ("train.learning_rate=.nan", "train.learning_rate is .nan"),
    ("train.learning_rate=.inf", "train.learning_rate is .inf"),
    ("train.learning_rate=fast", 'train.learning_rate is "fast"'),
    ("train.learning_rate=3.0", "did you mean 3e-4?"),
    ("train.steps=0", "train.steps is 0; it must be a whole number of at least 1"),
    ("train.steps=1e3", "train.steps is 1000.0; it must be a whole number of at least 1; did you mean 1000?"),
    ("train.steps=", "train.steps is null"),
    ("train.warmup=0.95", "train.warmup 0.95 and train.decay 0.3 overlap"),
    ("train.tokens_per_step=1000", "it must be a multiple of data.max_length"),
    ("train.schedule=linear", "it must be one of warmup-stable-decay, cosine, constant"),
    ("train.micro_batch=auot", "it must be auto or a whole number of at least 1; did you mean auto?"),
    ("train.seed=99999999999", "train.seed is 99999999999"),
    ("train=5", "train is 5; it must be a section with keys (tokens_per_step"),
    ("train.clip=0", "train.clip is 0; it must be a number above 0 or null"),
    ("data.max_length=8", "data.max_length is 8; it must be a whole number from 16 to 131,072"),
    ("data.over_length=cut", 'data.over_length is "cut"; it must be drop'),
    ("data.id=''", 'data.id is ""; it must be text that is not empty'),
    ("data.questions=10_000", "did you mean 10000?"),
    ("model.quantization=int8", "it must be one of nf4, none"),
    ("model.id=3", 'put it in quotes if it is text: "3"'),
    ("name=../../x", "letters, digits"),
    ("name=/tmp/x", "letters, digits"),
    ("name=''", "letters, digits"),
    ('name="a\\nb"', "letters, digits"),
    ("track=[tensorbord]", "track[0]"),
    ("stop.plateau={window: 0}", "stop.plateau.window is 0"),
    ("learning_rate=1", "learning_rate is no known key; did you mean train.learning_rate?"),
    ("train.learnin_rate=1", "did you mean train.learning_rate?"),
    ("lora.r=8", "did you mean lora.rank?"),
    ("=3", "is not section.key=value"),
    ("train.steps", "is not section.key=value"),
    ("train.steps=[1", "not YAML"),
    ("train.steps=!!python/name:os.system x", "tag"),
    ("train.steps=*a", "anchors"),
]


@pytest.mark.parametrize(("override", "part"), VALUES, ids=[override for override, _ in VALUES])
def test_a_wrong_value_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], override: str, part: str) -> None:
    code, said = ended(capsys, "train", "-o", override)
    assert code == 2
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert part in said


FILES = [
    (b"name: a\nname: b\n", "job.yaml:2: name stands on lines 1 and 2; keep one of them"),
    (b"nmae: a\n", "job.yaml:1: nmae is no known key; did you mean name?"),
    (b"train: {steps: no}\n", 'job.yaml:1: train.steps is "no"'),
    (b"train: {steps: 12:30:00}\n", "job.yaml:1"),
    (b"name: caf\xe9\n", "job.yaml:1: byte 0xe9 is not UTF-8"),
    (b"train:\n  steps: [1\nname: x\n", "job.yaml:3:"),
    (b"a: &a [x]\nb: [*a, *a]\n", "job.yaml:1: anchors"),
    (b"a: !!python/object/apply:os.system ['true']\n", "the tag !!python/object/apply:os.system is not read"),
    (b"", "holds no keys"),
    (b"[]", "holds no mapping"),
    (b"x" * 300_000, "larger than 262,144 bytes"),
    (b"a: " + b"{a: " * 30, "nested deeper than 20 levels"),
]


@pytest.mark.parametrize(("content", "part"), FILES, ids=[part[:40] for _, part in FILES])
@pytest.mark.parametrize("command", ["train", "plan", "data", "fetch"])
def test_a_wrong_file_is_one_line_with_its_place_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, part: str, command: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    code, said = ended(capsys, command, str(file))
    assert code == 2
    assert len(said.splitlines()) == 1
    assert str(file) in said
    assert part in said
    assert list(tmp_path.iterdir()) == [file]


WORDS = [
    (("trian",), "No such command 'trian'"),
    (("train", "--worker", "2"), "No such option: --worker"),
    (("train", "--workers", "0"), "--workers"),
    (("train", "--workers", "two"), "--workers"),
    (("train", "--resume", "maybe"), "--resume"),
    (("train", "a.yaml", "b.yaml"), "unexpected extra argument"),
    (("train", "missing.yaml"), "missing.yaml does not exist"),
    (("train", "--cluster", "missing.yaml"), "missing.yaml does not exist"),
    (("train", "--storage", "ftp://bucket/runs"), "it must be a folder, s3://"),
    (("train", "--storage", ""), "--storage: storage is"),
    (("train", "--storage", "/proc/x"), "folder cannot be made or written to (No such file or directory); /proc/x/"),
    (("search", "--storage", "/proc/x"), "folder cannot be made or written to (No such file or directory); /proc/x/"),
    (("train", "--name", "../x"), "the run's name is '../x'"),
    (("train", "--name", ""), "the run's name is ''"),
    (("show",), "Missing argument 'RUN'"),
    (("show", "nothing-here"), "there is no run nothing-here"),
    (("show", "../x"), "the run's name is '../x'"),
    (("data", "--preview", "-1"), "--preview"),
    (("-x",), "No such option: -x"),
]


@pytest.mark.parametrize(("words", "part"), WORDS, ids=[" ".join(words) for words, _ in WORDS])
def test_wrong_words_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = ended(capsys, *words)
    assert code == 2
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert part in said
    assert list(tmp_path.iterdir()) == []


NOT_OF_THE_MODEL = [
    (
        "-o data.max_length=4096 -o train.tokens_per_step=8192",
        "data.max_length is 4096 and the model has 2048 positions; "
        "data.max_length / model.id builtin:tiny-starcoder2; lower data.max_length to at most 2048",
    ),
    (
        "-o lora.targets=[q_proj,c_projj]",
        "lora.targets names c_projj, which is no linear layer of this model; "
        "its layers are c_fc, c_proj, k_proj, o_proj, q_proj, v_proj; did you mean c_proj?",
    ),
    (
        "-o model.id=FEW_ROWS",
        "its tokenizer has 1,280 tokens and its embedding 1,000 rows; model.id FEW_ROWS; "
        "use the tokenizer that belongs to the model",
    ),
    (
        "-o model.id=PICKLED",
        "no safetensors weights were found; PICKLED; "
        "bring them with `runner fetch`; pickled weights (.bin) are never loaded",
    ),
]


@pytest.fixture(scope="module")
def wrong_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders with copies of the embedded model: fewer rows than tokens, and pickled weights."""
    folders = {}
    for name, weights, rows in (("FEW_ROWS", "model.safetensors", 1000), ("PICKLED", "pytorch_model.bin", 1280)):
        folder = tmp_path_factory.mktemp(name.lower())
        shutil.copytree("src/runner/model/tiny", folder, dirs_exist_ok=True)
        (folder / "model.safetensors").rename(folder / weights)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
        folders[name] = str(folder)
    return folders


@pytest.mark.parametrize(("overrides", "told"), NOT_OF_THE_MODEL, ids=[words for words, _ in NOT_OF_THE_MODEL])
@pytest.mark.parametrize("words", ["train", "train --dry-run", "train --cluster CLUSTER", "plan", "plan --no-measure"])
def test_what_the_model_does_not_take_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong_models: dict[str, str],
    words: str,
    overrides: str,
    told: str,
) -> None:
    cluster = tmp_path / "elsewhere.yaml"
    cluster.write_text("address: head:6379\n")
    monkeypatch.setattr("runner.distributed.launch", lambda *_, **__: pytest.fail("launched"))
    monkeypatch.setattr("runner.data.prepare", lambda *_, **__: pytest.fail("data were prepared"))
    for name, folder in wrong_models.items():
        overrides, told = overrides.replace(name, folder), told.replace(name, folder)
    code, said = ended(capsys, *words.replace("CLUSTER", str(cluster)).split(), *overrides.split())
    assert (code, said) == (2, f"error: {told}\n")
    assert list(tmp_path.iterdir()) == [cluster]


def test_several_faults_take_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ended(capsys, "train", "-o", "lora.rank=0", "-o", "train.steps=0")
    assert code == 2
    first, *faults = said.splitlines()
    assert first.endswith("has 2 faults:")
    assert [fault.split(":")[0] for fault in faults] == ["  -o lora.rank", "  -o train.steps"]


def test_a_wrong_cluster_file_names_its_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("wrokers: 2\n")
    code, said = ended(capsys, "train", "--cluster", str(file))
    assert (code, said) == (2, f"error: {file}:1: wrokers is no known key; did you mean workers?\n")


NO_HOST_AND_PORT = "which is not HOST:PORT; --address or the cluster file; give the one that `ray start --head` tells"
ADDRESSES = [
    ("127.0.0.1:1", "no Ray cluster answers ([Errno 111] Connection refused); cluster.address 127.0.0.1:1; start one"),
    ("[::1]:1", "no Ray cluster answers"),
    ("ray://127.0.0.1:1", "no Ray cluster answers"),
    ("a..b:6379", "no Ray cluster answers"),
    ("head", NO_HOST_AND_PORT),
    (":6379", NO_HOST_AND_PORT),
    ("head:", NO_HOST_AND_PORT),
    ("head:6379x", NO_HOST_AND_PORT),
    ("head:70000", NO_HOST_AND_PORT),
    ("http://head:8265/", NO_HOST_AND_PORT),
]


@pytest.mark.parametrize(("address", "part"), ADDRESSES, ids=[address for address, _ in ADDRESSES])
def test_a_cluster_that_does_not_answer_is_told_within_ten_seconds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, address: str, part: str
) -> None:
    words = ("train", "--storage", str(tmp_path), "--address", address)
    ended(capsys, *words)  # imports, which the machine's other work makes slow
    began = time.monotonic()
    code, said = ended(capsys, *words)
    assert time.monotonic() - began < 10.0
    assert code == 2
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert part in said
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_only_debug_shows_where_the_error_arose(capsys: pytest.CaptureFixture[str]) -> None:
    plain = ended(capsys, "train", "-o", "lora.rank=0")[1]
    told = ended(capsys, "train", "-o", "lora.rank=0", "--debug")[1]
    assert "Traceback" not in plain
    assert told.startswith("Traceback")
    assert told.endswith(plain)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("train", "-o", "lora.rank=0"), "error: -o lora.rank: lora.rank is 0"),
        (("train", "missing.yaml"), "error: missing.yaml does not exist"),
        (("nothing",), "error: No such command 'nothing'"),
    ],
)
def test_the_installed_program_ends_the_same(tmp_path: Path, words: tuple[str, ...], part: str) -> None:
    done = subprocess.run([sys.executable, "-m", "runner", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(part)
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("words", ["schema", "--help", ""])  # more than a buffer of output, less, and our own text
def test_a_reader_that_leaves_early_is_no_error(words: str) -> None:
    command = f"{sys.executable} -m runner {words} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
