"""One pass over the packets of a file that has no index, without decoding them.

MPEG-TS, MPEG-PS, Ogg, live Matroska and fragmented MP4 have no index of all their frames. Their
declared durations are guesses, and their time stamps may begin again in mid-file.
"""

from __future__ import annotations

from dycoke_cli.video.clock import Clock, Part
from dycoke_cli.video.packet_index import PacketIndex
from dycoke_cli.video.packet_source import LASTING, PacketSource

# FFmpeg marks all packets of these as keyframes.
_WITHOUT_KEYFRAMES = ("h263", "h261")


def index_of(source: PacketSource) -> PacketIndex:
    """Read all packets of an open, described video; afterwards `rewind` the source."""
    source.rewind()
    video, base, name = source.stream.index, source.time_base, source.container.format.name
    clock = Clock(source.container, source.stream, source.interval)
    index = PacketIndex(clock, base)
    usual = source.interval / base
    keyframes: list[tuple[int, int, Part]] = []
    # Time stamp of the last keyframe, and the number of frames since.
    anchor: int | None = None
    since = 0
    for number, packet in enumerate(source.demux(*source.container.streams)):
        part = clock.observe(packet, number)
        if packet.pos is not None:
            index.last_byte = max(index.last_byte, packet.pos + packet.size)
        if packet.stream_index != video or (packet.is_discard and part is clock.parts[0]):
            continue
        index.frames += 1
        since += 1
        ticks = packet.pts
        # A frame in the middle of a stored packet has no time stamp there. FFmpeg derives one from
        # the packets before, which it doesn't know after a seek.
        index.trusts_seeks &= packet.pos is not None
        # A seek would skip what holds from this packet on.
        index.trusts_seeks &= not any(packet.has_sidedata(kind) for kind in LASTING)
        # Matroska's times below 0 are lost. With reordered frames, the first packet with a time may
        # come before the last one without.
        if ticks is None and (anchor is None or "matroska" in name):
            index.untimed += 1
            continue
        if ticks is not None and (packet.is_keyframe or anchor is None):
            anchor, since = ticks, 0
            if packet.is_keyframe and name not in _WITHOUT_KEYFRAMES:
                keyframes.append((number, ticks, part))
        part.add_frame(
            (anchor or 0) + since * usual if ticks is None else ticks, packet.duration or usual
        )
    if anchor is None and index.untimed:  # a raw stream
        for place in (0, index.untimed - 1):
            clock.parts[0].add_frame(place * usual, usual)
        index.untimed = 0
    clock.settle()
    # A seek goes by time stamps. It can't find one that exists twice, or none.
    index.trusts_seeks &= not clock.restarts and not index.untimed
    for number, ticks, part in keyframes:
        index.add_keyframe(number, float(ticks * base + part.shift))
    return index
