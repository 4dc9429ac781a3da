"""A Central System of its own, a virtual station and one charging session to watch: `station demo`.

Owns: the demo, and the independent Central System that tests use too. Does not: belong to a station in the field; nothing in
the other services imports it.
"""


def main(argv: list[str]) -> int:
    """`station demo`; imports late, because the packages of the demo are not there in the field."""
    from services.demo.play import main as play

    return play(argv)
