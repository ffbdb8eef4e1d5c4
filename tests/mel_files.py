"""Files of mels as the sources distribute them, with random values."""

import io
import tarfile

import numpy as np

MELON_IDS = [0, 1, 999, 1000, 7777, 225_500, 276_000, 230_999, 231_000]


def npy(array):
    """Bytes of an ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def header(shape, descr="<f4", order=False):
    """An ``.npy`` header that states whatever it likes, and no data."""
    stream = io.BytesIO()
    content = {"descr": descr, "fortran_order": order, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, content)
    return stream.getvalue()


def mel(seed, bands=48, frames=1876):
    """dB [bands, frames], float32."""
    return np.random.default_rng(seed).uniform(-90, 10, (bands, frames)).astype(np.float32)


def write_tar(path, members):
    """A tar file of ``members``: (name, bytes or a TarInfo without data)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def melon(folder, ids=MELON_IDS, frames=1876):
    """Two tar files of the Melon Playlist Dataset's layout."""
    members = [(f"{i // 1000}/{i}.npy", npy(mel(i, frames=frames))) for i in ids]
    half = len(members) // 2
    write_tar(folder / "arena_mel_2.tar", members[:half])
    write_tar(folder / "arena_mel_10.tar", members[half:])
    return folder


def jamendo(folder, ids=(241, 1241, 1_376_256, 9007), frames=3000, low=()):
    """Unpacked mels of MTG-Jamendo."""
    for i in ids:
        path = folder / f"{i % 100:02d}" / f"{i}{'.low' if i in low else ''}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(npy(2 * mel(i, bands=96, frames=frames)))
    return folder
