import pytest

from dockd.station.cameras import ambiguity, globs


@pytest.mark.parametrize(
    "pattern",
    [
        "{officer}_{time}",
        "{officer}_{unit}_{date}_{time}.mp4",
        "{officer}/{time:*}_*.mp4",
        "{officer}{time}",
        "*{officer}.mp4",
        "{officer}*.mp4",
        "**{officer}.mp4",
        "{folder:**}/{unit:**}/1.mp4",
        "**/{unit}/**/{officer}.mp4",
        "{officer!_}_{time!_.}*",
        "*{flag:[EN]}*",
    ],
)
def test_a_pattern_that_could_split_a_path_in_two_ways_is_found(pattern: str) -> None:
    example = ambiguity.find(globs.parse(pattern))
    assert example is not None
    assert example.taken == globs.parse(pattern).match(example.path)
    assert example.taken != example.other
    # The other one is a way to split it as well: put in place of the groups, it fits.
    split = pattern
    for element in globs.parse(pattern).names:
        start = split.index("{" + element)
        split = split[:start] + example.other[element] + split[split.index("}", start) + 1 :]
    assert globs.parse(split).match(example.path) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        "*_*_*.mp4",
        "{officer}/{time}.mp4",
        "DCIM/{officer}/{time:*}_{event:E}.mp4",
        "**/{time}_E.mp4",
        "{unit}/**/{officer}.mp4",
        "{folder:**}/{name}.mp4",
        "{officer!_}_{unit!_}_{date!_}_{time!_}.mp4",
        "{officer:??????}_{time:[0-9][0-9]}*.mp4",
        "*_{event:E}_*.mp4",
        "?" * 490 + "{a}",
    ],
)
def test_a_pattern_that_splits_a_path_in_one_way_is_not(pattern: str) -> None:
    assert ambiguity.find(globs.parse(pattern)) is None


def test_an_ambiguous_pattern_is_explained_with_an_example() -> None:
    glob = globs.parse("{officer}_{time}.mp4")
    example = ambiguity.find(glob)
    assert example is not None
    assert ambiguity.explain(glob, example) == (
        "it is ambiguous: 'A__D.mp4' would make officer 'A_' and time 'D', though it could be"
        " officer 'A' and time '_D'; write {officer!_} for a name without _"
    )


@pytest.mark.parametrize("pattern", ["***" * 150 + "/{a}"])
def test_a_pattern_that_would_take_long_to_look_into_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="complicated"):
        ambiguity.find(globs.parse(pattern))
