"""What a request must keep that the document cannot say."""

import schemathesis

# Characters of a prompt and its system text together, as tests/contract.rs sets the node.
PROMPT_CHARS_MAX = 64

# Integers beyond it are refused wherever they stand.
INTEGER_MAX = 2**53 - 1


@schemathesis.hook
def filter_case(context, case):
    return not is_too_long_together(case.body) and not has_large_float(case.body)


def is_too_long_together(body):
    """A schema limits the prompt and the system text, but not both together."""
    if not isinstance(body, dict):
        return False
    texts = [body.get(key) for key in ("prompt", "system")]
    return all(isinstance(text, str) for text in texts) and sum(map(len, texts)) > PROMPT_CHARS_MAX


def has_large_float(value):
    """1e300 is JSON that the node reads, and 10**300 is not; a schema cannot tell them apart."""
    match value:
        case float():
            return abs(value) > INTEGER_MAX
        case list():
            return any(map(has_large_float, value))
        case dict():
            return any(map(has_large_float, value.values()))
    return False
