"""A node in the process: where it is, how it starts and how it stops."""

import asyncio
import gc
import itertools
import json
import os
import stat
import threading
import urllib.request

import pytest

import bizra
from nodes import config, start, until


def test_without_a_folder_it_has_one_that_goes_with_it():
    with start() as node:
        assert node.is_running and node.is_temporary
        assert stat.S_IMODE(os.stat(node.data_dir).st_mode) == 0o700
        assert os.listdir(node.data_dir)
        assert repr(node) == f"<bizra.Node running in {node.data_dir!r}>"
        folder = node.data_dir
    assert not os.path.exists(folder)
    assert not node.is_running
    assert "stopped" in repr(node)


def test_a_folder_keeps_the_keys(tmp_path):
    with start(tmp_path) as node:
        assert (node.data_dir, node.is_temporary) == (str(tmp_path), False)
        key = node.identity.public_key
        envelope = node.envelopes.create({"a": 1})
    with start(str(tmp_path)) as node:
        assert node.identity.public_key == key
        assert node.envelopes.get(envelope.id) == envelope


def test_the_configuration_may_name_the_folder(tmp_path):
    with start(node={"data_dir": tmp_path / "a"}) as node:
        assert (node.data_dir, node.is_temporary) == (str(tmp_path / "a"), False)
    with start(tmp_path / "b", node={"data_dir": str(tmp_path / "a")}) as node:
        assert node.data_dir == str(tmp_path / "b")


def test_a_file_may_be_the_configuration(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text('[inference]\nmax_tokens_max = 3\nmax_tokens_default = 3\n')
    with bizra.Node(config=file) as node:
        assert node.is_temporary
        with pytest.raises(bizra.InvalidInput, match="max_tokens is 4"):
            node.inference.tier("a", max_tokens=4)
    file.write_text(f'[node]\ndata_dir = "{tmp_path}/data"\n')
    with bizra.Node(config=str(file)) as node:
        assert node.data_dir == f"{tmp_path}/data"


@pytest.mark.parametrize(
    ("given", "key", "said"),
    [
        ({"http": {"prot": 1}}, "http.prot", "unknown field"),
        ({"http": {"port": -1}}, "http.port", "configuration given"),
        ({"nothing": {}}, "nothing", "unknown field"),
        ({"supervisor": {"actors": {"nobody": {"max_restarts": 1}}}}, "supervisor", "no such actor"),
        ({"inference": {"ollama": {"url": 7}}}, "inference.ollama.url", "invalid type"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_key(given, key, said):
    with pytest.raises(bizra.InvalidInput, match=said) as caught:
        bizra.Node(config=given)
    assert caught.value.code == "CONFIG"
    assert caught.value.details["key"].startswith(key)


def test_what_is_no_configuration_is_refused(tmp_path):
    with pytest.raises(bizra.InvalidInput, match="missing.toml"):
        bizra.Node(config=tmp_path / "missing.toml")
    with pytest.raises(TypeError):
        bizra.Node(config={"http": {"port": object()}})
    with pytest.raises((TypeError, AttributeError)):
        bizra.Node(config=7)
    # What is left out has its default.
    with bizra.Node(config={"gates": None, "http": {"port": None}}) as node:
        assert node.is_running


def test_the_environment_is_not_looked_at(monkeypatch, tmp_path):
    monkeypatch.setenv("BIZRA_DATA_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("BIZRA_HTTP__PORT", "no port")
    with start() as node:
        assert node.data_dir != str(tmp_path / "other")


def test_a_folder_in_use_is_refused_with_its_holder(tmp_path):
    with start(tmp_path), pytest.raises(bizra.Unavailable, match=str(os.getpid())) as caught:
        start(tmp_path)
    assert caught.value.code == "DATA_DIR"


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(bizra.Unavailable, match="file") as caught:
        start(file / "data")
    assert caught.value.code == "DATA_DIR"


def test_two_nodes_do_not_know_each_other():
    with start() as one, start() as other:
        assert one.identity.node_id != other.identity.node_id
        assert one.data_dir != other.data_dir
        envelope = one.envelopes.create("to nobody")
        assert one.envelopes.get(envelope.id) and not other.envelopes.get(envelope.id)
        assert other.federation.peers() == []
        one.stop()
        assert other.identity.sign(b"still there")


def test_only_with_http_it_listens(tmp_path):
    with start(tmp_path) as node:
        assert node.address is None
        assert not (tmp_path / "address").exists()
        assert "http" not in [info.name for info in node.actors()]
    with bizra.Node(tmp_path, config(), http=True) as node:
        url = f"http://{node.address}/api/v1/health"
        with urllib.request.urlopen(url, timeout=30) as response:
            assert json.load(response)["status"] == "healthy"
        key = node.identity.public_key
        with urllib.request.urlopen(f"http://{node.address}/api/v1/identity") as response:
            assert json.load(response)["identities"][0]["public_key"] == key
        assert json.loads((tmp_path / "address").read_text())["url"].endswith(node.address)
    assert not (tmp_path / "address").exists()


def test_an_address_that_is_taken_is_refused():
    with bizra.Node(config=config(), http=True) as node:
        taken = int(node.address.rsplit(":", 1)[1])
        with pytest.raises(bizra.Unavailable, match="cannot listen") as caught:
            bizra.Node(config=config(http={"port": taken}), http=True)
        assert caught.value.code == "BIND_FAILED"


def test_after_its_stop_every_call_is_refused():
    node = start()
    stream = node.inference.stream("a", max_tokens=1)
    node.stop()
    node.stop()
    for call in (
        lambda: node.identity.sign(b"a"),
        lambda: node.gates.check("a"),
        lambda: node.actors(),
        lambda: node.inference.stream("a"),
        lambda: next(stream),
    ):
        with pytest.raises(bizra.Unavailable) as caught:
            call()
        assert caught.value.code == "NODE_STOPPED"


def test_a_call_on_its_way_is_told_when_the_node_stops():
    async def run():
        async with await bizra.Node.astart(config=config()) as node:
            # Freezing keeps it from ever being answered.
            await node.astop_actor("gossip", "freeze")
            waiting = asyncio.ensure_future(node.federation.apeers())
            await asyncio.sleep(0.05)
        with pytest.raises(bizra.Unavailable):
            await waiting

    asyncio.run(run())


def test_its_folder_is_free_when_stop_returns_whatever_goes_on(tmp_path):
    for _ in range(3):
        node, codes, has_begun = start(tmp_path), set(), threading.Event()

        def work(node=node, codes=codes, has_begun=has_begun):
            try:
                for number in itertools.count():
                    node.patterns.learn(f"{threading.get_ident()} {number}")
                    node.patterns.recall("a text", min_similarity=0.0)
                    has_begun.set()
            except bizra.Unavailable as error:
                codes.add(error.code)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert has_begun.wait(60)
        node.stop()
        with start(tmp_path) as again:
            assert again.patterns.stats()["patterns"] > 0
        for thread in threads:
            thread.join()
        assert codes == {"NODE_STOPPED"}


def test_without_references_it_stops(tmp_path):
    node = start(tmp_path)
    identity = node.identity
    del node
    gc.collect()
    # A part of it is enough to hold it.
    assert identity.sign(b"a")
    with pytest.raises(bizra.Unavailable):
        start(tmp_path)
    del identity
    again = []

    def is_free():
        try:
            again.append(start(tmp_path))
        except bizra.Unavailable:
            return False
        return True

    until(is_free)
    again.pop().stop()


def test_in_an_event_loop_neither_start_nor_stop_holds_it_up():
    async def run():
        turns = 0

        async def tick():
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        ticking = asyncio.ensure_future(tick())
        node = await bizra.Node.astart(config=config())
        assert turns > 0, "the start held up the loop"
        async with node:
            assert await node.identity.asign(b"a")
            turns = 0
        assert turns > 0, "the stop held up the loop"
        ticking.cancel()
        assert not node.is_running

    asyncio.run(run())


def test_a_node_that_ends_by_itself_says_why():
    # The budget of a critical actor is spent by the first failure.
    supervisor = {"max_restarts": 0, "group_max_restarts": 0}
    with start(supervisor=supervisor) as node:
        node.stop_actor("identity")
        until(lambda: not node.is_running)
        with pytest.raises(bizra.Unavailable, match="identity") as caught:
            node.identity.sign(b"a")
        assert caught.value.code == "NODE_ENDED"
