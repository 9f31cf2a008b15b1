"""Tests of the watch: what is opened, by whom, and between which marks."""

import subprocess
import sys
from pathlib import Path

import pytest

from rnncore.drive import watch as drive_watch
from rnncore.drive.watch import Opened, Watch
from rnncore.errors import Unavailable

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is of Linux")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for path in ("a.txt", "below/b.txt", "below/deeper/c.txt", ".git/index"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("text")
    (tmp_path / "marks").mkdir()
    return folder


def test_what_is_opened_belongs_to_the_mark_before_it(tree: Path) -> None:
    watch = Watch(tree, tree.parent / "marks")
    (tree / "a.txt").read_text()
    (tree.parent / "marks" / "one").touch()
    (tree / "below" / "deeper" / "c.txt").read_text()
    list((tree / "below").iterdir())
    (tree.parent / "marks" / "two").touch()
    (tree / ".git" / "index").read_text()
    watch.close()
    assert watch.opened == {"": Opened({"a.txt"}), "one": Opened({"below/deeper/c.txt"}, {"below"}), "two": Opened()}
    assert (watch.written, watch.is_whole) == (set(), True)


def test_what_any_other_process_opens_is_seen(tree: Path) -> None:
    watch = Watch(tree, tree.parent / "marks")
    subprocess.run(["cat", "below/b.txt"], cwd=tree, check=True, capture_output=True)
    watch.close()
    assert watch.opened[""].files == {"below/b.txt"}


def test_the_tree_itself_is_a_folder_that_can_be_looked_into(tree: Path) -> None:
    watch = Watch(tree, tree.parent / "marks")
    list(tree.iterdir())
    watch.close()
    assert watch.opened[""] == Opened(set(), {"."})


def test_what_is_written_moved_or_removed_is_seen(tree: Path) -> None:
    watch = Watch(tree, tree.parent / "marks")
    (tree / "a.txt").write_text("other")
    (tree / "below" / "b.txt").unlink()
    (tree / "below" / "deeper" / "c.txt").rename(tree / "d.txt")
    watch.close()
    assert watch.written == {"a.txt", "below/b.txt", "below/deeper/c.txt", "d.txt"}


def test_what_the_system_left_out_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tree, tree.parent / "marks")
    lost = drive_watch._EVENT.pack(-1, drive_watch._OVERFLOW, 0, 0)
    watch._take(lost)
    watch.close()
    assert not watch.is_whole


def test_a_system_that_does_not_tell_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_watch.sys, "platform", "darwin")
    with pytest.raises(Unavailable, match="on Linux alone"):
        Watch(tree, tree.parent / "marks")
