"""``runner data --prepare``: real processes of Ray, killed in the middle, typed again, the same files as in one."""

import pickle
import re
from pathlib import Path

from test_whole import files_in, mixed_rows, write_parquet

import processes
from runner.config.job import Model
from runner.model.tokenizer import load_encoder

JOB = """
name: whole
model: {{id: builtin:tiny-starcoder2}}
data: {{id: {folder}, config: null, split: train, questions: null, rows_per_question: 100, max_length: 1024,
       validation_questions: 10}}
"""


def test_a_tokenizer_that_was_sent_to_another_process_still_takes_special_tokens_as_text() -> None:
    encoder = load_encoder(Model(id="builtin:tiny-starcoder2"))
    sent = pickle.loads(pickle.dumps(encoder))
    texts = ["a <fim_pad> b<|endoftext|>"]
    assert sent.encode(texts) == encoder.encode(texts)
    assert not {sent.eos_id, sent.pad_id} & set(sent.encode(texts)[0])
    assert sent.fingerprint == encoder.fingerprint


def test_a_killed_driver_takes_its_processes_along_and_the_next_goes_on_to_the_same_files(tmp_path: Path) -> None:
    rows = mixed_rows(1600)
    for row in rows:
        row["output"] = row["output"].replace("We add.", "We <fim_pad>.", 1)
    folder = write_parquet(tmp_path / "set", rows, group=40)
    job = tmp_path / "job.yaml"
    job.write_text(JOB.format(folder=folder), encoding="utf-8")
    home, other = tmp_path / "home", tmp_path / "other"
    command = ("data", str(job), "--prepare")

    def tokenised() -> int:
        return len([*home.glob(".cache/runner/*.units/tokens-*[0-9a-f]/MANIFEST.json")])

    process = processes.start(home, *command)
    processes.wait_for(lambda: tokenised() > 4, process)
    processes.kill_driver(process, "ray::_do")
    assert tokenised() < 40, "all units were done before the kill"
    told = processes.end(processes.start(home, *command), 0)
    assert "read rows: 42 of 42 units were done before" in told
    assert int(re.findall(r"tokenise: (\d+) of \d+ units were done before", told)[-1]) > 1
    processes.end(processes.start(other, "data", str(job)), 0)
    prepared = [
        next(path for path in (root / ".cache/runner").iterdir() if (path / "ledger.json").is_file())
        for root in (home, other)
    ]
    assert prepared[0].name == prepared[1].name
    assert files_in(prepared[0]) == files_in(prepared[1])
