"""The compression methods, a file each; `__all__` has them in the order of `dycoke methods`."""

from dycoke_cli.compression.method import Method as Uncompressed
from dycoke_cli.compression.methods.cdpruner import CDPruner
from dycoke_cli.compression.methods.dart import DART
from dycoke_cli.compression.methods.downsample import Downsample
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.compression.methods.earlytom import EarlyTom
from dycoke_cli.compression.methods.evs import EVS
from dycoke_cli.compression.methods.fastv import FastV
from dycoke_cli.compression.methods.fastvid import FastVID
from dycoke_cli.compression.methods.flashvid import FlashVID
from dycoke_cli.compression.methods.forestprune import ForestPrune
from dycoke_cli.compression.methods.framefusion import FrameFusion
from dycoke_cli.compression.methods.holitom import HoliTom
from dycoke_cli.compression.methods.llava_scissor import LLaVAScissor
from dycoke_cli.compression.methods.maxmin import MaxMin
from dycoke_cli.compression.methods.prumerge import PruMerge, PruMergePlus
from dycoke_cli.compression.methods.prunevid import PruneVid
from dycoke_cli.compression.methods.pyramiddrop import PyramidDrop
from dycoke_cli.compression.methods.random_merge import RandomMerge
from dycoke_cli.compression.methods.sparsevlm import SparseVLM
from dycoke_cli.compression.methods.sttm import STTM
from dycoke_cli.compression.methods.tome import ToMe
from dycoke_cli.compression.methods.uniform_frames import UniformFrames
from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial
from dycoke_cli.compression.methods.v_cast import VCast
from dycoke_cli.compression.methods.vidcom2 import VidCom2
from dycoke_cli.compression.methods.visionzip import VisionZip

__all__ = [  # noqa: RUF022 (in this order they are listed)
    "Uncompressed",
    "DyCoke",
    "DyCokePlus",
    "FastV",
    "PyramidDrop",
    "SparseVLM",
    "RandomMerge",
    "UniformFrames",
    "UniformSpatial",
    "Downsample",
    "EVS",
    "VidCom2",
    "VCast",
    "DART",
    "MaxMin",
    "ToMe",
    "FrameFusion",
    "LLaVAScissor",
    "PruMerge",
    "PruMergePlus",
    "VisionZip",
    "HoliTom",
    "FlashVID",
    "FastVID",
    "CDPruner",
    "EarlyTom",
    "STTM",
    "PruneVid",
    "ForestPrune",
]
