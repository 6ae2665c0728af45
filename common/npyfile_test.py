import numpy as np
import pytest

from common.npyfile import write_blocks


def test_blocks_make_up_the_array_or_are_refused(tmp_path):
    path, array = tmp_path / "a.npy", np.arange(12, dtype=np.int16).reshape(4, 3)
    write_blocks(path, np.float32, (4, 3), [array[:1], array[1:1], array[1:]])
    np.testing.assert_array_equal(np.load(path), array.astype(np.float32))
    for blocks, told in (([array[:3]], "3 rows for an array"), ([array.T], r"a block of shape \(3, 4\)")):
        with pytest.raises(ValueError, match=told):
            write_blocks(path, np.float32, (4, 3), blocks)


def test_a_full_disk_is_an_error():
    from pathlib import Path

    with pytest.raises(OSError, match="No space left"):
        write_blocks(Path("/dev/full"), np.float64, (100_000,), [np.zeros(100_000)])
