"""The values that the cache benchmark stores: catalog pages of a given size, the same in every run."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel

_TEXT = """
    a after against alone an and art at bay become begin between border bridge brother by captain
    child city close cold crew daughter day debt desert detective discover doctor edge empire end
    escape family father fight find fire first forest forget from ghost girl gold her his home
    hope house hunt in island journey judge keep king last law letter life light lose love master
    memory midnight mother mountain murder must new night no north of old on one only orphan past
    pilot police prison queen race return river road robbery school sea search secret shadow ship
    silent sister small snow soldier son south star stranger summer teacher the their thief to
    tower town train traitor truth two under village war water when who winter with without wolf
"""
_WORDS = _TEXT.split()
_GENRES = ("action", "comedy", "crime", "documentary", "drama", "family", "history", "thriller")
_PEOPLE = (
    "Ada",
    "Bo",
    "Cem",
    "Dana",
    "Eli",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "Jo",
    "Kim",
    "Lou",
    "Mia",
)


class Person(BaseModel):
    """A person in the credits."""

    name: str
    role: Literal["cast", "director", "writer"]


class Title(BaseModel):
    """A film or a series."""

    id: str
    name: str
    kind: Literal["film", "series"]
    released: datetime
    minutes: int
    rating: float
    genres: list[str]
    people: list[Person]
    synopsis: str


class Page(BaseModel):
    """What a user sees: a heading, and titles."""

    user_id: str
    heading: str
    made_at: datetime
    titles: list[Title]


def page(size: int) -> Page:
    """Return a page whose JSON has `size` bytes."""
    rng = random.Random(size)
    made_at = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
    found = Page(user_id="user-456", heading="Because you watched", made_at=made_at, titles=[])
    while True:
        title = _title(rng)
        longer = found.model_copy(update={"titles": [*found.titles, title]})
        if len(longer.model_dump_json()) > size:
            break
        found = longer
    # Extend the last synopsis to the exact size.
    missing = size - len(found.model_dump_json())
    words = _sentence(rng, missing)
    found.titles[-1].synopsis += words[:missing].ljust(missing, ".")
    return found


def _title(rng: random.Random) -> Title:
    roles: list[Literal["cast", "director", "writer"]] = ["cast", "director"]
    return Title(
        id=f"tt{rng.randrange(10**7):07}",
        name=_sentence(rng, 3).strip().title(),
        kind=rng.choice(("film", "series")),
        released=datetime(1960, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(24_000)),
        minutes=rng.randrange(20, 190),
        rating=rng.randrange(10, 100) / 10,
        genres=rng.sample(_GENRES, 2),
        people=[Person(name=rng.choice(_PEOPLE), role=role) for role in roles],
        synopsis=_sentence(rng, rng.randrange(6, 24)).strip(),
    )


def _sentence(rng: random.Random, words: int) -> str:
    return "".join(f" {rng.choice(_WORDS)}" for _ in range(words))
