"""Models that a few steps have trained, and their packages."""

from dataclasses import dataclass
from pathlib import Path

BATCH, CLASSES, LEARNING_RATE = 8, 50, 1e-4
NAMES = (
    *(
        f"{backbone} {kind} {front_end}"
        for backbone in ("vggish", "resnet50")
        for kind in ("backbone", "tagger")
        for front_end in ("paper", "musicnn")
    ),
    "audioset-vggish backbone vggish",
)
"""What there is: backbone, what it was trained as, and front end. Essentia has not that of
AudioSet: such a model is exported with ``vggish-essentia`` in its place."""


@dataclass(frozen=True)
class Exported:
    """A package, the SavedModel it was made of, and what its check has found.

    Differences are the largest: of embeddings, on windows and on files, in their standard
    deviations, and of activations. ``moved`` is how far another front end in the place of its own
    moves embeddings.
    """

    graph: Path
    saved_model: Path
    outputs: list[str]
    frames: int
    bands: int
    windows: float
    file: float
    activations: float | None
    moved: float | None
    same_count: bool
    valid: bool
    graph_size: int
    saved_model_size: int


def export_trained(name: str, width: float, steps: int, folder: Path) -> Exported:
    """Train the model called ``name``, save it, load it and export it.

    Raises
    ------
    ModelError
        The check of the package has refused it.
    """
    import json

    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.errors import ModelError
    from playlist_pretrain.export.package import ACTIVATIONS, EMBEDDINGS, check_description
    from playlist_pretrain.export.targets import export
    from playlist_pretrain.models.load import load_model

    saved_model = folder / "trained"
    train(name, width, steps, saved_model)
    saved = load_model(saved_model)
    other = "vggish-essentia" if saved.front_end == PRESETS["vggish"] else None
    settings = {"out": folder / "packages", "description": name, "front_end": other}
    made = export(saved, "essentia", "package", **settings)
    description = json.loads((made.folder / "package.json").read_text("utf-8"))
    parity = json.loads((made.folder / "package-parity.json").read_text("utf-8"))
    try:
        check_description(description, made.folder)
        valid = True
    except ModelError:
        valid = False
    compared, graph = made.compared, made.folder / "package.pb"

    def largest(output: str, *, file: bool | None = None) -> float:
        return max(
            one.difference
            for one in compared
            if one.output == output and file in (None, "random windows" not in one.what)
        )

    outputs = [output["name"] for output in description["schema"]["outputs"]]
    return Exported(
        graph=graph,
        saved_model=saved_model,
        outputs=outputs,
        frames=saved.frames,
        bands=saved.front_end.bands,
        windows=largest(EMBEDDINGS, file=False),
        file=largest(EMBEDDINGS, file=True),
        activations=largest(ACTIVATIONS) if ACTIVATIONS in outputs else None,
        moved=parity["front_end_distance"],
        same_count=all(one.windows == one.expected for one in compared),
        valid=valid,
        graph_size=graph.stat().st_size,
        saved_model_size=sum(
            path.stat().st_size for path in saved_model.rglob("*") if path.is_file()
        ),
    )


def train(name: str, width: float, steps: int, path: Path) -> None:
    """Train a model on windows of made-up sound until no weight is what it was; write it.

    Backbones learn to tell apart pairs of windows that follow each other, taggers invented tags.
    """
    import numpy as np
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.models import BACKBONES
    from playlist_pretrain.models.audioset import audioset_vggish
    from playlist_pretrain.models.contrastive import ContrastiveModel
    from playlist_pretrain.models.layers import projector
    from playlist_pretrain.models.nt_xent import NTXent
    from playlist_pretrain.models.saved_model import save_backbone, save_tagger
    from playlist_pretrain.models.tagger import TaggerTrainer, tagger
    from playlist_pretrain.models.vggish import vggish

    backbone_name, kind, preset = name.split()
    front_end = PRESETS[preset]
    windows = made_up_windows(front_end, 2 * BATCH, path.parent)
    window = {"frames": front_end.window_frames, "bands": front_end.bands}
    statistics = {"mean": windows.mean((0, 1)), "std": windows.std((0, 1))}
    if backbone_name == "resnet50":
        net = BACKBONES.get("resnet50")(**window, **statistics)
    elif backbone_name == "vggish":
        net = vggish(**window, **statistics, width=width)
    else:
        net = audioset_vggish() if width == 1 else vggish(**window, width=width)
    if kind == "tagger":
        net = tagger(net, CLASSES)
        model = TaggerTrainer(net, l2=1e-5)
        loss = tf.keras.losses.BinaryCrossentropy()
        targets = np.random.default_rng(0).random((BATCH, CLASSES)) < 0.1
        batch = windows[:BATCH], targets.astype(np.float32)
    else:
        model = ContrastiveModel(net, projector(net.output_shape[-1]))
        loss = NTXent()
        batch = windows[0::2][: BATCH // 2], windows[1::2][: BATCH // 2]
    model.compile(tf.keras.optimizers.Adam(LEARNING_RATE), loss=loss)
    first = [variable.numpy() for variable in net.variables]
    for _ in range(steps):
        model.train_on_batch(*batch)
    pairs = zip(net.variables, first, strict=True)
    still = [now.name for now, before in pairs if np.array_equal(now.numpy(), before)]
    assert not still, f"{name}: as before training: {still}"
    if kind == "tagger":
        classes = [f"tag {number}" for number in range(CLASSES)]
        save_tagger(net, classes, front_end, path)
    else:
        save_backbone(net, front_end, path)


def made_up_windows(front_end, count: int, folder: Path):
    """Windows [count, frames, bands] of sound, one after the other."""
    from playlist_pretrain.audio.decode import decode
    from playlist_pretrain.export.package import cut, write_synthetic

    frames = front_end.window_frames
    sound = folder / "made-up.wav"
    write_synthetic(sound, (count + 1) * frames * front_end.hop_length / front_end.sample_rate)
    waveform = decode(sound, front_end.sample_rate, None, front_end.resample_quality).waveform
    return cut(front_end, waveform, frames)[:count]
