"""A small run of the study of memory."""

import numpy as np
import pytest
from PIL import Image
from studies import memory


@pytest.mark.filterwarnings("ignore::skanogan.exceptions.CalibrationWarning")
def test_the_study_prints_the_memory_and_the_times(capsys):
    size = ["--count", "4", "--side", "40", "--fit", "3", "--image-size", "32"]
    assert memory.main([*size, "--network", "random"]) == 0
    assert "4 images of 40 x 40 pixels, random at 32 pixels" in capsys.readouterr().out


def test_images_are_in_colour_and_differ(tmp_path):
    memory.write_images(tmp_path, 2, 32)
    first, second = (np.asarray(Image.open(f)) for f in sorted(tmp_path.glob("*.jpg")))
    assert first.shape == second.shape == (32, 32, 3)
    assert (first != second).any()
