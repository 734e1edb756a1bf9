"""The station in a virtual machine, from its installation to the last power cut."""

import pytest

pytest.register_assert_rewrite("tests.vm.station")
