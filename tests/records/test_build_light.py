"""Workers that load no more of TensorFlow than they need make the shards that others make."""

import wave

import numpy as np
import pytest
from build_loaders import AlsoModules, OtherAudio

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.records.pool import in_worker, work_through
from playlist_pretrain.records.schema import shard_name
from playlist_pretrain.records.shards import ShardTask, ShardWork
from playlist_pretrain.records.sources import find_audio
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
def test_shards_are_the_same_bytes(name, audio, tmp_path):
    task = ShardTask(0, tuple(find_audio(audio).tracks))
    content = {}
    for load in (AudioLoader(), OtherAudio()):
        folder = tmp_path / type(load).__name__
        work = AlsoModules(ShardWork(folder, str(audio), front_end(name), load))
        nothing = {"on_step": lambda *_: None, "on_death": lambda *_: None}
        (((_, modules),)) = work_through(work, [task], 1, **nothing)
        assert "tensorflow.python.ops.signal.fft_ops" in modules
        assert ("tensorflow._api.v2.math" in modules) == (type(load) is OtherAudio)
        content[folder.name] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(content["AudioLoader"]) == 3
    assert content["AudioLoader"] == content["OtherAudio"]
    with ShardWriter(tmp_path / "here", front_end(name).bands) as writer:
        for track in task.tracks:
            audio_of = AudioLoader()(str(audio / track.source))
            mel = front_end(name).log_mel(audio_of.waveform).numpy()
            writer.add(track.track_id, mel, audio_of.start_seconds, audio_of.source_seconds)
    assert (tmp_path / "here").read_bytes() == content["AudioLoader"][shard_name(0)]


def test_only_workers_do_so():
    assert not in_worker()
