"""Holds a node against OpenAI's own Python package: what it sends, reads and raises.

Called with the base URL of a node that needs no token, that of one that needs its token, and this
token.
"""

import asyncio
import json
import sys
import time
import urllib.request

import openai

OPEN, CLOSED, TOKEN = sys.argv[1:4]
QUESTION = [{"role": "user", "content": "The function returns"}]
SHORT = {"model": "auto", "max_tokens": 8, "seed": 1, "temperature": 0}

# A key is always sent. This node needs none from its own machine and does not look at it.
client = openai.OpenAI(base_url=OPEN, api_key="sk-none", max_retries=0, timeout=60)


def is_valid(envelope):
    """Whether the node holds this envelope for valid."""
    url = OPEN.removesuffix("/v1") + "/api/v1/pci/envelope/verify"
    body = json.dumps({"envelope": envelope}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["valid"]


def raised(error, call):
    """The error of this class that the call raises."""
    try:
        call()
    except error as found:
        return found
    raise AssertionError(f"{error.__name__} was not raised")


def a_whole_answer_brings_its_proof():
    raw = client.chat.completions.with_raw_response.create(messages=QUESTION, **SHORT)
    answer = raw.parse()
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 < answer.usage.completion_tokens <= 8
    proof = answer.model_extra["bizra"]
    assert raw.headers["x-bizra-envelope"] == proof["envelope_id"] == proof["envelope"]["id"]
    assert proof["tier"] == "Edge" and proof["degraded"] is False
    assert proof["attempts"][0]["outcome"] == "ok"
    assert proof["gates"]["input"]["passed"] and proof["gates"]["output"]["passed"]
    payload = proof["envelope"]["payload"]
    assert payload["text"] == answer.choices[0].message.content
    assert payload["model"] == answer.model
    assert is_valid(proof["envelope"])
    payload["text"] += "."
    assert not is_valid(proof["envelope"])


def a_conversation_is_proved_with_its_history():
    messages = [
        {"role": "system", "content": "Write a manual."},
        {"role": "user", "content": [{"type": "text", "text": "What does it do?"}]},
        {"role": "assistant", "content": "It sorts."},
        *QUESTION,
    ]
    answer = client.chat.completions.create(messages=messages, **SHORT)
    envelope = answer.model_extra["bizra"]["envelope"]
    assert len(envelope["payload"]["history_hash"]) == 64
    assert envelope["payload"]["system_hash"] is not None
    assert envelope["gates"]["history"]["passed"] is True
    assert is_valid(envelope)
    alone = client.chat.completions.create(messages=QUESTION, **SHORT)
    assert "history_hash" not in alone.model_extra["bizra"]["envelope"]["payload"]
    assert answer.usage.prompt_tokens > alone.usage.prompt_tokens


def a_stream_says_the_same_as_the_whole():
    whole = client.chat.completions.create(messages=QUESTION, **SHORT)
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        messages=QUESTION, stream=True, stream_options=options, **SHORT
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []
    last = chunks[-2]
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    proof = last.model_extra["bizra"]
    assert proof["envelope"]["payload"]["text"] == text and is_valid(proof["envelope"])


def a_text_is_continued():
    prompt = "The function returns"
    answer = client.completions.create(prompt=prompt, **SHORT)
    assert answer.object == "text_completion" and answer.choices[0].text
    payload = answer.model_extra["bizra"]["envelope"]["payload"]
    assert payload["form"] == "completion" and payload["text"] == answer.choices[0].text
    assert is_valid(answer.model_extra["bizra"]["envelope"])
    chunks = list(client.completions.create(prompt=prompt, stream=True, **SHORT))
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text
    assert chunks[-1].choices[0].finish_reason == answer.choices[0].finish_reason


def models_are_listed_and_found():
    models = list(client.models.list())
    assert models[0].id == "auto" and len(models) == 3
    assert models[2].model_extra["embedder"]["dimensions"] == 384
    model = client.models.retrieve(models[1].id)
    assert model.model_extra["bizra"]["tier"] == "Edge"
    named = client.chat.completions.create(messages=QUESTION, **{**SHORT, "model": model.id})
    assert named.model == model.id
    assert raised(openai.NotFoundError, lambda: client.models.retrieve("gpt")).code == "model_not_found"


def what_is_refused_is_raised_by_its_class():
    ask = client.chat.completions.create
    found = raised(openai.NotFoundError, lambda: ask(model="gpt", messages=QUESTION))
    assert (found.code, found.param, found.type) == ("model_not_found", "model", "invalid_request_error")
    assert "gpt" in found.message and found.request_id
    tool = {"type": "function", "function": {"name": "a", "parameters": {}}}
    for more, param in [
        ({"tools": [tool]}, "tools"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "b"}]}, "messages[0].role"),
    ]:
        body = {"model": "auto", "messages": QUESTION, **more}
        found = raised(openai.BadRequestError, lambda: ask(**body))
        assert found.param == param, found


def texts_get_their_vectors():
    texts = ["ask before you act", "asking before acting", "quarterly revenue"]
    # By default the package asks for base64 and reads it.
    answer = client.embeddings.create(model="auto", input=texts)
    assert answer.object == "list" and answer.model == "bizra-ngram"
    assert [one.index for one in answer.data] == [0, 1, 2]
    vectors = [list(one.embedding) for one in answer.data]
    assert all(len(vector) == 384 for vector in vectors)
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in vectors)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert dot(vectors[0], vectors[1]) > 0.4 > 0.2 > dot(vectors[0], vectors[2])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    assert answer.model_extra["bizra"]["tokens_estimated"] is True
    plain = client.embeddings.create(
        model=answer.model, input=texts[0], encoding_format="float", dimensions=384, user="ann"
    )
    assert dot(plain.data[0].embedding, vectors[0]) > 0.99999

    def refused(**more):
        body = {"model": "auto", "input": "a", **more}
        found = raised(openai.BadRequestError, lambda: client.embeddings.create(**body))
        return found.param, found.code

    assert refused(dimensions=256) == ("dimensions", "unsupported_value")
    assert refused(input=[1, 2]) == ("input", "INVALID_FIELD")
    assert refused(input=[[1, 2]]) == ("input", "INVALID_FIELD")
    assert refused(input=["a", " "]) == ("input[1]", "EMPTY_INPUT")
    assert refused(input=[]) == ("input", "INVALID_FIELD")
    assert refused(input=["a"] * 257) == ("input", "INVALID_FIELD")
    assert refused(input="a" * 40_000) == ("input", "INPUT_TOO_LONG")
    embed = lambda: client.embeddings.create(model="text-embedding-3-small", input="a")
    assert raised(openai.NotFoundError, embed).code == "model_not_found"
    talk = lambda: client.chat.completions.create(model="bizra-ngram", messages=QUESTION)
    assert raised(openai.NotFoundError, talk).code == "model_not_found"


def the_token_is_the_key_where_one_is_needed():
    def asked(key):
        other = openai.OpenAI(base_url=CLOSED, api_key=key, max_retries=0, timeout=60)
        return other.chat.completions.create(messages=QUESTION, **SHORT)

    found = raised(openai.AuthenticationError, lambda: asked("sk-none"))
    assert (found.status_code, found.code) == (401, "invalid_api_key")
    assert asked(TOKEN).choices[0].message.content is not None


def in_flight():
    """Generations that the node is working on, as its metrics say."""
    url = OPEN.removesuffix("/v1") + "/api/v1/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("http_requests_in_flight "):
                return int(line.split()[1]) - 1
    raise AssertionError("no such metric")


def a_stream_that_is_closed_stops_the_work():
    long = {**SHORT, "max_tokens": 450}
    stream = client.chat.completions.create(messages=QUESTION, stream=True, **long)
    next(iter(stream))
    stream.close()
    began = time.monotonic()
    while in_flight() > 0:
        assert time.monotonic() - began < 10
        time.sleep(0.01)
    # The place in the model is free again, too: otherwise this would wait for hundreds of tokens.
    client.chat.completions.create(messages=QUESTION, **SHORT)


async def many_at_once_are_all_answered():
    async with openai.AsyncOpenAI(
        base_url=OPEN, api_key="sk-none", max_retries=0, timeout=120
    ) as other:
        ask = lambda n: other.chat.completions.create(messages=QUESTION, **{**SHORT, "seed": n})
        answers = await asyncio.gather(*(ask(n) for n in range(32)))
        ids = {answer.model_extra["bizra"]["envelope_id"] for answer in answers}
        assert len(ids) == 32
        stream = await other.chat.completions.create(messages=QUESTION, stream=True, **SHORT)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].model_extra["bizra"]["envelope"]["id"].startswith("pci_")


for check in [
    a_whole_answer_brings_its_proof,
    a_conversation_is_proved_with_its_history,
    a_stream_says_the_same_as_the_whole,
    a_text_is_continued,
    models_are_listed_and_found,
    what_is_refused_is_raised_by_its_class,
    texts_get_their_vectors,
    the_token_is_the_key_where_one_is_needed,
    a_stream_that_is_closed_stops_the_work,
]:
    check()
    print(check.__name__, flush=True)
asyncio.run(many_at_once_are_all_answered())
print(many_at_once_are_all_answered.__name__)
