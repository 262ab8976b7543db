"""Words that generators put into their texts: common ones, most of which large vocabularies have as single tokens."""

from __future__ import annotations


def split(words: str) -> tuple[str, ...]:
    """The words of a text, which reads better than a list of so many."""
    return tuple(words.split())


WOMEN = split(
    "Mary Alice Sarah Anna Emma Laura Julia Kate Rachel Amy Lisa Rose Jane Susan Helen Claire Diana Karen "
    "Linda Nancy Emily Grace Lucy Maria Paula Sophie Hannah Jessica Megan Ruth"
)
MEN = split(
    "John Tom James David Paul Mark Peter Daniel Robert Simon Henry Jack Adam Michael Andrew Kevin Brian "
    "Eric George Frank Steve Thomas Jason Ryan Matthew Patrick Victor Martin Oscar Leo"
)
NAMES = WOMEN + MEN

PLACES = split(
    "market station library garden office hospital museum school beach church park farm airport kitchen theater hotel"
)
OBJECTS = split(
    "book letter ring basket key coat ticket drink lamp camera hat cup map pen watch flower necklace bottle"
)

PEOPLE = tuple(
    (word, f"{word}s")
    for word in split(
        "teacher doctor farmer driver king boy girl artist pilot student lawyer neighbor guard judge dancer singer "
        "writer actor user"
    )
)
THINGS = (
    *[
        (word, f"{word}s")
        for word in split(
            "cat dog bird horse cow tree car table chair book lamp house key door name file value node method function "
            "character error object parameter string item"
        )
    ],
    ("class", "classes"),
    ("directory", "directories"),
)
"""Nouns as (singular, plural)."""

CATEGORIES = {
    "animal": split("dog cat horse cow sheep pig lion tiger wolf rabbit goat bear monkey elephant"),
    "fruit": split("apple banana pear peach lemon cherry mango plum"),
    "vehicle": split("car truck bus train tractor van taxi bicycle"),
    "metal": split("iron gold silver copper steel zinc tin"),
    "sport": split("tennis football hockey golf baseball rugby soccer"),
    "instrument": split("piano guitar violin drum trumpet flute"),
    "vegetable": split("carrot onion potato cabbage lettuce spinach"),
    "color": split("red blue green yellow purple pink brown"),
    "tool": split("hammer saw drill shovel axe wrench"),
}
"""Category -> words of it. No word is in two of them."""

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Ireland": "Dublin",
    "Portugal": "Lisbon",
    "Turkey": "Ankara",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Thailand": "Bangkok",
    "Hungary": "Budapest",
    "Canada": "Ottawa",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Syria": "Damascus",
    "Lebanon": "Beirut",
    "Vietnam": "Hanoi",
    "Chile": "Santiago",
    "Belgium": "Brussels",
    "England": "London",
    "Scotland": "Edinburgh",
    "Wales": "Cardiff",
}

ARGUMENTS = split(
    "name file size path key value index count data text width height node user line mode color table "
    "group token item date time list type url port host label state code page field"
)
