"""Training reads shards by memory map: what a process takes of its own does not grow with them."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from runner.data.shards import Document, SplitWriter

LENGTH, DOCUMENTS = 4096, 12_000  # 94 MiB of tokens
LIMIT_MIB = 40  # of memory of its own, over what the imports take

READ = """
import resource, sys
from pathlib import Path
import numpy as np
from runner.data.order import packs_of_step
from runner.data.shards import PackedSplit

own = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
limit = (own + int(sys.argv[2]) * 1024) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
split = PackedSplit(Path(sys.argv[1]), vocabulary=49152, max_length=4096, pad_id=4)
total = 0
for step in range(1, len(split) // 8 + 1):
    for index in packs_of_step(len(split), 8, step, 17):
        total += int(split.pack(int(index)).ids.sum(dtype=np.int64))
print(total)
try:
    np.fromfile(Path(sys.argv[1]) / "tokens.bin", dtype=np.uint16)
except MemoryError:
    print("all of it does not fit")
"""


def test_every_buffer_is_read_in_less_memory_than_the_shards_take(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    total = 0
    with SplitWriter(tmp_path / "train", vocabulary=49152, max_length=LENGTH) as writer:
        for number in range(DOCUMENTS):
            ids = draw.integers(5, 49152, LENGTH)
            total += int(ids.sum())
            writer.append(Document(f"q{number}", ids, 100, 1000))
    size_mib = (tmp_path / "train" / "tokens.bin").stat().st_size / 2**20
    assert size_mib > 2 * LIMIT_MIB
    arguments = [sys.executable, "-c", READ, str(tmp_path / "train"), str(LIMIT_MIB)]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [str(total), "all of it does not fit"]
