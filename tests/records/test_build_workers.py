"""Workers make shards without TensorFlow, the same that are made in this process."""

import wave

import numpy as np
import pytest
from build_loaders import AlsoModules

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel
from playlist_pretrain.records.schema import shard_name
from playlist_pretrain.records.shards import ShardTask, ShardWork
from playlist_pretrain.records.sources import find_audio
from playlist_pretrain.records.workers import work_through
from playlist_pretrain.records.writer import ShardWriter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Three wav files: noise, a tone that rises out of silence, and less than a window."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    time = np.arange(35 * 22050) / 22050
    waves = {
        "noise": rng.uniform(-0.9, 0.9, 8 * 22050),
        "tone": np.clip(time - 5, 0, 1) * 0.5 * np.sin(2 * np.pi * 40 * time * time),
        "short": rng.normal(0, 0.01, 2000),
    }
    for name, samples in waves.items():
        with wave.open(str(folder / f"{name}.wav"), "wb") as stream:
            stream.setparams((1, 2, 22050, 0, "NONE", ""))
            stream.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return folder


@pytest.mark.parametrize("name", ["paper", "vggish"])
def test_shards_are_those_made_here_and_no_tensorflow_is_imported(name, audio, tmp_path):
    task = ShardTask(0, tuple(find_audio(audio).tracks))
    load = AudioLoader()
    work = AlsoModules(ShardWork(tmp_path / "there", str(audio), front_end(name), load))
    nothing = {"on_step": lambda *_: None, "on_death": lambda *_: None}
    (((_, modules),)) = work_through(work, [task], 1, **nothing)
    assert "playlist_pretrain.audio.numpy_log_mel" in modules
    assert "tensorflow" not in modules
    with ShardWriter(tmp_path / "here", front_end(name).bands) as writer:
        for track in task.tracks:
            decoded = load(str(audio / track.source))
            mel = NumpyLogMel(front_end(name))(decoded.waveform)
            writer.add(track.track_id, mel, decoded.start_seconds, decoded.source_seconds)
            # What a model makes of the same waveform, to less than float16 tells apart.
            graph = front_end(name).log_mel(decoded.waveform).numpy()
            np.testing.assert_allclose(mel, graph, atol=1e-4)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there" / shard_name(0)).read_bytes()
