"""Synthetic films for benchmarks: frames that cost as much to decode and to compress as those of a real camera."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

WIDTH, HEIGHT = 1000, 1002
HEIGHTS = (HEIGHT, 1000)  # each camera has one of the two
FRAMES_PER_SECOND = 50
# Steps of luma, and pixels. Grain and movement make decoding expensive, texture makes JPEG expensive: with these, 1000
# frames of H.264 take the older way some 10 CPU seconds, of which decoding is 2.
GRAIN, FINE_TEXTURE, DRIFT = 1, 10, 40

# Name -> encoder and its options.
CODECS = {
    "H.264": ("libx264", {"g": "250", "bf": "2"}),
    "MPEG-4": ("mpeg4", {"g": "12", "bf": "0", "qscale": "3"}),
}


def blurred_noise(random: np.random.Generator, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Return smooth noise without detail below a radius in pixels; mean 0, standard deviation 1."""
    frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    spectrum = np.fft.rfft2(random.normal(size=shape)) * np.exp(-2 * (np.pi * radius * frequencies) ** 2)
    noise = np.fft.irfft2(spectrum, s=shape)
    return (noise - noise.mean()) / noise.std()


def film(frames: int, seed: int = 36, fine_texture: float = FINE_TEXTURE) -> Iterator[av.VideoFrame]:
    """Yield frames (yuv420p, 1000 x 1002): a textured background, a drifting camera, two textured bodies, grain.

    Args:
        frames: how many.
        seed: another one gives another film.
        fine_texture: of the background, steps of luma.
    """
    random = np.random.default_rng(seed)
    height, width = HEIGHT + 2 * DRIFT + 2, WIDTH + 2 * DRIFT + 2
    textures = ((40, 25), (6, 10), (1.5, 5), (0.7, fine_texture))  # radius, strength
    background = 115 + sum(strength * blurred_noise(random, (height, width), radius) for radius, strength in textures)
    colors = [128 + 14 * blurred_noise(random, (HEIGHT // 2, WIDTH // 2), 30) for _ in range(2)]
    height, width = 460, 220
    bodies = [
        115 + sum(k * blurred_noise(random, (height, width), r) for r, k in ((12, 30), (2, 15))) for _ in range(2)
    ]
    y, x = np.mgrid[0:height, 0:width]
    inside = ((x - width / 2) / (width / 2)) ** 2 + ((y - height / 2) / (height / 2)) ** 2 < 1
    grains = [random.normal(0, GRAIN, (HEIGHT, WIDTH)) for _ in range(8)]
    for index in range(frames):
        luma = seen_from(background, DRIFT * (1 + np.cos(index / 80)), DRIFT * (1 + np.sin(index / 60)))
        chroma = [plane.copy() for plane in colors]
        for which, body in enumerate(bodies):
            phase = 2 * np.pi * (index / 300 + which / 2)
            left = int(380 + 330 * np.cos(phase))
            top = int(260 + 120 * np.sin(phase) + 12 * np.sin(index / 4))
            luma[top : top + height, left : left + width][inside] = body[inside]
            small = inside[::2, ::2]
            chroma[which][top // 2 : top // 2 + height // 2, left // 2 : left // 2 + width // 2][small] = 150
        luma += np.roll(grains[index % len(grains)], tuple(random.integers(0, 500, 2)), axis=(0, 1))
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, pixels in zip(frame.planes, (luma, *chroma), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            rows[: plane.height, : plane.width] = np.clip(np.round(pixels), 16, 235)
        frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
        yield frame


def seen_from(background: np.ndarray, down: float, right: float) -> np.ndarray:
    """Return the part of the background that a view shows, shifted by some pixels down and to the right."""
    top, left = int(down), int(right)
    part = background[top : top + HEIGHT + 1, left : left + WIDTH + 1]
    part = part[:-1] + (down - top) * (part[1:] - part[:-1])
    return part[:, :-1] + (right - left) * (part[:, 1:] - part[:, :-1])


def cropped(frame: av.VideoFrame, height: int) -> av.VideoFrame:
    """Return the upper part of a frame."""
    if height == frame.height:
        return frame
    part = av.VideoFrame(frame.width, height, "yuv420p")
    for source, target in zip(frame.planes, part.planes, strict=True):
        target.update(bytes(source)[: target.buffer_size])
    part.pts, part.time_base = frame.pts, frame.time_base
    return part
