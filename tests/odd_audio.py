"""Parts of audio files as players and old programs write them, and a comparison of waveforms."""

import struct

import numpy as np

from playlist_pretrain.audio.streams import frame_at

#: A picture that holds what looks like frames of MPEG audio.
PICTURE = b"\xff\xd8\xff\xe0\0\x10JFIF" + b"".join(
    bytes([255, 0xE0 + number % 32]) + np.random.default_rng(number).bytes(100)
    for number in range(600)
)
ID3V1 = b"TAG" + b"a title".ljust(125)


def id3v2(picture=b"", padding=0):
    """ID3v2.3 tag with a picture, and zeros that it counts."""
    body = b"\0image/jpeg\0\3\0" + picture
    frame = b"APIC" + struct.pack(">IH", len(body), 0) + body + bytes(padding)
    return b"ID3\3\0\0" + _seven_bits(len(frame)) + frame


def id3v24(picture=PICTURE):
    """ID3v2.4 tag with a picture, unsynchronised, and with a footer."""
    body = (b"\0image/jpeg\0\3\0" + picture).replace(b"\xff", b"\xff\0")
    frame = b"APIC" + _seven_bits(len(body)) + b"\0\2" + body
    head = b"\4\0\x90" + _seven_bits(len(frame))
    return b"ID3" + head + frame + b"3DI" + head


def _seven_bits(size):
    return bytes(size >> shift & 127 for shift in (21, 14, 7, 0))


def vbri(frames):
    """A frame that states the number of others, as an encoder of variable bit rates writes it."""
    sizes, at = [], 0
    while size := frame_at(frames, at)[2]:
        sizes.append(size)
        at += size
    table = np.array([sum(sizes[at : at + 10]) for at in range(0, len(sizes), 10)], ">u2")
    numbers = (1, 0, 75, len(frames), len(sizes), len(table), 1, 2, 10)
    head = frames[:2] + bytes([frames[2] & 15 | 0xE0]) + frames[3:4]  # 320 kbit/s
    frame = head + bytes(32) + b"VBRI" + struct.pack(">HHHIIHHHH", *numbers) + table.tobytes()
    return frame.ljust(frame_at(head, 0)[2], b"\0")


def bare_flac(flac):
    """A flac file without the blocks that it need not have."""
    at, last = 4, False
    while not last:
        last, size = flac[at] & 128, int.from_bytes(flac[at + 1 : at + 4], "big")
        at += 4 + size
    return b"fLaC\x80" + flac[5:42] + flac[at:]


def apev2(picture=PICTURE, header=True):
    """APEv2 tag with a picture."""
    value = b"cover.jpg\0" + picture
    item = struct.pack("<II", len(value), 2) + b"Cover Art (Front)\0" + value

    def end(flags):
        return b"APETAGEX" + struct.pack("<IIII8x", 2000, len(item) + 32, 1, flags)

    return (end(0xA0000000) if header else b"") + item + end(0x80000000 if header else 0)


def alike(found, expected, seconds=0.08):
    """What differs of length, or of level and pitch in eighths of two waveforms; "" if nothing."""
    if abs(len(found) - len(expected)) > seconds * 16000:
        return f"{len(found) / 16000:.3f} s, not {len(expected) / 16000:.3f}"
    size = min(len(found), len(expected)) // 8
    for number in range(8):
        # The middle of each eighth: encoders shift by some milliseconds.
        at = slice(number * size + size // 4, number * size + size * 3 // 4)
        levels = [float(np.sqrt(2 * np.mean(wave[at] ** 2))) for wave in (found, expected)]
        tones = [_pitch(wave[at]) for wave in (found, expected)]
        if abs(levels[0] - levels[1]) > 0.06 * max(levels) + 1e-3:
            return f"level {levels[0]:.3f}, not {levels[1]:.3f}, in eighth {number}"
        if levels[1] > 0.01 and abs(tones[0] - tones[1]) > 16000 / max(size // 2, 1) * 1.5:
            return f"{tones[0]:.0f} Hz, not {tones[1]:.0f}, in eighth {number}"
    return ""


def _pitch(wave):
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * 16000 / len(wave)
