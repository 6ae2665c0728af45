import pytest

from common.options import UserError
from common.replicas import check_rows


def test_rows_that_cannot_be_shared_out_evenly_are_refused():
    check_rows(32, 4)
    with pytest.raises(
        UserError, match=r"^--batch-size 10 cannot be shared out between 4 devices; take a multiple of 4$"
    ):
        check_rows(10, 4)
