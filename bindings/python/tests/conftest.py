"""Whatever is tested is the installed wheel, not the sources beside these tests."""

import bizra

SOURCES = __file__.rsplit("/tests/", 1)[0]
assert not bizra.__file__.startswith(SOURCES), f"{bizra.__file__} is not an installed wheel"
