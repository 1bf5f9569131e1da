import errno
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longlive.errors import MailboxError
from longlive.serving.executors.file_mailbox import FileMailbox
from longlive.serving.executors.mailbox import Mailbox, MemoryMailbox
from longlive.serving.executors.messages import Message, Playhead, Prompt, Reschedule, Stop

MAILBOXES: dict[str, Callable[[Path], Mailbox]] = {"memory": lambda _: MemoryMailbox(), "file": FileMailbox}


@pytest.fixture(params=MAILBOXES)
def mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> Mailbox:
    return MAILBOXES[request.param](tmp_path / "mail")


@pytest.fixture
def file_mailbox(tmp_path: Path) -> FileMailbox:
    return FileMailbox(tmp_path)


def in_thread(work: Callable[..., object], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread


def in_process(work: Callable[..., object], *arguments: Any) -> Any:
    """Spawned, not forked: it inherits neither locks nor open files, as another program would."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    return process


def post_many(mailbox: Mailbox, name: str, count: int) -> None:
    for number in range(count):
        mailbox.post(Prompt(f"{name} {number}"))
        mailbox.post(Playhead(number))


def post_many_to(folder: Path, name: str, count: int) -> None:
    post_many(FileMailbox(folder), name, count)


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if isinstance(message, Prompt)]


def poll_until(mailbox: Mailbox, count: int) -> list[str]:
    """The texts of the prompts that come until there are ``count``."""
    found: list[str] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found += texts(mailbox.poll(0.05))
    return found


def test_it_puts_a_prompt_off_to_the_first_chunk_that_has_not_begun(mailbox: Mailbox) -> None:
    assert mailbox.started_chunk == -1
    assert mailbox.post(Prompt("a")) == Prompt("a", chunk=0)
    assert mailbox.start_chunk(4) == [Prompt("a", chunk=0)]
    assert mailbox.started_chunk == 4
    mailbox.post(Playhead(1.0))
    assert mailbox.post(Prompt("b", "hard", chunk=2)) == Prompt("b", "hard", chunk=5)
    assert mailbox.post(Prompt("c", chunk=9, scripted=True)) == Prompt("c", chunk=9, scripted=True)
    mailbox.post(Stop("closed"))
    assert mailbox.poll() == [
        Playhead(1.0),
        Prompt("b", "hard", chunk=5),
        Prompt("c", chunk=9, scripted=True),
        Stop("closed"),
    ]
    assert mailbox.started_chunk == 4
    assert mailbox.poll(0.01) == []


def test_prompts_are_rescheduled_unless_the_chunk_of_one_has_started(mailbox: Mailbox) -> None:
    mailbox.start_chunk(4)
    change = Reschedule(removed=(5, 9), added=(Prompt("a", chunk=3), Prompt("b", chunk=6)), occupied=(6,))
    posted = replace(change, added=(Prompt("a", chunk=5), Prompt("b", chunk=7)), started_chunk=4)
    assert mailbox.post(change) == posted
    strict = replace(change, is_strict=True)
    assert mailbox.start_chunk(5) == [posted]
    refused = mailbox.post(strict)
    assert isinstance(refused, Reschedule) and refused.is_late
    assert mailbox.poll() == [], "it is not left"
    mailbox.post(replace(strict, removed=(6,)))
    assert [message.removed for message in mailbox.poll() if isinstance(message, Reschedule)] == [(6,)]


def test_it_can_begin_in_the_middle_of_a_story(tmp_path: Path) -> None:
    for mailbox in (
        MemoryMailbox(started_chunk=6),
        FileMailbox(tmp_path, started_chunk=6),
        FileMailbox(tmp_path, started_chunk=2),
    ):
        assert mailbox.started_chunk == 6
        assert mailbox.post(Prompt("a")) == Prompt("a", chunk=7)


def test_of_playheads_that_nobody_read_the_newest_stays(mailbox: Mailbox) -> None:
    for second in range(200):
        mailbox.post(Playhead(second, playing=second % 2 == 0))
        if second == 100:
            mailbox.post(Prompt("a"))
    assert mailbox.poll() == [Prompt("a"), Playhead(199, playing=False)]
    mailbox.post(Playhead(200))
    assert mailbox.poll() == [Playhead(200)]


def test_a_poll_waits_for_a_message_and_no_longer(mailbox: Mailbox) -> None:
    begun = time.monotonic()
    assert mailbox.poll(0.2) == []
    assert 0.2 <= time.monotonic() - begun < 5
    thread = in_thread(lambda: (time.sleep(0.1), mailbox.post(Stop("user"))))
    begun = time.monotonic()
    assert mailbox.poll(30) == [Stop("user")]
    assert time.monotonic() - begun < 10
    thread.join()


def test_of_many_who_post_at_once_nothing_is_lost_or_doubled(mailbox: Mailbox) -> None:
    threads = [in_thread(post_many, mailbox, name, 40) for name in "abc"]
    found = poll_until(mailbox, 120)
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"{name} {number}" for name in "abc" for number in range(40))
    for name in "abc":
        assert [text for text in found if text[0] == name] == [f"{name} {number}" for number in range(40)]


def test_no_prompt_is_promised_for_a_chunk_that_began_without_it(mailbox: Mailbox) -> None:
    """What ``begin`` gives belongs to chunks from then on; a prompt promised for chunk n is read by then."""
    promised: dict[str, int] = {}

    def post() -> None:
        for number in range(200):
            posted = mailbox.post(Prompt(str(number)))
            assert isinstance(posted, Prompt), posted
            promised[posted.text] = posted.chunk

    thread = in_thread(post)
    read_at: dict[str, int] = {}
    chunk = 0
    while thread.is_alive() or len(read_at) < 200:
        read_at |= dict.fromkeys(texts(mailbox.start_chunk(chunk)), chunk)
        chunk += 1
    thread.join()
    assert len(promised) == 200
    assert all(read_at[text] <= promised[text] for text in promised)


def test_a_file_mailbox_is_shared_by_all_who_open_its_folder(tmp_path: Path) -> None:
    page, worker = FileMailbox(tmp_path), FileMailbox(tmp_path)
    page.post(Prompt("a"))
    assert worker.start_chunk(0) == [Prompt("a")]
    assert page.started_chunk == 0
    page.post(Prompt("b"))
    assert FileMailbox(tmp_path).poll() == [Prompt("b", chunk=1)]
    assert worker.poll() == [], "whoever reads next does not read it again"


def test_a_file_mailbox_carries_messages_between_processes(tmp_path: Path) -> None:
    mailbox = FileMailbox(tmp_path)
    process = in_process(post_many_to, tmp_path, "far", 50)
    post_many(mailbox, "near", 50)
    found = poll_until(mailbox, 100)
    process.join()
    assert process.exitcode == 0
    assert len(found) == len(set(found)) == 100
    assert [text for text in found if text.startswith("far")] == [f"far {number}" for number in range(50)]


def test_a_process_forked_while_the_mailbox_is_locked_does_not_keep_it(file_mailbox: FileMailbox) -> None:
    """A lock belongs to the open file, which a forked process has too: closing it here is not enough."""
    with file_mailbox._locked():
        if not (child := os.fork()):
            time.sleep(30)
            os._exit(0)
    try:
        thread = in_thread(file_mailbox.post, Stop("user"))
        thread.join(10)
        assert not thread.is_alive(), "the lock is still held"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert file_mailbox.poll() == [Stop("user")]


def test_any_text_comes_through_a_file_mailbox(file_mailbox: FileMailbox) -> None:
    for text in ('"}]\n', "ein Bär \N{BEAR FACE}", "\ud800", "\x00", "a" * 10_000):
        file_mailbox.post(Prompt(text))
        assert texts(file_mailbox.poll()) == [text]


def test_a_file_mailbox_does_not_grow_while_it_is_read(file_mailbox: FileMailbox, tmp_path: Path) -> None:
    for second in range(300):
        file_mailbox.post(Prompt("a"))
        file_mailbox.post(Playhead(second))
        file_mailbox.poll()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000


def test_a_full_disk_is_told_in_words_and_loses_nothing(
    file_mailbox: FileMailbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file_mailbox.post(Prompt("a"))

    def write_half(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text[: len(text) // 2].encode())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_half)
        with pytest.raises(MailboxError, match=r"No space left on device.*disk is full"):
            file_mailbox.post(Prompt("b"))
        assert file_mailbox.start_chunk(3) == [Prompt("a")], "reading needs no room"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mail.json", "state"]
    assert file_mailbox.post(Prompt("c")) == Prompt("c", chunk=4)
    assert file_mailbox.poll() == [Prompt("c", chunk=4)]


def test_a_folder_that_was_removed_is_told_in_words(file_mailbox: FileMailbox, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(MailboxError, match="folder was removed"):
        file_mailbox.post(Stop("user"))


@pytest.mark.parametrize(
    "content",
    [
        "nonsense",
        '[{"number": 0}]',
        '[{"number": 0, "kind": "os.system", "command": "true"}]',
        '[{"number": 0, "kind": "Stop", "reason": "user", "colour": "red"}]',
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    file_mailbox: FileMailbox, tmp_path: Path, content: str
) -> None:
    (tmp_path / "mail.json").write_text(content)
    with pytest.raises(MailboxError, match="cannot be used"):
        file_mailbox.poll()


def test_looking_into_a_file_mailbox_is_cheap(file_mailbox: FileMailbox) -> None:
    """It is looked into at every chunk and, while waiting, every 15 ms: well under a millisecond each."""
    file_mailbox.post(Prompt("a"))
    file_mailbox.poll()
    begun = time.process_time()
    for _ in range(1000):
        assert file_mailbox.poll() == []
    assert time.process_time() - begun < 0.5


def test_the_files_of_a_mailbox_are_json(file_mailbox: FileMailbox, tmp_path: Path) -> None:
    file_mailbox.post(Prompt("a", "keep", 3))
    fields = {"text": "a", "switch": "keep", "chunk": 3, "scripted": False, "rewinds": False}
    assert json.loads((tmp_path / "mail.json").read_text()) == [{"number": 0, "kind": "Prompt"} | fields]
