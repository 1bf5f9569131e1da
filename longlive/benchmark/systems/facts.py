"""What the paper's Table 1 says of each system, and what each needs to be run."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["engine", "diffusers", "checkout"]
"""What runs a system: our engine, a pipeline of diffusers, or its authors' checkout."""


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        name: as on the command line.
        title: as people know it.
        kind: what runs it.
        paper_fps: pictures per second in the paper's Table 1 (one H100, its own definition); None: not there,
            or not at hand when this was written (Pyramid Flow).
        parameters_b: of the transformer, in units of 10^9.
        width, height, frames: the published size of a video; in the engine, of what the paper generated.
        steps: denoising steps of a published video (in the engine: of a chunk).
        passes: of the transformer in a step; 2 where guidance runs it twice.
    """

    name: str
    title: str
    kind: Kind
    paper_fps: float | None
    parameters_b: float
    width: int
    height: int
    frames: int
    steps: int
    passes: int = 1


REFERENCE = "longlive"
"""The row that the others are compared with."""

SYSTEMS = {
    system.name: system
    for system in (
        System(REFERENCE, "LongLive", "engine", 20.7, 1.42, 832, 480, 81, 4),
        System("self-forcing", "Self-Forcing, chunk-wise", "engine", 17.0, 1.42, 832, 480, 81, 4),
        System("self-forcing-framewise", "Self-Forcing, frame-wise", "engine", 8.9, 1.42, 832, 480, 81, 4),
        System("causvid", "CausVid", "engine", 17.0, 1.42, 832, 480, 81, 3),
        System("wan2.1", "Wan2.1", "diffusers", 0.78, 1.42, 832, 480, 81, 50, 2),
        System("ltx-video", "LTX-Video", "diffusers", 8.98, 1.92, 768, 512, 121, 50),
        System("skyreels-v2", "SkyReels-V2", "diffusers", 0.49, 1.44, 960, 544, 97, 50, 2),
        System("framepack", "FramePack", "diffusers", 0.92, 12.9, 832, 480, 33, 25),
        System("nova", "NOVA", "checkout", 0.88, 0.64, 768, 480, 33, 64),
        System("pyramid-flow", "Pyramid Flow", "checkout", None, 2.03, 640, 384, 121, 10),
        System("magi-1", "MAGI-1", "checkout", 0.19, 4.5, 832, 480, 96, 64),
        System("anyflow-far", "AnyFlow-FAR", "diffusers", None, 1.42, 832, 480, 81, 4),
        System("helios", "Helios", "diffusers", None, 14.0, 640, 384, 132, 50, 2),
    )
}
"""The rows in the order in which they are measured and shown; the last two are not in the paper."""

CHECKOUTS = {
    "nova": ("baaivision/NOVA", "a folder of its weights (BAAI/nova-d48w1024-osp480)"),
    "pyramid-flow": ("jy0205/Pyramid-Flow", "a folder of its weights (rain1011/pyramid-flow-miniflux)"),
    "magi-1": (
        "SandAI-org/MAGI-1",
        "its config file with the paths of its weights (sand-ai/MAGI-1), and CUDA: flash-attn, "
        "flashinfer, NCCL",
    ),
}
"""Of systems that run from their authors' code: its repository on GitHub, and what else it needs."""
