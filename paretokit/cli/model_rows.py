"""What `paretokit doctor` says of a policy by itself: what it allows, and how its chat template writes a conversation.

Imports: `models`, `turns`, `texts` by value.
"""

from typing import TYPE_CHECKING, Any

from paretokit.cli.adapter_rows import adapter_rows

if TYPE_CHECKING:
    from paretokit.models.policy import Policy

__all__ = ["chat_facts", "chat_rows", "policy_rows", "start_row", "verdict"]


def policy_rows(policy: "Policy") -> list[tuple[str, str]]:
    """Return what to print of a policy: name and finding."""
    from paretokit.experiments.reading import shared_prompts
    from paretokit.models.targets import adapted

    sharing, projection = policy.sharing, policy.projection
    return [
        start_row(policy),
        *chat_rows(policy),
        *adapter_rows(adapted(policy.model)),
        ("shared prompts", shared_prompts(sharing, policy.forking, longer=sharing.window is not None)),
        ("logits in chunks", verdict(projection.exact, projection.reason)),
        ("one backward pass for all objectives", verdict(policy.coverage.exact, policy.coverage.reason)),
    ]


def start_row(policy: "Policy") -> tuple[str, str]:
    """Return name and finding of what a policy is compared with, and starts from unless it was trained before."""
    at_base = "also the start" if policy.at_base() else "the start is what was trained and saved"
    return "reference", f"{policy.description}, {at_base}"


def chat_rows(policy: "Policy") -> list[tuple[str, str]]:
    """Return what to print of a policy's chats: name and finding."""
    facts = chat_facts(policy)
    ends = ("a generation ends at", ", ".join(facts["ends"]) or "nothing: the tokenizer has no EOS token")
    if not facts["template"]:
        return [("chat template", "none: prompts are raw text"), ends]
    options = ", ".join(f"{name}={value!r}" for name, value in facts["options"].items())
    return [
        ("chat template", f"no: {facts['problem']}" if facts["problem"] else "yes"),
        ("lead-in of an answer", repr(facts["lead_in"]) if facts["lead_in"] else "none"),
        ("thoughts in answers", "scored" if facts["thoughts"] else "refused where the template would take them out"),
        ("chat options", options or "none"),
        ("date", "not printed by the template" if facts["date"] is None else f"{facts['date']}, pinned"),
        ends,
    ]


def chat_facts(policy: "Policy") -> dict[str, Any]:
    """Return what `chat_rows` says, as JSON values: `problem` says why no answer can be written, or is empty."""
    from paretokit.errors import DataError, ModelError
    from paretokit.texts import end_tokens
    from paretokit.turns import lead_in

    chat, lead, problem = policy.chat, "", ""
    if chat.template is not None:
        try:
            lead = lead_in(chat)
            lead = "" if chat.thoughts else lead
        except (DataError, ModelError) as error:
            problem = str(error)
    try:
        ends = [chat.tokenizer.convert_ids_to_tokens(token) or str(token) for token in sorted(end_tokens(chat))]
    except ModelError:
        ends = []
    facts = chat.to_json()
    return {
        "template": chat.template is not None,
        "problem": problem,
        "lead_in": lead,
        "options": facts["options"],
        "thoughts": facts["thoughts"],
        "date": facts["date"],
        "ends": ends,
    }


def verdict(exact: bool, reason: str) -> str:
    """Return "yes", or "no" with the reason."""
    return "yes" if exact else f"no: {reason}"
