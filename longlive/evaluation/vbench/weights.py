"""What each dimension of VBench downloads when it is first run, and where it keeps that (of vbench 0.1.5)."""

from typing import NamedTuple


class WeightFile(NamedTuple):
    """A file that VBench downloads, and the folder in which it looks for it."""

    url: str
    folder: str


CACHE = "~/.cache/vbench"
"""Or what VBENCH_CACHE_DIR says."""
_CLIP_URL = "https://openaipublic.azureedge.net/clip/models"
_HUB = "https://huggingface.co"
_VIT_B = WeightFile(
    f"{_CLIP_URL}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    "~/.cache/clip",
)
_VIT_L = WeightFile(
    f"{_CLIP_URL}/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
    "~/.cache/clip",
)
_DINO = (
    WeightFile("https://github.com/facebookresearch/dino (its code)", "~/.cache/torch/hub"),
    WeightFile(
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "~/.cache/torch/hub/checkpoints",
    ),
)
_RAFT = WeightFile("https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip", f"{CACHE}/raft_model")
_GRIT = WeightFile(
    "https://datarelease.blob.core.windows.net/grit/models/grit_b_densecap_objectdet.pth",
    f"{CACHE}/grit_model",
)
_VICLIP = (
    WeightFile(
        f"{_HUB}/OpenGVLab/VBench_Used_Models/resolve/main/ViClip-InternVid-10M-FLT.pth", f"{CACHE}/ViCLIP"
    ),
    WeightFile(
        "https://raw.githubusercontent.com/openai/CLIP/main/clip/bpe_simple_vocab_16e6.txt.gz",
        f"{CACHE}/ViCLIP",
    ),
)
FILES: dict[str, tuple[WeightFile, ...]] = {
    "subject_consistency": _DINO,
    "background_consistency": (_VIT_B,),
    "temporal_flickering": (),
    "motion_smoothness": (WeightFile(f"{_HUB}/lalala125/AMT/resolve/main/amt-s.pth", f"{CACHE}/amt_model"),),
    "dynamic_degree": (_RAFT,),
    "aesthetic_quality": (
        _VIT_L,
        WeightFile(
            "https://github.com/LAION-AI/aesthetic-predictor/blob/main/sa_0_4_vit_l_14_linear.pth?raw=true",
            f"{CACHE}/aesthetic_model/emb_reader",
        ),
    ),
    "imaging_quality": (
        WeightFile(
            "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/"
            "musiq_spaq_ckpt-358bb6af.pth",
            f"{CACHE}/pyiqa_model",
        ),
    ),
    "object_class": (_GRIT,),
    "multiple_objects": (_GRIT,),
    "color": (_GRIT,),
    "spatial_relationship": (_GRIT,),
    "human_action": (
        WeightFile(
            f"{_HUB}/OpenGVLab/VBench_Used_Models/resolve/main/l16_ptk710_ftk710_ftk400_f16_res224.pth",
            f"{CACHE}/umt_model",
        ),
    ),
    "scene": (
        WeightFile(
            f"{_HUB}/spaces/xinyu1205/recognize-anything/resolve/main/tag2text_swin_14m.pth",
            f"{CACHE}/caption_model",
        ),
        WeightFile(f"{_HUB}/google-bert/bert-base-uncased", "~/.cache/huggingface"),
    ),
    "appearance_style": (_VIT_B,),
    "temporal_style": _VICLIP,
    "overall_consistency": _VICLIP,
}
LONG_FILES: dict[str, tuple[WeightFile, ...]] = {
    "subject_consistency": (
        WeightFile("https://github.com/facebookresearch/dinov2 (dinov2_vitb14)", "~/.cache/torch/hub"),
    ),
    "background_consistency": (
        WeightFile("https://github.com/ssundaram21/dreamsim/releases (pretrained)", "~/.cache"),
    ),
    "temporal_flickering": (_RAFT,),
}
"""What VBench-Long downloads besides."""


def files_of(dimension: str, *, long: bool) -> str:
    """What a dimension downloads and where it looks for it, in words; empty if nothing."""
    files = FILES[dimension] + (LONG_FILES.get(dimension, ()) if long else ())
    return " and ".join(f"{file.url} into {file.folder}" for file in files)
