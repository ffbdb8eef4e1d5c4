"""Mel filters against Essentia's and by their properties."""

import numpy as np

from playlist_pretrain.audio.filters import front_end_filters, mel_filters
from playlist_pretrain.audio.front_end import PRESETS


def test_filters_equal_essentias_to_the_bit(essentia_reference):
    expected = essentia_reference.mel_filters(
        numberBands=96,
        highFrequencyBound=8000,
        warpingFormula="slaneyMel",
        weighting="linear",
        normalize="unit_tri",
    )
    np.testing.assert_array_equal(front_end_filters(PRESETS["paper"]), expected)
    expected = essentia_reference.mel_filters(
        numberBands=64,
        lowFrequencyBound=125,
        highFrequencyBound=7500,
        warpingFormula="htkMel",
        weighting="warping",
        normalize="unit_max",
        type="magnitude",
    )
    np.testing.assert_array_equal(front_end_filters(PRESETS["vggish-essentia"]), expected)


def test_filters_cover_what_they_should():
    for preset in PRESETS.values():
        filters = front_end_filters(preset)
        assert filters.dtype == np.float32 and filters.shape == (257, preset.bands)
        assert (filters >= 0).all() and (filters.max(axis=0) > 0).all()
        assert (np.diff(filters.argmax(axis=0)) >= 0).all()
        hz = np.arange(257) * 31.25
        assert not filters[(hz <= preset.f_min) | (hz >= preset.f_max)].any()


def test_area_filters_have_area_one():
    filters = mel_filters(
        sample_rate=16000,
        fft_length=1 << 16,
        bands=96,
        f_min=0.0,
        f_max=8000.0,
        scale="slaney",
        slopes="hz",
        norm="area",
        precision="float64",
    )
    np.testing.assert_allclose(filters.sum(axis=0) * 16000 / (1 << 16), 1.0, rtol=1e-3)
