"""Has a model on a server answer (`--server`): videos are read here."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Answered, Progress, Seen, Text
from dycoke_cli.loop.asker import Asker, Pending, Video
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.request import Request
from dycoke_cli.runs.remote.served_model import NO_VIDEO, SentVideo, ServedModel

_WAIT_S = 0.2


class RemoteAsker(Asker):
    """Answers questions with a model on a server."""

    elsewhere = "a remote server"

    def __init__(self, model: ServedModel, request: Request) -> None:
        super().__init__()
        self._model = model
        self._readers = Readers(request.limits, lambda _: None, lambda _: None, lambda _: None)
        self._videos: dict[Hashable, Video] = {}
        self._sent: dict[Video, SentVideo] = {}
        self._sending = threading.Lock()
        self._threads = ThreadPoolExecutor(model.server.concurrency, "request")

    def _carry(self, pendings: Sequence[Pending], **_: object) -> None:
        for pending in pendings:
            if pending.ask.read is not None:
                self._find_video(pending)
            self._threads.submit(self._answer, pending)

    def advance(self) -> None:
        """See `Asker.advance`."""
        with self._changed:
            self._changed.wait(_WAIT_S)

    def close(self) -> None:
        """See `Asker.close`."""
        self._readers.close()
        self._model.client.close()  # ends requests in flight, for which the threads would wait
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _find_video(self, pending: Pending) -> None:
        ask, key = pending.ask, pending.ask.read
        video = self._videos.get(key)
        if video is None:
            reading = Reading(ask, decoded=True, urgent=not pending.client.bulk)
            video = self._videos[key] = Video(key, reading, pending.client)
            reading.send = video.send
            self._readers.read(reading)
        video.asked.append(pending)
        pending.video = video

    def _release(self, pending: Pending) -> None:
        video = pending.video
        if video is None or pending not in video.asked:
            return
        video.asked.remove(pending)
        if not video.asked:
            self._videos.pop(video.key, None)
            self._sent.pop(video, None)
            self._readers.release(video.reading)

    def _answer(self, pending: Pending) -> None:
        """Send a question, once its video is read; the body of a thread."""
        try:
            video = self._sent_video(pending)
            with self._changed:
                if pending not in self._waiting:
                    return
                self._waiting.remove(pending)
            answer = self._ask(pending, video)
            request_s = answer.seconds.request
            assert isinstance(request_s, float), "it is a server's answer"
            ask = pending.ask.labelled(video.part_s)
            pending.send(Answered(ask.named(answer), request_s))
        except BaseException as error:
            pending.fail(error)
        finally:
            with self._changed:
                if pending in self._waiting:
                    self._waiting.remove(pending)
                self._release(pending)
                self._changed.notify_all()

    def _sent_video(self, pending: Pending) -> SentVideo:
        """The video of a question in the form that is sent; its pictures are made once."""
        video = pending.video
        if video is None:
            return NO_VIDEO
        reading = video.reading
        reading.wait()
        [clip] = reading.clips
        pending.send(Seen((clip.info,), (tuple(clip.timestamps_s),), clip.part_s))
        with self._sending:
            if video not in self._sent:
                self._sent[video] = self._model.send(clip, reading.seconds)
                return self._sent[video]
        return replace(self._sent[video], seconds=0.0)  # only the first waited for the decoding

    def _ask(self, pending: Pending, video: SentVideo) -> Answer:
        ask, model = pending.ask, self._model
        request = ask.request
        method = request.method if model.server.names_method else None

        def on_text(text: str) -> None:
            pending.send(Text(text))

        pending.send(Progress("prefill"))
        # Streamed even if only the whole is shown: it tells when the first token came.
        # Of a typed question the text counts once probabilities came with it.
        is_typed = request.generation.typed is not None
        streamed = None if pending.client.bulk else _ignore if is_typed else on_text
        answer = model.ask(ask.question, ask.history, video, method, request.generation, streamed)
        if is_typed and streamed is not None:
            on_text(answer.answer)
        return answer


def _ignore(text: str) -> None:
    """Ignore streamed text that isn't shown."""
