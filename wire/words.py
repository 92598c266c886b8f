"""Words for people to compare over the telephone: one of 256 for each byte, short, concrete, and no two that sound alike.

    bytes ──▶ otter-lamp-brick

They are shown, never typed, so order and spelling may not change: two programs have to show the same.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = """
    acorn actor album alley amber angel ankle apple apron arena arrow aspen atlas attic autumn award
    bacon badge bagel bamboo banjo barn basil basket beach beaver bell bench berry bicycle birch bishop
    bison blanket bonfire bottle branch brick bridge broom bucket buffalo butter button cabin cactus camel candle
    canoe canyon carpet carrot castle cedar cello cement chalk cheese cherry chess chimney cider circus clarinet
    clock cloud clover cobra cocoa coffee comet compass copper coral cotton cradle crayon cricket crown crystal
    cushion dagger daisy dancer desert diamond dolphin donkey dragon drum eagle easel echo elbow elephant emerald
    engine falcon feather fence ferry fiddle flag flute forest fossil fountain fox galaxy garden garlic gazelle
    geyser ginger giraffe glacier glove goblet gorilla granite grape guitar hammer hammock harbor harp hazel hedgehog
    helmet heron honey horizon hornet iceberg igloo indigo iris island ivory jacket jaguar jasmine jelly jigsaw
    jungle kayak kettle kitten koala ladder lagoon lamp lantern lasso lemon leopard library lily lizard lobster
    magnet mango maple marble meadow melon meteor mirror monsoon moose mosaic mustard napkin nectar needle nickel
    nutmeg oasis ocean olive onion orbit orchid ostrich otter oyster paddle palace panda parrot pebble pelican
    pencil pepper piano pigeon pillow planet plum pocket pony puzzle pyramid quail quartz quilt rabbit raccoon
    radish raven ribbon river robot rocket saddle saffron salmon sandal satin saxophone scarf shovel silver snow
    spider sponge squirrel stadium sunflower tango teapot thimble thunder tiger toast tomato tractor trumpet tulip tunnel
    turtle umbrella vanilla velvet village violin volcano waffle walnut whale willow window wizard yogurt zebra zipper
"""

WORDS: Final = tuple(_TEXT.split())


def words_of(data: bytes) -> str:
    """One word for each byte, joined by hyphens."""
    return "-".join(WORDS[byte] for byte in data)
