"""Print the action of the gate as a workflow, which actionlint checks: it knows no composite actions.

    python tests/action_workflow.py >build/action.yml

Inputs become those of a workflow that others call; the steps stay as they are.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

ACTION = Path(__file__).parents[1] / ".github" / "actions" / "gate" / "action.yml"


def action_as_workflow(action: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow with the inputs and steps of a composite action."""
    inputs = {name: {"type": "string", "default": given.get("default", "")} for name, given in action["inputs"].items()}
    steps = action["runs"]["steps"]
    return {
        "name": action["name"],
        "on": {"workflow_call": {"inputs": inputs}},
        "permissions": {"contents": "read"},
        "jobs": {"action": {"runs-on": "ubuntu-24.04", "steps": steps}},
    }


if __name__ == "__main__":
    yaml.safe_dump(
        action_as_workflow(yaml.safe_load(ACTION.read_text(encoding="utf-8"))), sys.stdout, sort_keys=False, width=1000
    )
