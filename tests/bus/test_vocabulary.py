"""What an idTag is, in one place (OCPP 1.6 §7.28)."""

from bus.vocabulary import masked_id_tag, same_id_tag


def test_id_tags_compare_without_case() -> None:
    """idToken is a CiString20Type (OCPP 1.6 §7.28)."""
    assert same_id_tag("04a1B2", "04A1b2")
    assert not same_id_tag("04A1B2", "04A1B3")


def test_no_id_tag_is_shown_whole() -> None:
    """Style guide §7, hardware.md §5.6."""
    shown = [masked_id_tag(tag) for tag in ("A", "ABC", "ABCD", "ABCDEFGH", "0123456789")]
    assert shown == ["…", "A…", "AB…", "ABCD…", "0123…89"]
