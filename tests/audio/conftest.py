"""Audio files of known content, and every way to read them."""

import subprocess
import threading

import pytest
import soundfile


@pytest.fixture(scope="session")
def ffmpeg():
    """Callable: arguments → runs ffmpeg, which has to succeed."""
    import imageio_ffmpeg

    binary = imageio_ffmpeg.get_ffmpeg_exe()

    def run(*arguments):
        subprocess.run([binary, "-v", "error", "-y", *map(str, arguments)], check=True)

    return run


@pytest.fixture(scope="session")
def by_ffmpeg(ffmpeg, tmp_path_factory):
    """Callable: path → waveform at 16 kHz, the mean of all channels, as ffmpeg has it."""
    folder = tmp_path_factory.mktemp("by_ffmpeg")

    def decoded(path):
        place = folder / f"{threading.get_ident()}.wav"
        ffmpeg("-i", path, "-vn", "-ar", 16000, "-c:a", "pcm_f32le", place)
        samples, _ = soundfile.read(place, dtype="float32", always_2d=True)
        return samples.mean(axis=1)

    return decoded


@pytest.fixture(scope="session")
def ways():
    """By name, what reads a file to a waveform at 16 kHz; it raises what its callers get."""
    import tensorflow as tf

    from playlist_pretrain.audio.audio_windows import file_waveform
    from playlist_pretrain.audio.decode import load_audio
    from playlist_pretrain.audio.wav import wav_waveform

    text = [tf.TensorSpec([], tf.string)]
    windows = tf.function(lambda path: file_waveform(path, 16000), input_signature=text)
    served = tf.function(lambda contents: wav_waveform(contents, 16000), input_signature=text)
    return {
        "builder": load_audio,
        "audio_windows": lambda path: windows(str(path)).numpy(),
        "wav_bytes": lambda path: served(path.read_bytes()).numpy(),
    }


@pytest.fixture(scope="session")
def tone(ffmpeg, tmp_path_factory):
    """Callable: the bytes of a file of a tone of half the full scale, made once.

    ``tone("mp3", "-b:a", "64k", hz=440, rate=44100, channels=2, seconds=3, level=0.5)``
    """
    folder, made = tmp_path_factory.mktemp("tones"), {}

    def make(suffix, *options, hz=440, rate=44100, channels=2, seconds=3, level=0.5):
        key = (suffix, options, hz, rate, channels, seconds, level)
        if key not in made:
            path = folder / f"{len(made)}.{suffix}"
            wave = "|".join([f"{level}*sin(2*PI*{hz}*t)"] * channels)
            source = f"aevalsrc={wave}:s={rate}:d={seconds}"
            ffmpeg("-f", "lavfi", "-i", source, *options, path)
            made[key] = path.read_bytes()
        return made[key]

    return make
