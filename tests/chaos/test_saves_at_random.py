"""Kill -9 at random moments of saves, and spoilt files: the newest whole checkpoint is taken, never a bad one."""

from pathlib import Path

import pytest
from harness import verdict


@pytest.mark.parametrize(("kills", "corruptions"), [(5, 5), pytest.param(200, 100, marks=pytest.mark.chaos)])
def test_the_newest_whole_checkpoint_is_taken_whatever_happened(
    kills: int, corruptions: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdict("saves_at_random.py", tmp_path / "saves", kills, corruptions, 23)
    with capsys.disabled():
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found["kinds"].items()))
        print(
            f"\n{found['kills']} kills inside a save ({found['between_saves']} more between two, "
            f"{found['left_unfinished']} unfinished folders left, {found['saves']} saves ended) and "
            f"{found['corruptions']} times spoilt files ({kinds}): {found['bad_loaded']} bad checkpoints taken, "
            f"{found['not_newest']} times not the newest whole one, {found['untold']} passed over without a word; "
            f"{found['seconds']:.0f} s"
        )
    assert (found["kills"], found["corruptions"]) == (kills, corruptions)
    assert found["left_unfinished"] > 0 or kills < 100
    assert len(found["kinds"]) == 5
    assert (found["bad_loaded"], found["not_newest"], found["untold"]) == (0, 0, 0)
