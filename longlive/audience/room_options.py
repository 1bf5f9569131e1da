"""The options of a room."""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

from longlive.audience.proposals import Refuse
from longlive.audience.publisher import check_rtmp_url
from longlive.audience.word_list import WordList
from longlive.errors import ConfigError
from longlive.generation.storyboard import Scene, read_all_storyboards

MIN_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, kw_only=True)
class RoomOptions:
    """How a room goes on.

    Attributes:
        scenes: prompts for rounds that no proposal has won; the first is what the video begins with.
        refuse: says why a proposal is refused.
        round_s: seconds of a round of votes.
        rest_s: the video rests when nobody has watched for so long.
        length_s: seconds of one run; the next begins with its last pictures.
        voices_per_address: voices that take part from one address.
        operator_token: opens the operator's calls; empty: nobody may call them.
        publish: address of a stream that it is sent to, with its key; empty for none.
    """

    scenes: tuple[Scene, ...] = ()
    refuse: Refuse | None = None
    round_s: float = 20.0
    rest_s: float = 60.0
    length_s: float = 1800.0
    voices_per_address: int = 4
    operator_token: str = ""
    publish: str = field(default="", repr=False)

    @property
    def first_prompt(self) -> str:
        """What the video begins with; empty for the model's own example."""
        return self.scenes[0].text if self.scenes else ""


def add_room_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a room."""
    group = parser.add_argument_group("room")
    group.add_argument(
        "--room",
        action="store_true",
        help="one public video that goes on, at /room: those who watch propose prompts and vote",
    )
    group.add_argument(
        "--room-storyboard",
        help="prompts for rounds that nobody wins: JSON, or every line of JSONL or text",
    )
    group.add_argument(
        "--room-round-s", type=float, default=20.0, help="seconds of a round of votes (default: 20)"
    )
    group.add_argument(
        "--room-rest-s",
        type=float,
        default=60.0,
        help="it rests after so long without watchers (default: 60)",
    )
    group.add_argument(
        "--room-length-s",
        type=float,
        default=1800.0,
        help="seconds of one run; the next begins with its last pictures (default: 1800)",
    )
    group.add_argument("--refuse-words", help="file of words that proposals may not hold, one per line")
    group.add_argument(
        "--voices-per-address", type=int, default=4, help="voices from one address (default: 4)"
    )
    group.add_argument(
        "--operator-token-env", help="environment variable with the token that opens /room/operator"
    )
    group.add_argument(
        "--publish",
        metavar="rtmp://HOST/APP/KEY",
        help="send the room's video to a streaming service; better as LONGLIVE_PUBLISH: its key is secret",
    )


def read_room_options(options: argparse.Namespace) -> RoomOptions | None:
    """What the options of the app say of a room; None if there is to be none.

    Raises:
        ConfigError, PromptError: if a value is impossible, or a file cannot be read.
    """
    if not options.room:
        if options.publish:
            raise ConfigError("--publish", "(not shown)", "only a room is sent on", "Add --room.")
        return None
    if options.publish:
        check_rtmp_url(options.publish)
    for name in ("room_round_s", "room_rest_s", "room_length_s", "voices_per_address"):
        value = getattr(options, name)
        if not value > 0:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(option, value, "it must be above 0", "Leave it out for the default.")
    scenes = read_all_storyboards(options.room_storyboard) if options.room_storyboard else ()
    words = WordList.read(Path(options.refuse_words)) if options.refuse_words else None
    return RoomOptions(
        scenes=tuple(scenes),
        refuse=words.refuse if words else None,
        round_s=options.room_round_s,
        rest_s=options.room_rest_s,
        length_s=options.room_length_s,
        voices_per_address=options.voices_per_address,
        operator_token=_operator_token(options.operator_token_env),
        publish=options.publish or "",
    )


def _operator_token(variable: str | None) -> str:
    token = os.environ.get(variable, "") if variable else ""
    if variable and len(token) < MIN_TOKEN_CHARACTERS:
        rule = f"that variable must hold at least {MIN_TOKEN_CHARACTERS} characters"
        cure = "Set it to what python -c 'import secrets; print(secrets.token_urlsafe())' prints."
        raise ConfigError("--operator-token-env", variable, rule, cure)
    return token
