"""Whether nodes have what the servers need around them."""

from pathlib import Path

from launcher.deployment.placement import Process, Role
from launcher.deployment.surroundings import Required
from launcher.runtimes.findings import Check
from launcher.runtimes.probe import probe
from launcher.runtimes.surroundings import surroundings, surroundings_request


def process(node: str, *paths: str, gpus: int = 0) -> Process:
    name, required = f"server on {node}", Required(paths, gpus)
    return Process(name, Role.SERVER, node, (), {}, (), Path(), required=required)


def test_nothing_is_asked_when_nothing_is_required() -> None:
    assert surroundings_request([process("n1")]) == {}
    assert list(surroundings({"n1": {}}, [process("n1")])) == []


def test_missing_paths_are_named_with_the_nodes_of_servers_that_lack_them(tmp_path: Path) -> None:
    here, gone = str(tmp_path), str(tmp_path / "gone")
    servers = [process("n2", here, gone), process("n3", here, gone)]
    request = surroundings_request(servers)
    assert request == {"paths": [here, gone]}
    assert probe(request, "n2")["absent"] == [gone]
    views = {"n1": {"absent": [here, gone]}, "n2": {"absent": [gone]}, "n3": {"absent": []}}
    (found,) = surroundings(views, servers)
    assert (found.check, found.nodes) == (Check.PATHS, ("n2",))
    assert found.detail == f"{gone} does not exist on n2"


def test_too_few_gpus_are_named() -> None:
    servers = [process("n2", gpus=2), process("n3", gpus=2)]
    assert surroundings_request(servers) == {"gpus": True}
    (found,) = surroundings({"n2": {"gpus": 2}, "n3": {"gpus": 1}}, servers)
    assert (found.check, found.nodes) == (Check.GPUS, ("n3",))
    assert found.detail == "--gpus 2: n3 has 1 GPU(s) for this deployment"


def test_local_nodes_share_the_view_of_their_machine() -> None:
    servers = [process("127.0.0.2", "/a", gpus=1), process("127.0.0.3", "/a", gpus=1)]
    found = list(surroundings({"here": {"absent": ["/a"], "gpus": 0}}, servers))
    assert [(each.check, each.nodes) for each in found] == [
        (Check.PATHS, ("here",)),
        (Check.GPUS, ("here",)),
    ]


def test_pythons_that_cannot_serve_are_named_once() -> None:
    required = Required(python="/x/python")
    servers = [
        Process(node, Role.SERVER, node, (), {}, (), Path(), required=required)
        for node in ("n1", "n2", "n3")
    ]
    assert surroundings_request(servers) == {"python": "/x/python"}
    views = {"n1": {"python": "it is old"}, "n2": {"python": ""}, "n3": {"python": "it is old"}}
    (found,) = surroundings(views, servers)
    assert (found.check, found.nodes) == (Check.PYTHON, ("n1", "n3"))
    assert found.detail == "--python /x/python: it is old"
