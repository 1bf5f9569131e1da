"""Named sources of prompts and clips that a caller adds to those which are read from files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from longlive.errors import ConfigError
from longlive.training.data.clips import CleanClips, ShardedClips
from longlive.training.data.prompt_files import ListedPrompts, Prompts
from longlive.training.recipe import DataOptions

ClipReader = Callable[[Path, AutoencoderKLWan], CleanClips]
"""(folder, VAE of the model in training) -> the clips of the folder."""


@dataclass(frozen=True)
class DataSources:
    """Where the prompts and clips of a recipe come from.

    Attributes:
        prompts: constructors of prompt sources, by the name that ``data.prompts`` may have.
        clips: readers of further shard formats, by a glob pattern that only their files match.
    """

    prompts: Mapping[str, Callable[[], Prompts]] = field(default_factory=dict)
    clips: Mapping[str, ClipReader] = field(default_factory=dict)

    def open_prompts(self, options: DataOptions) -> Prompts:
        """The prompt source named by ``options.prompts``, or the prompts of that file."""
        if options.prompts in self.prompts:
            return self.prompts[options.prompts]()
        return ListedPrompts.read(options.prompts, options.next_prompts)

    def open_clips(self, options: DataOptions, vae: AutoencoderKLWan) -> CleanClips:
        """The clips of the folder ``options.clips``.

        Raises:
            ConfigError: if no folder is given, or it holds no clips.
        """
        if options.clips is None:
            rule = "a teacher learns from clean clips"
            raise ConfigError("data.clips", None, rule, "Give a folder of shards.")
        folder = Path(options.clips)
        for pattern, read in self.clips.items():
            if any(folder.glob(pattern)):
                return read(folder, vae)
        return ShardedClips.read(folder)
