"""``ssd-resnet34 detect`` on videos: frames in; a table or JSON lines with times, a video out."""

import glob
import json
import os
import re
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import numpy as np

from ..detector import Detector
from ..errors import ImageError, UsageError
from ..runtime.pipeline import overlapped
from ..video.capture import RECONNECT, Frame, Video, is_video, shown
from ..video.latest import Latest
from ..video.writing import CODECS, VideoFile
from ..vision.detections import Detections
from .drawn import Places
from .inputs import tell
from .terminal import complain, progress, show_objects

_FASTEST = 30.0
"""Frames a second of a drawn video, at most."""


class Which(StrEnum):
    """Frames of a video: all in order, or the newest each time."""

    every = "every"
    latest = "latest"


@dataclass(frozen=True)
class Watching:
    """What to look at; ``which`` None: every frame of a file, the latest of a live source."""

    sources: tuple[str, ...]
    which: Which | None = None
    every: int = 1
    reconnect: float = RECONNECT


def chosen(
    arguments: Iterable[str],
    form: str | None,
    which: Which | None,
    every: int | None,
    reconnect: float | None,
) -> Watching | None:
    """The videos of a command line, None where it names images.

    Raises:
        UsageError: images and videos at once, or options that do not go with what is named.
    """
    named = list(arguments)
    videos = [is_video(one) for one in named]
    if not any(videos):
        given = (("--frames", which), ("--every", every), ("--reconnect", reconnect))
        for option, value in given:
            if value is not None:
                raise UsageError(f"{option} is for videos; leave it out, or name a video")
        return None
    if not all(videos):
        image = named[videos.index(False)]
        raise UsageError(f"{image} is no video, others are; detect images and videos apart")
    if form not in (None, ".jsonl"):
        raise UsageError("--csv and --coco are for images; use --json for videos")
    sources: list[str] = []
    for one in named:
        missing = glob.has_magic(one) and not os.path.exists(one)
        sources += (sorted(glob.glob(one, recursive=True)) or [one]) if missing else [one]
    return Watching(
        tuple(sources), which, every or 1, RECONNECT if reconnect is None else reconnect
    )


def run(
    detector: Detector,
    watching: Watching,
    as_json: bool,
    places: Places | None,
    threshold: float,
    quiet: bool,
) -> int:
    """Detect in one video after the other; how many were refused."""
    refused = 0
    for source in watching.sources:
        try:
            _one(detector, source, watching, as_json, places, threshold, quiet)
        except ImageError as error:
            refused += 1
            tell(error)
    return refused


def _one(
    detector: Detector,
    source: str,
    watching: Watching,
    as_json: bool,
    places: Places | None,
    threshold: float,
    quiet: bool,
) -> None:
    def note(text: str) -> None:
        if not quiet:
            complain(text, "note")

    failure: ImageError | None = None
    with ExitStack() as stack:
        video = stack.enter_context(
            Video(
                source,
                every=watching.every,
                reconnect=watching.reconnect,
                limits=detector.limits,
                on_note=note,
            )
        )
        drawn = None
        frames = 0
        if places is not None:
            rate = min(_FASTEST, video.rate / watching.every)
            drawn = stack.enter_context(VideoFile(_place(places, shown(source)), rate))
        total = -(-video.frames // watching.every) or None
        ticker = stack.enter_context(progress("detect", total, quiet=quiet))
        newest = None
        which = watching.which or (Which.latest if video.live else Which.every)
        if which is Which.latest:
            newest = stack.enter_context(Latest(video))
            found = ((frame, detector(frame.image)) for frame in newest)
        else:
            found = stack.enter_context(closing(_in_order(detector, video)))
        try:
            for frame, detections in found:
                ticker.advance()
                frames += 1
                _show(frame, detections, as_json, video.live)
                if drawn is not None:
                    picture = detections.draw(frame.image, score_threshold=threshold)
                    drawn.write(np.asarray(picture)[:, :, ::-1], frame.seconds)
        except KeyboardInterrupt:
            if not video.live:
                raise
            note(f"{video.name}: stopped")  # the only end that a camera has
        except ImageError as error:
            failure = error  # what was found so far is kept
    if drawn is not None and frames and not quiet:
        complain(str(drawn.path), "drawn")
    if newest is not None and newest.dropped:
        note(f"{video.name}: {newest.dropped:,} frames were passed over for newer ones")
    if failure is not None:
        raise failure


def _in_order(detector: Detector, video: Video) -> Generator[tuple[Frame, Detections]]:
    def work(frame: Frame) -> tuple[Frame, Detections]:
        return frame, detector(frame.image)

    return overlapped(work, video, detector.session.streams + 1)


def _show(frame: Frame, found: Detections, as_json: bool, live: bool) -> None:
    if as_json:
        times: dict[str, float | str] = {"frame": frame.number, "time": round(frame.seconds, 6)}
        if live:
            times["utc"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        print(json.dumps({**found.to_dict(), **times}, separators=(",", ":")), flush=True)
        return
    show_objects(found, f"{found.image}  {frame.seconds:.3f} s  frame {frame.number}")


def _place(places: Places, source: str) -> Path:
    """Of the drawn video of a source: by its own name, or one made of its address."""
    name = os.path.basename(source) if os.path.exists(source) else source
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "video"
    stem, extension = os.path.splitext(name)
    if extension.lower() not in CODECS:
        stem, extension = name, ".mp4"
    return places.of(source, stem, extension)
