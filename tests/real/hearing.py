"""Which tones are in a recording (Goertzel's algorithm)."""

import math
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path


def tones_in(path: Path, tones: Sequence[int], seconds: float) -> dict[int, float] | None:
    """Hz -> strength, of a WAV of 16 bits; None while it is not finished, or not that long."""
    try:
        with wave.open(str(path)) as sound:
            rate, frames = sound.getframerate(), sound.getnframes()
            samples = array("h", sound.readframes(frames))[:: sound.getnchannels()]
    except (FileNotFoundError, EOFError, wave.Error):
        return None
    if len(samples) < seconds * rate:
        return None
    # The first tenth is what was under way when the recording began.
    samples = samples[rate // 10 :]
    return {hz: _strength(samples, hz / rate) for hz in tones}


def _strength(samples: Sequence[int], turns: float) -> float:
    """Amplitude of one tone, Hann-windowed; `turns` of it a sample."""
    factor, before, now = 2 * math.cos(2 * math.pi * turns), 0.0, 0.0
    step = 2 * math.pi / len(samples)
    for index, sample in enumerate(samples):
        before, now = now, sample * (1 - math.cos(step * index)) / 2 + factor * now - before
    return math.sqrt(max(0.0, now * now + before * before - factor * now * before)) * 2 / len(samples)
