"""The same actions by keys: of a terminal, of a USB pedal (which is a keyboard), and of the page.

    Space  start, stop      1-9    stages of the box that is asked for     s  success   f  failure
    v      the rig failed   u      change the last outcome                 n  note
    d      stop, danger     Esc    hold, go on          o  open the hand of an arm that is held
    t      take over with the leader, where there is one    b    give back
    x      begin although a box was measured to lie elsewhere
    Enter  what is written  q      leave (between trials)

A pure function of key and screen. Space does nothing after a stop until the outcome is saved, because the screen is
another one then.
"""

from dataclasses import dataclass, field

from so101_eval.real_study.session.view import Action, View

ENTER, ESCAPE, SPACE, BACK = "\r", "\x1b", " ", "\x7f"


@dataclass
class Form:
    """What was entered on this screen so far."""

    text: str = ""
    """Of a name or a note."""
    writing: bool = False
    note: str = ""
    stages: list[int] = field(default_factory=list[int])
    reason: int = -1


def press(key: str, view: View, form: Form) -> Action | None:
    """What a key means on this screen; changes `form`."""
    if form.writing or (view.screen == "session" and not view.findings):
        return _write(key, view, form)
    if key == "q" and view.screen != "trial":
        return Action("leave")
    match view.screen:
        case "session":
            return {SPACE: Action("start"), "c": Action("check")}.get(key)
        case "reset":
            return {SPACE: Action("start"), "u": Action("undo"), "x": Action("override")}.get(key)
        case "trial":
            keys = {
                SPACE: Action("stop"), "d": Action("danger"), ESCAPE: Action("hold"), "o": Action("open"),
                "t": Action("take"), "b": Action("give"),
            }  # fmt: skip
            return keys.get(key)
        case "rig":
            return _rig(key, view)
        case "outcome":
            return _outcome(key, view, form)
        case "block":
            possible = {str(number) for number in range(1, view.trials + 1)} | {"?"}
            return (
                Action("block", {"guess": key, "preference": form.note})
                if key in possible
                else _note(key, form)
            )
        case _:
            return None


def _write(key: str, view: View, form: Form) -> Action | None:
    if key in (ENTER, "\n"):
        if form.writing:
            form.note, form.writing, form.text = form.text, False, ""
            return None
        name, form.text = form.text.strip(), ""
        return Action("operator", {"name": name}) if name else None
    form.text = form.text[:-1] if key == BACK else form.text + (key if key.isprintable() else "")
    return None


def _rig(key: str, view: View) -> Action | None:
    """v, then its number; or any answer that it did not."""
    if key.isdigit() and 1 <= int(key) <= len(view.reasons):
        return Action("rig", {"reason": view.reasons[int(key) - 1]})
    return Action("rig", {"reason": None}) if key in ("n", ENTER, "\n") else None


def _outcome(key: str, view: View, form: Form) -> Action | None:
    top, why = len(view.stages), view.suggested
    common = {"why": why, "note": form.note}
    if key == "s":
        return Action("outcome", {"stages": [top] * view.boxes, "success": True, **common})
    if key == "f":
        stages = (form.stages + [0] * view.boxes)[: view.boxes]
        return Action("outcome", {"stages": stages, "success": False, **common})
    if key.isdigit() and int(key) <= top and len(form.stages) < view.boxes:
        form.stages.append(int(key))
        return None
    if key == BACK and form.stages:
        form.stages.pop()
        return None
    return _note(key, form)


def _note(key: str, form: Form) -> None:
    if key == "n":
        form.writing, form.text = True, form.note
