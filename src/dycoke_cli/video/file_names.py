"""Kinds of paths: suffixes of videos and images, the name of stdin, entries that are folders."""

from __future__ import annotations

import os

CONTAINERS = {
    "mov": ".mp4 .m4v .mov .qt .mqv .3gp .3g2 .mj2 .f4v .ismv .insv .lrv .lrf .360",
    "matroska": ".mkv .mk3d .webm",
    "avi": ".avi .divx .xvid .amv",
    "mpegts": ".ts .m2t .m2ts .mts .tp .trp",
    "mpeg": ".mpg .mpeg .mpe .m2p .vob .vro .evo .mod .tod",
    "flv": ".flv",
    "ogg": ".ogv .ogm",
    "asf": ".asf .wm .wmv .dvr-ms",
    "asf_o": "",
    "mxf": ".mxf",
    "nut": ".nut",
    "ivf": ".ivf",
    "rm": ".rm .rmvb",
    "wtv": ".wtv",
    "dv": ".dv .dif",
    "gxf": ".gxf",
    "dhav": ".dav",
    "yuv4mpegpipe": ".y4m",
}
"""Formats that videos are read of, by FFmpeg's name, with the suffixes of their files.

Those that contain all their data. Playlists (concat, hls, dash, imf, …), streams (sdp, rtsp) and
multi-file recordings (mlv, vobsub, r3d) refer to other files or URLs. Devices and text art (lavfi,
tty, …) aren't video files.
"""
RAW_STREAMS = {
    "h264": ".h264 .264 .avc .h26l",
    "hevc": ".h265 .265 .hevc",
    "vvc": ".h266 .266 .vvc",
    "av1": ".av1",
    "obu": ".obu",
    "mpegvideo": ".m1v .m2v .mpv",
    "m4v": ".m4v",
    "h263": ".h263 .263",
    "h261": ".h261 .261",
    "vc1": ".vc1",
    "mjpeg": ".mjpeg .mjpg",
    "dirac": ".drc .dirac",
    "dnxhd": ".dnxhd .dnxhr",
}
"""Formats without time stamps, likewise."""
_MOVING_PICTURES = ".gif .apng"
_STILL_PICTURES = (
    ".avif .bmp .dpx .exr .hdr .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .jxl .pbm "
    ".pgm .png .pnm .ppm .qoi .tif .tiff .webp"
)
SUFFIXES = frozenset(
    " ".join((*CONTAINERS.values(), *RAW_STREAMS.values(), _MOVING_PICTURES)).split()
)
"""Suffixes of videos, in lower case."""
PICTURES = frozenset(_STILL_PICTURES.split())
"""Suffixes of images, in lower case."""
STDIN = "-"
"""Path that stands for stdin."""
STDIN_NAME = "the video on stdin"
"""Name of stdin in a sentence."""
HEAD_BYTES = 1024
"""Bytes of a file that `begins_video` looks at."""
# What files of these formats begin with: a place, and the bytes there.
_HEADS = (
    *((0, bytes((0, 0, third))) for third in range(0x80, 0x84)),  # H.263
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska
    (8, b"AVI "),
    (0, b"\0\0\1"),  # MPEG, H.264, H.265, H.266, VC-1
    (0, b"\0\0\0\1"),
    (0, b"FLV\1"),
    (0, b"OggS"),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),  # ASF
    (0, b"\x06\x0e\x2b\x34"),  # MXF
    (0, b"nut/multimedia container\0"),
    (0, b"DKIF"),
    (0, b".RMF"),
    (0, bytes.fromhex("b7d800203749da11a64e0007e95ead8d")),  # WTV
    (0, b"\x1f\x07\0"),  # DV
    (0, b"\0\0\0\0\1\xbc"),  # GXF
    (0, b"DHAV"),
    (0, b"YUV4MPEG2 "),
    (0, b"\x12\0\x0a"),  # AV1
    (0, b"BBCD"),  # Dirac
    (0, b"\0\0\2\x80"),  # DNxHD
    (0, b"GIF8"),
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG"),
)
# MPEG-TS: a byte at the beginning of each packet, whose size and first place vary.
_SYNC, _SYNCED = 0x47, ((0, 188), (4, 192), (0, 204))


def is_video(path: str) -> bool:
    """Whether a file name has the suffix of a video."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def is_picture(path: str) -> bool:
    """Whether a file name has the suffix of an image."""
    return os.path.splitext(path)[1].lower() in PICTURES


def begins_video(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a video or an image, whatever its name."""
    if any(head[place : place + len(begin)] == begin for place, begin in _HEADS):
        return True
    return any(
        len(places := head[first::size][:4]) == 4 and set(places) == {_SYNC}
        for first, size in _SYNCED
    )


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is neither, and no error."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
