"""The field guide: its form, its commands, and one of its symptoms acted out. All of them: `python -m tests.field_guide`."""

import contextlib
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest

from services.station.cli import _COMMANDS
from tests.field_guide import guide, replay
from tests.field_guide.__main__ import GUIDE
from tests.field_guide.acts import ACTS

TEXT = GUIDE.read_text(encoding="utf-8")
SYMPTOMS = guide.symptoms(TEXT)
COMMANDS = sorted({step.text for symptom in SYMPTOMS for step in symptom.steps if step.text.startswith("station ")})


def test_each_symptom_has_an_act_and_each_act_a_symptom() -> None:
    """What the guide has done by hand is what the act knows, in the same words."""
    assert [symptom.name for symptom in SYMPTOMS] == list(ACTS)
    for symptom in SYMPTOMS:
        told = {step.text for step in symptom.steps if step.by_hand or not step.text.startswith("station ")}
        assert told == set(ACTS[symptom.name].by_hand), symptom.title


def test_each_symptom_says_what_is_seen_looked_at_meant_and_done() -> None:
    """In this order, each once, and something is shown of at least one command."""
    for symptom in SYMPTOMS:
        parts = re.findall(r"^\*\*(.*?)[:,]", symptom.text, re.MULTILINE)
        assert parts == ["You see", "Look", "It means", "Do"], symptom.title
        assert any(step.shows for step in symptom.steps), symptom.title


def test_links_lead_to_sections_and_the_first_section_leads_to_each_symptom() -> None:
    """The table of contents is by symptom."""
    anchors = {guide.anchor(title) for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(.*?)\)", TEXT)) <= anchors
    contents = TEXT.partition(f"## {SYMPTOMS[0].title}\n")[0]
    assert set(re.findall(r"\]\(#(.*?)\)", contents)) >= set(ACTS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one_that_station_takes(command: str, tmp_path: Path) -> None:
    """Where no station is; argparse ends on what it does not know before anything is looked at."""
    name, *rest = shlex.split(command)[1:]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            importlib.import_module(_COMMANDS[name][0]).main(["--state-dir", str(tmp_path / "none"), *rest])
        except SystemExit:
            pytest.fail(f"$ {command}: {said.getvalue()}")


def test_an_output_is_compared_line_by_line_and_the_line_that_is_missing_is_named() -> None:
    """A line of the guide may leave out text and lines, not tell others."""
    output = "NOT WELL: meter: lost (for 3 s)\r\n\nmeter-1  silent\nqueue  0 waiting\n"
    assert guide.differences(["NOT WELL: meter: … (for …)", "…", "queue  0 waiting"], output) == ""
    assert guide.differences(["…", "meter-1  silent", "…"], output) == ""
    assert "queue  1 waiting" in guide.differences(["…", "queue  1 waiting", "…"], output)
    assert "meter-1" in guide.differences(["NOT WELL: …", "meter-1  silent", "…"], output)
    assert "more comes" in guide.differences(["NOT WELL: …"], output)


@pytest.mark.process
def test_a_refused_card_is_as_the_guide_says() -> None:
    """One symptom acted out, commands and remedy; all of them are a part of `make proof`."""
    (symptom,) = [symptom for symptom in SYMPTOMS if symptom.name == "the-card-is-refused"]
    replay.replay(symptom)
