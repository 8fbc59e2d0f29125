import pytest

from launcher.slurm.messages import MessageKind, node_names, parse_message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node3", ("node3",)),
        ("node3,node5", ("node3", "node5")),
        ("node[2-4,6]", ("node2", "node3", "node4", "node6")),
        ("node[2-3,5],login1", ("node2", "node3", "node5", "login1")),
        ("n[08-10]-ib", ("n08-ib", "n09-ib", "n10-ib")),
    ],
)
def test_node_names_expands_ranges(text: str, names: tuple[str, ...]) -> None:
    assert node_names(text) == names


@pytest.mark.parametrize(
    ("text", "kind", "nodes", "detail"),
    [
        ("srun: error: n2: task 1: Killed", MessageKind.TASK_EXITED, ("n2",), "Killed"),
        (
            "srun: error: n[2-3]: tasks 1-2: Exited with exit code 1",
            MessageKind.TASK_EXITED,
            ("n2", "n3"),
            "Exited with exit code 1",
        ),
        ("srun: error: Node failure on n3", MessageKind.NODE_FAILED, ("n3",), ""),
        (
            "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 12:00 DUE TO TIME LIMIT ***",
            MessageKind.CANCELLED,
            (),
            "STEP 7.0 ON n1 CANCELLED AT 12:00 DUE TO TIME LIMIT",
        ),
        ("srun: Job 7 CANCELLED", MessageKind.CANCELLED, (), "srun: Job 7 CANCELLED"),
        ("srun: error: Unable to create step", MessageKind.OTHER, (), ""),
        ("", MessageKind.OTHER, (), ""),
    ],
)
def test_parse_message_types_what_slurm_prints(
    text: str, kind: MessageKind, nodes: tuple[str, ...], detail: str
) -> None:
    message = parse_message(text)
    assert (message.kind, message.nodes, message.detail) == (kind, nodes, detail)
    assert message.text == text
