"""Videos in, RGB frames with true time stamps out. Knows nothing of models; never imports torch."""

from dycoke_cli.video.decode import Clip, Reader, open_clip, plan, read
from dycoke_cli.video.files import display_name
from dycoke_cli.video.planning import Plan
from dycoke_cli.video.probe import StreamInfo, VideoInfo, probe
from dycoke_cli.video.sampling import Sampling, parse_time
from dycoke_cli.video.stdin import STDIN_NAME, spool

__all__ = [
    "STDIN_NAME",
    "Clip",
    "Plan",
    "Reader",
    "Sampling",
    "StreamInfo",
    "VideoInfo",
    "display_name",
    "open_clip",
    "parse_time",
    "plan",
    "probe",
    "read",
    "spool",
]
