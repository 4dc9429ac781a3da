"""The keys of the optional profiles against the specification's own tables (OCPP 1.6 §9.2 to §9.4).

What is printed there stands here once more, so that a slip in the product's table is seen; Core's are in `test_key_table.py`.
"""

import pytest

from bus.vocabulary import ConfigurationStatus
from services.configuration import keys
from services.configuration.keys import Access, Capabilities, Type
from tests.conformance.clauses import ROOT

REQUIRED = True
PRINTED: dict[str, dict[str, tuple[bool, Access, Type, str]]] = {
    "LocalAuthListManagement": {
        "LocalAuthListEnabled": (REQUIRED, Access.READ_WRITE, Type.BOOLEAN, "true"),
        "LocalAuthListMaxLength": (REQUIRED, Access.READ, Type.INTEGER, "10000"),
        "SendLocalListMaxLength": (REQUIRED, Access.READ, Type.INTEGER, "1000"),
    },
    "RemoteTrigger": {},
}
"""By profile: required or optional, access and type as printed, and our default."""


@pytest.mark.parametrize("profile", PRINTED)
def test_the_keys_of_a_profile_are_as_their_clause_prints_them(profile: str) -> None:
    """OCPP 1.6 §9.2: these and no others; read-only ones are Rejected, and each one is read by the code."""
    able = Capabilities()
    values = keys.defaults(able)
    offered = {key.name: (key.required, key.access, key.type, key.default) for key in keys.KEYS if key.profile == profile}
    assert offered == PRINTED[profile]
    code = "\n".join(file.read_text(encoding="utf-8") for file in ROOT.glob("services/connectors/settings.py"))
    for name, (_, access, _, default) in offered.items():
        accepted = access is Access.READ_WRITE
        status = ConfigurationStatus.ACCEPTED if accepted else ConfigurationStatus.REJECTED
        assert keys.change(values, name, default, able).status is status
        assert f'"{name}"' in code
