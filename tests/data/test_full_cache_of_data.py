"""`runner fetch` of a data set where the disk of the Hugging Face cache fills: told as that, not as the hub's fault."""

from pathlib import Path

import pytest
from data_fakes import reasoning_row, write_repository

from disks import fill
from fake_hub import SET, Answer, DataHub
from small_caches import disk_of, run, the_line


class FillingData(DataHub):
    """When the last file of rows is asked for, another program takes the disk but for ``leaving`` bytes."""

    leaving, disk = 0, Path()

    def answer(self, path: str) -> Answer | None:
        if path.endswith("00001-of-00002.parquet") and self.asked[-1].startswith("GET"):
            fill(self.disk, leaving=self.leaving)
        return super().answer(path)


@pytest.mark.parametrize("leaving", [0, 1 << 19], ids=["while it is brought", "while it is unpacked"])
def test_a_disk_that_fills_while_a_data_set_comes_is_told(leaving: int, tmp_path: Path) -> None:
    rows = [reasoning_row(number, thought=100) for number in range(4000)]
    root = write_repository(tmp_path / "repository", rows)
    with FillingData(root).serving() as hub, disk_of(tmp_path, 12) as disk:
        hub.leaving, hub.disk = leaving, disk
        words = (f"data.id={SET}", "data.config=split_0", "data.split=split_0", "evaluation.questions=0")
        line = the_line(run(hub.url, disk, tmp_path, "fetch", *(part for word in words for part in ("-o", word))))
    assert f"while the data set {SET} at aaaaaaaaaaaa was brought" in line
    assert "the disk is full (No space left on device)" in line
    assert "need more, have " in line
