"""The gateway: what is registered answers, behind gates and with proof, and nothing else does."""

import gc
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import bizra

IDENTITY = bizra.NodeIdentity.from_secret(bytes(range(1, 33)))
SECRET = "AKIAQX7C5WTRB3DKM2LF"


class Handler(BaseHTTPRequestHandler):
    """As much of the OpenAI interface as an answer takes."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.tell("application/json", json.dumps({"data": [{"id": "double"}]}))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)
        piece = {"choices": [{"index": 0, "delta": {"content": self.server.text}, "finish_reason": None}]}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        lines = [json.dumps(piece), json.dumps(last), "[DONE]"]
        self.tell("text/event-stream", "".join(f"data: {line}\n\n" for line in lines))

    def tell(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.text = "as you wish"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def gateway():
    with bizra.InferenceGateway(IDENTITY, bizra.Constitution()) as gateway:
        yield gateway


def test_without_a_backend_nothing_answers(gateway):
    with pytest.raises(RuntimeError, match="No backend for tier Edge") as caught:
        gateway.infer("hello", max_tokens=16)
    assert isinstance(caught.value, bizra.Unavailable)
    assert not gateway.health_check("edge")
    with pytest.raises(ValueError, match="Tier must be"):
        gateway.infer("hello", tier="cloud")
    with pytest.raises(ValueError, match="local or pool"):
        gateway.register_ollama("model", "edge")


def test_a_model_in_the_process_answers_with_proof(gateway):
    gateway.register_gguf()
    assert gateway.health_check("edge")
    answer = gateway.infer("The function returns", max_tokens=8, temperature=0.0, tier="edge")
    assert (answer.tier, answer.model, answer.degraded) == ("Edge", "bizra-demo", False)
    assert answer.text == str(answer)
    assert 0 < answer.completion_tokens <= 8
    assert answer.duration_ms > 0
    assert answer.envelope.sender == IDENTITY.node_id
    assert answer.envelope.verify()
    assert json.loads(answer.envelope.payload)["text"] == answer.text
    assert repr(answer).startswith("InferenceResponse(model='bizra-demo', tier='Edge', tokens=")
    higher = gateway.infer("The function returns", max_tokens=4, tier="pool")
    assert (higher.tier, higher.requested_tier, higher.degraded) == ("Edge", "Pool", True)


def test_a_server_answers_with_its_own_model(gateway, server):
    gateway.register_lmstudio(port=server.server_port)
    assert gateway.health_check("local")
    assert not gateway.health_check("pool")
    answer = gateway.infer("hello", "be brief", 16, 0.5, "local")
    assert (answer.text, answer.model, answer.tier) == ("as you wish", "double", "Local")
    assert [message["role"] for message in server.asked[0]["messages"]] == ["system", "user"]
    # A lower tier without a backend is served by the one there is; it is no lower one.
    lower = gateway.infer("hello", tier="edge", max_tokens=16)
    assert (lower.tier, lower.degraded) == ("Local", False)


def test_what_the_gates_refuse_is_not_told(gateway, server):
    server.text = f"the key is {SECRET}"
    gateway.register_lmstudio(port=server.server_port, model="double")
    with pytest.raises(bizra.GateRejected) as caught:
        gateway.infer("hello", max_tokens=16)
    assert caught.value.code == "RejectGateIhsan"
    assert SECRET not in repr(caught.value.details)


def test_a_server_that_is_away_is_stood_in_for(gateway):
    gateway.register_ollama("none", base_url="http://127.0.0.1:9")
    assert not gateway.health_check("local")
    with pytest.raises(bizra.Unavailable):
        gateway.infer("hello", tier="local", max_tokens=4)
    gateway.register_gguf()
    answer = gateway.infer("The function returns", tier="local", max_tokens=4)
    assert (answer.tier, answer.degraded) == ("Edge", True)


def test_a_closed_gateway_leaves_nothing_and_starts_again(gateway):
    gateway.register_gguf()
    gateway.infer("The function returns", max_tokens=2)
    folder = gateway._folder.name
    assert os.path.exists(folder)
    gateway.close()
    assert not os.path.exists(folder)
    assert gateway.infer("The function returns", max_tokens=2).text is not None


def test_a_dropped_gateway_leaves_nothing():
    gateway = bizra.InferenceGateway(IDENTITY)
    gateway.register_gguf()
    gateway.infer("The function returns", max_tokens=2)
    folder = gateway._folder.name
    del gateway
    gc.collect()
    assert not os.path.exists(folder)
