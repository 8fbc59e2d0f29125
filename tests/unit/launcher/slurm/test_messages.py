import pytest

from launcher.slurm.messages import node_names, parse_message


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
    ("text", "nodes", "loss", "cancellation"),
    [
        ("srun: error: n2: task 1: Killed", ("n2",), "its task ended: Killed", None),
        (
            "srun: error: n[2-3]: tasks 1-2: Exited with exit code 1",
            ("n2", "n3"),
            "its task ended: Exited with exit code 1",
            None,
        ),
        ("srun: error: Node failure on n3", ("n3",), "node failure", None),
        (
            "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 12:00 DUE TO TIME LIMIT ***",
            (),
            None,
            "STEP 7.0 ON n1 CANCELLED AT 12:00 DUE TO TIME LIMIT",
        ),
        ("srun: Job 7 CANCELLED", (), None, "srun: Job 7 CANCELLED"),
        ("srun: error: Unable to create step", (), None, None),
        ("", (), None, None),
    ],
)
def test_parse_message_types_what_slurm_prints(
    text: str, nodes: tuple[str, ...], loss: str | None, cancellation: str | None
) -> None:
    message = parse_message(text)
    assert (message.nodes, message.loss) == (nodes, loss)
    assert message.cancellation == cancellation
    assert message.text == text
