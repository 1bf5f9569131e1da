"""Names of the last release, kept for one more: options that are accepted, fields that /health sends.

The old name of an option is replaced before argparse sees it, so it never shows in ``--help``.
"""

import logging
from collections.abc import Collection, Mapping, Sequence

logger = logging.getLogger(__name__)

RENAMED_OPTIONS: Mapping[str, str] = {
    "carrier": "executor",
    "stories": "store",
    "stories_gb": "store_gb",
    "longest_s": "max_duration_s",
    "shared_s": "contended_duration_s",
    "idle_s": "heartbeat_timeout_s",
    "away_s": "disconnect_timeout_s",
    "grace_s": "retention_s",
    "unwatched_s": "no_player_timeout_s",
    "queue": "max_pending_prompts",
    "line": "max_queue_size",
    "per_address": "max_runs_per_address",
}
"""Old name -> new name, as attributes of the parsed options (``stories_gb`` is ``--stories-gb``)."""

RENAMED_HEALTH_FIELDS: Mapping[str, str] = {
    "sessions": "running",
    "parked": "suspended",
    "room": "capacity",
    "carrier": "executor",
}
"""Old name -> new name."""


def replace_deprecated(
    arguments: Sequence[str], environment: Mapping[str, str], *, options: Collection[str], prefix: str
) -> tuple[list[str], dict[str, str]]:
    """Replace the old names of options in a command line and in the environment, with one warning for each.

    Args:
        arguments: command line without the program's name; what follows ``--`` is left alone.
        environment: variables, of which ``PREFIX_OLD_NAME`` is read as ``PREFIX_NEW_NAME``.
        options: names that the parser declares. A name is replaced only if its new form is among them and its
            old form is not, since another command may use the old name for something else.
        prefix: of the environment variables, without the underscore.

    Returns:
        the new command line, and a copy of the environment. A variable with the new name wins over the old.
    """
    renamed = {old: new for old, new in RENAMED_OPTIONS.items() if new in options and old not in options}
    by_option = {_option(old): _option(new) for old, new in renamed.items()}
    by_variable = {f"{prefix}_{old.upper()}": f"{prefix}_{new.upper()}" for old, new in renamed.items()}

    end = arguments.index("--") if "--" in arguments else len(arguments)
    replaced, used = [], {}
    for argument in arguments[:end]:
        option, equals, value = argument.partition("=")
        if option in by_option:
            used[option] = by_option[option]
        replaced.append(by_option.get(option, option) + equals + value)

    variables = dict(environment)
    for old, new in by_variable.items():
        if old in variables:
            used[old] = new
            variables.setdefault(new, variables.pop(old))

    for old, new in used.items():
        logger.warning("%s is deprecated and will be removed in the next release; use %s", old, new)
    return [*replaced, *arguments[end:]], variables


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
