"""Words to audible speech: G.711 mu-law at 8 kHz, mono.

Lines of the shipped scenarios are shipped as audio, so that a machine without a synthesiser hears
them too. `python -m gateway.lab.rehearsing.speech` renders them again; it needs espeak-ng.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import trio

from actors.messages import ULAW_BYTES_PER_MS
from actors.wire.g711 import encode_ulaw
from gateway.lab.rehearsing import scenario

Voice = Literal["agent", "caller"]

PROMPTS: Final = Path(__file__).parent / "prompts"

NOT_RENDERED: Final = "This line was not rendered in advance."
"""What is heard instead of words for which there is neither a prompt nor a synthesiser."""

MS_PER_CHARACTER: Final = 65
"""How long such a line plays: about what a speaker needs for English."""

LEVEL_DBFS: Final = -20.0
"""RMS of the voiced parts. Telephone speech lies around -20; louder would clip its peaks."""

_RATE: Final = 8000
_EDGE_MS: Final = 40
_VOICES: Final[dict[Voice, tuple[str, ...]]] = {
    "agent": ("-v", "en-us+f3", "-s", "170", "-p", "55"),
    "caller": ("-v", "en-gb+m3", "-s", "165", "-p", "35"),
}
_SYNTHESIS_S: Final = 20.0
"""A long line takes 0.1 s. Longer than this and the program hangs."""

Samples = npt.NDArray[np.float64]


class CannotSpeak(Exception):
    """The synthesiser is missing, or failed."""


@lru_cache(maxsize=512)
def speak(text: str, voice: Voice = "agent") -> bytes:
    """Say `text`: the shipped prompt, else synthesised, else a sentence that says it is neither.

    Blocks for about 50 ms when it has to synthesise; see `prepare`.
    """
    shipped = prompt_path(text, voice)
    if shipped.exists():
        return shipped.read_bytes()
    try:
        return render(text, voice)
    except CannotSpeak:
        generic = prompt_path(NOT_RENDERED, voice).read_bytes()
        length_bytes = max(1, len(text)) * MS_PER_CHARACTER * ULAW_BYTES_PER_MS
        return (generic * (length_bytes // len(generic) + 1))[:length_bytes]


async def prepare(texts: Iterable[str], voice: Voice = "agent") -> None:
    """Have `speak` know these lines, so that it answers at once. Works in a thread."""
    for text in texts:
        await trio.to_thread.run_sync(speak, text, voice)


def prompt_path(text: str, voice: Voice) -> Path:
    """Where the shipped audio of a line lies, if it is shipped."""
    digest = hashlib.sha256(f"{voice}\n{text}".encode()).hexdigest()
    return PROMPTS / f"{digest[:16]}.ulaw"


def render(text: str, voice: Voice) -> bytes:
    """Synthesise with espeak-ng. Blocks.

    Raises:
        CannotSpeak: espeak-ng is not there, hangs, fails, or has nothing to say.

    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise CannotSpeak("espeak-ng is not installed")
    command = (program, *_VOICES[voice], "--stdin", "--stdout")
    try:
        done = subprocess.run(  # noqa: S603 (a found program, fixed arguments, text on its stdin)
            command, input=text.encode(), capture_output=True, timeout=_SYNTHESIS_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotSpeak(f"espeak-ng failed: {error}") from error
    samples, rate = _read_wav(done.stdout)
    speech = _level(_trim(_resample(samples, rate)))
    if not len(speech):
        raise CannotSpeak("espeak-ng said nothing")
    return encode_ulaw(np.round(speech * 32767).astype(np.int16))


def _read_wav(wav: bytes) -> tuple[Samples, int]:
    """Read 16-bit mono. By hand: on a pipe, espeak-ng cannot fill in the lengths of its header."""
    data = wav.find(b"data")
    if not wav.startswith(b"RIFF") or data < 0:
        raise CannotSpeak("espeak-ng sent no WAV")
    body = wav[data + 8 :]
    pcm = np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2")
    return pcm / 32768.0, int.from_bytes(wav[24:28], "little")


def _resample(samples: Samples, rate: int) -> Samples:
    """Bring to 8 kHz through the spectrum, fading out between 3.4 and 3.9 kHz.

    The whole line at once, and a second of zeros behind it, so that nothing wraps round.
    """
    padded = np.concatenate([samples, np.zeros(2 * rate - len(samples) % rate)])
    spectrum = np.fft.rfft(padded)
    hz = np.arange(len(spectrum)) * rate / len(padded)
    spectrum *= np.clip((3900.0 - hz) / 500.0, 0.0, 1.0)
    count = len(padded) * _RATE // rate
    kept = spectrum[: count // 2 + 1]
    return np.fft.irfft(kept, count) * (count / len(padded))


def _voiced(samples: Samples) -> npt.NDArray[np.intp]:
    """The 20 ms frames within 35 dB of the loudest one."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    rms = np.sqrt(np.mean(np.square(frames), axis=1)) if len(frames) else np.zeros(0)
    return np.flatnonzero(rms > max(1e-4, float(rms.max(initial=0.0)) * 10 ** (-35 / 20)))


def _trim(samples: Samples) -> Samples:
    voiced = _voiced(samples)
    if not len(voiced):
        return samples[:0]
    edge = _EDGE_MS * _RATE // 1000
    first, last = int(voiced[0]) * 160, (int(voiced[-1]) + 1) * 160
    return samples[max(0, first - edge) : last + edge]


def _level(samples: Samples) -> Samples:
    """Bring the voiced parts to `LEVEL_DBFS`, or as near as the highest peak allows."""
    voiced = _voiced(samples)
    if not len(voiced):
        return samples
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)[voiced]
    rms = float(np.sqrt(np.mean(np.square(frames))))
    peak = float(np.abs(samples).max())
    return samples * min(10 ** (LEVEL_DBFS / 20) / rms, 0.98 / peak)


def shipped_lines() -> set[tuple[str, Voice]]:
    """Every line that must be shipped as audio."""
    lines: set[tuple[str, Voice]] = {(NOT_RENDERED, "agent"), (NOT_RENDERED, "caller")}
    for shipped in scenario.shipped():
        if shipped.group != scenario.DEMONSTRATIONS:
            continue  # Spoken in virtual time, by a voice that needs no audio.
        lines.update((text, "agent") for text in shipped.agent_lines())
        lines.update((text, "caller") for text in shipped.caller_lines())
    return lines


def main() -> None:
    """Render the lines of the shipped scenarios, and forget prompts that no line needs."""
    PROMPTS.mkdir(exist_ok=True)
    wanted = {prompt_path(text, voice): (text, voice) for text, voice in shipped_lines()}
    for stale in set(PROMPTS.glob("*.ulaw")) - set(wanted):
        stale.unlink()
    for path, (text, voice) in sorted(wanted.items()):
        path.write_bytes(render(text, voice))
        seconds = path.stat().st_size / _RATE
        sys.stdout.write(f"{path.name} {seconds:5.1f} s  {voice}: {text}\n")


if __name__ == "__main__":
    main()
