"""The compression methods, a file each, in the order in which `dycoke methods` lists them."""

from dycoke_cli.compression.method import Method, document_parameters

# isort: off
from dycoke_cli.compression.methods.dycoke import DyCoke as DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus as DyCokePlus
from dycoke_cli.compression.methods.fastv import FastV as FastV
from dycoke_cli.compression.methods.pyramiddrop import PyramidDrop as PyramidDrop
from dycoke_cli.compression.methods.sparsevlm import SparseVLM as SparseVLM
from dycoke_cli.compression.methods.random_merge import RandomMerge as RandomMerge
from dycoke_cli.compression.methods.uniform_frames import UniformFrames as UniformFrames
from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial as UniformSpatial
from dycoke_cli.compression.methods.downsample import Downsample as Downsample
from dycoke_cli.compression.methods.evs import EVS as EVS
from dycoke_cli.compression.methods.vidcom2 import VidCom2 as VidCom2
from dycoke_cli.compression.methods.v_cast import VCast as VCast
from dycoke_cli.compression.methods.dart import DART as DART
from dycoke_cli.compression.methods.maxmin import MaxMin as MaxMin
from dycoke_cli.compression.methods.tome import ToMe as ToMe
from dycoke_cli.compression.methods.framefusion import FrameFusion as FrameFusion
from dycoke_cli.compression.methods.llava_scissor import LLaVAScissor as LLaVAScissor
from dycoke_cli.compression.methods.prumerge import PruMerge as PruMerge
from dycoke_cli.compression.methods.prumerge import PruMergePlus as PruMergePlus
from dycoke_cli.compression.methods.visionzip import VisionZip as VisionZip
from dycoke_cli.compression.methods.holitom import HoliTom as HoliTom
from dycoke_cli.compression.methods.flashvid import FlashVID as FlashVID
from dycoke_cli.compression.methods.fastvid import FastVID as FastVID
from dycoke_cli.compression.methods.cdpruner import CDPruner as CDPruner
from dycoke_cli.compression.methods.earlytom import EarlyTom as EarlyTom
from dycoke_cli.compression.methods.sttm import STTM as STTM
from dycoke_cli.compression.methods.prunevid import PruneVid as PruneVid
from dycoke_cli.compression.methods.forestprune import ForestPrune as ForestPrune

CLASSES: dict[str, type[Method]] = {
    name: kind for name, kind in vars().items() if isinstance(kind, type) and kind is not Method
}
for _class in CLASSES.values():
    document_parameters(_class)
