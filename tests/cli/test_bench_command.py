"""`runner bench` from words to its table and its JSON."""

import json
import math
from pathlib import Path

import pytest
import torch

from runner.cli.bench import HEADINGS, Entry, Facts, Report, render
from runner.train import peer
from runner.train.bench import Figures, Row, equal_case, mixed_case
from typed import typed

WORDS = ["bench", "--lengths", "32,64", "--tokens", "128"]


def test_every_length_on_all_kernels_is_a_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    code, out, err = typed(capsys, *WORDS, "--kernels", "transformers,fused", "--deterministic", "--json", str(file))
    assert code == 0
    assert out.startswith("qlora of builtin:tiny-starcoder2, rank 16, deterministic: 4 steps discarded, median of ")
    table = [line.split()[2:5] for line in out.splitlines() if line[:4] in ("4 x ", "2 x ")]
    assert [row[:2] for row in table[:4]] == [[n, name] for n in ("32", "64") for name in ("transformers", "fused")]
    assert table[4:] == [["64", "mixed", "transformers"], ["64", "mixed", "fused"]]
    told = [line for line in err.splitlines() if line.endswith(" tokens/s")]
    assert [line.split()[0] for line in told] == [f"{number}/6" for number in range(1, 7)]
    written = json.loads(file.read_text())
    assert (written["discarded"], written["counted"], written["deterministic"]) == (4, 8, True)
    assert len(written["rows"]) == 6
    for row in written["rows"]:
        assert math.isfinite(row["loss"])
        assert row["tokens_s"] > 0.0
        assert (row["x_peer"], row["mfu"], len(row["step_s"])) == (None, None, 8)
    assert written["rows"][0]["loss"] == pytest.approx(written["rows"][1]["loss"], rel=1e-4)
    assert {row["form"] for row in written["rows"]} == {"as transformers has them", "written out, 5 all"}


def test_lengths_over_the_models_positions_are_told_as_rows_and_the_others_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = typed(capsys, "bench", "--lengths", "4096,64", "--tokens", "64", "-o", "train.kernels=fused")
    assert code == 0
    rows = {line[:14].strip(): line for line in out.splitlines() if line.startswith("1 x ")}
    assert list(rows) == ["1 x 4,096", "1 x 64", "1 x 64 mixed"]
    assert rows["1 x 4,096"].endswith("data.max_length is 4096 and the model has 2048 positions")
    assert "written out, 5 all" in rows["1 x 64"]


def test_the_peer_is_refused_without_a_gpu_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = typed(capsys, *WORDS, "--peer")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: the peer is measured on CUDA only")
    assert "tokens/s" not in err


def test_the_peers_rows_stand_below_ours_with_the_ratio_to_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from importlib import metadata

    def run_peer(_: object, case: object, way: peer.Way) -> Row:
        del case
        figures = Figures(10.0, 1.0, 0.5, 7.0, (1.0,)) if way.checkpointing else None
        return Row("4 x 32", "TRL", way.form, figures, "" if figures else "too large", reference=figures is not None)

    monkeypatch.setattr(peer, "check_peer", lambda _: None)
    monkeypatch.setattr(peer, "run_peer", run_peer)
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.2.3" if name == "trl" else version(name))
    file = tmp_path / "rows.json"
    words = ["bench", "--lengths", "32,4096", "--tokens", "128", "--no-mixed", "--peer", "--json", str(file)]
    code, out, _ = typed(capsys, *words)
    assert code == 0
    assert "x peer: beside TRL 1.2.3 as it comes" in out
    ours, default, other, longer = json.loads(file.read_text())["rows"]
    assert ours["x_peer"] == pytest.approx(ours["tokens_s"] / 10.0)
    assert default["x_peer"] == 1.0
    assert (other["x_peer"], other["tokens_s"], other["why"]) == (None, None, "too large")
    assert (longer["case"], longer["kernels"]) == ("1 x 4,096", "auto")  # and no peer, which could not be compared


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--lengths", "1k"], "--lengths is 1k; give whole numbers from 16 to 131072"),
        (["--lengths", "8"], "--lengths is 8; "),
        (["--kernels", "auto,fast"], "--kernels is auto,fast; choose among auto, fused, compiled, transformers"),
        (["--json", "no/such/folder/rows.json"], "--json is no/such/folder/rows.json; name a file in a folder"),
        (["--tokens", "1"], "--tokens"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code, out, err = typed(capsys, "bench", *words)
    assert (code, out) == (2, "")
    assert told in err


FACTS = Facts(
    job="qlora of a model, rank 16",
    device="NVIDIA H200",
    free_gib=139.1,
    gpu_memory_gib=22.5,
    attention="FlashAttention-4",
    peak_tflops=989.0,
    torch="2.11.0",
    trl="1.16.0",
    deterministic=False,
    discarded=4,
    counted=8,
)


def test_the_table_is_aligned_and_says_what_it_does_not_know() -> None:
    ours = Figures(39_123.4, 18.444, 31.26, 10.81234, (0.2,))
    peers = Figures(9_728.0, 7.0, 1.0, 10.9, (0.8,))
    case, mixed = equal_case(2048, 8192, 100), mixed_case(8192, 8192, 100)
    reason = "OutOfMemoryError " + 40 * "no room "
    entries = (
        Entry(Row(case.name, "auto", "written out, 24 all + 6 attention", ours), 13.58e9, 4.0217, 0.5372),
        Entry(Row(case.name, "TRL", "checkpointing", peers, reference=True), 13.58e9, 1.0, 0.1336),
        Entry(Row(case.name, "TRL", "no checkpointing", None, reason), 13.58e9, None, None),
        Entry(Row(mixed.name, "compiled", "compiled 50 %", ours), 14.2e9, None, None),
        Entry(Row("1 x 32,768", "auto", "", None, "too long"), 20.0e9, None, None),
    )
    lines = render(Report(FACTS, (case, mixed), entries)).splitlines()
    assert lines[1] == (
        "on NVIDIA H200 (139.1 GiB free), torch 2.11.0, memory cap 22.5 GiB, "
        "attention of written-out layers by FlashAttention-4"
    )
    table = lines[3:9]
    assert " ".join(table[0].split()) == " ".join(HEADINGS)
    assert table[1].split()[-6:] == ["39,123", "4.02", "53.7%", "18.44", "31.3", "10.8123"]
    assert table[2].split()[-5:] == ["1.00", "13.4%", "7.00", "1.0", "10.9000"]
    assert len(table[0]) == len(table[1]) == len(table[2]) == len(table[4])
    assert table[3].endswith("no room no room ...")
    assert len(table[3]) < 180
    assert table[4].split()[-5:-3] == ["-", "-"]
    assert table[5].split("  ")[-1] == "too long"
    notes = "\n".join(lines[9:])
    assert "MFU: 13.6 to 20 GFLOP a token, recomputation not counted, of 989 TFLOP/s" in notes
    assert "TRL 1.16.0 as it comes (checkpointing; mixed: padded rows), without the memory cap" in notes
    assert f"mixed: {len(mixed.documents)} documents of " in notes
    assert "so far" not in notes
