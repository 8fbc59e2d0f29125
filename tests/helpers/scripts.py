"""Scripts for sessions with the environments of `tests/helpers/apps`, good and bad."""

import json
from typing import Any

from websocket import ABNF

from tests.helpers.wire import frame, Raw, Script, together

RESET = '{"type":"reset"}'
STATE = '{"type":"state"}'
CLOSE = '{"type":"close"}'
DEEP = "[" * 5_000


def reset(**arguments: Any) -> str:
    return json.dumps({"type": "reset", "data": arguments})


def step(**action: Any) -> str:
    return json.dumps({"type": "step", "data": action})


STEP = step()

# For every environment.
COMMON: dict[str, Script] = {
    "nothing": [],
    "reset": [RESET],
    "reset twice": [RESET, RESET, STATE],
    "reset with arguments": [reset(seed=7, episode_id="e-1"), STATE],
    "reset with null arguments": [reset(seed=None, episode_id=None), STATE],
    "reset with unknown arguments": [reset(level=3, colour="red"), STATE],
    "reset with an argument named self": [reset(self=1), RESET],
    "reset with an argument named action": [reset(action={"amount": 1}), RESET],
    "reset with empty data": [reset(), STATE],
    "reset with null data": ['{"type":"reset","data":null}', RESET],
    "reset with a list": ['{"type":"reset","data":[1]}', RESET],
    "reset with a string": ['{"type":"reset","data":"x"}', RESET],
    "reset with an extra key": ['{"type":"reset","more":1}', RESET],
    "reset with an extra key named data2": ['{"type":"reset","data":{},"data2":{}}', RESET],
    "state": [STATE],
    "state with data": ['{"type":"state","data":{}}', STATE],
    "state with null data": ['{"type":"state","data":null}', STATE],
    "state with an extra key": ['{"type":"state","x":1}', STATE],
    "step without data": [RESET, '{"type":"step"}', STATE],
    "step with null data": [RESET, '{"type":"step","data":null}', STATE],
    "step with a list": [RESET, '{"type":"step","data":[]}', STATE],
    "step with a string": [RESET, '{"type":"step","data":"x"}', STATE],
    "step with an extra key": [RESET, '{"type":"step","data":{},"id":1}', STATE],
    "step nested as over HTTP": [RESET, '{"type":"step","data":{"action":{}}}', STATE],
    "step with an unknown field": [RESET, step(nothing=1), STATE],
    "close": [RESET, CLOSE],
    "close at once": [CLOSE],
    "close with an extra key": ['{"type":"close","x":1}', RESET],
    "close with data": ['{"type":"close","data":{}}', RESET],
    "close, then more": [RESET, together(CLOSE, RESET, STATE, replies=1)],
    "a close frame": [RESET, Raw(frame(b"\x03\xe8bye", opcode=ABNF.OPCODE_CLOSE))],
    "a close frame without a code": [RESET, Raw(frame(b"", opcode=ABNF.OPCODE_CLOSE))],
    "a close frame with a code of an application": [
        Raw(frame(b"\x0f\xa0mine", opcode=ABNF.OPCODE_CLOSE))
    ],
    "not JSON": ["hello", RESET],
    "empty frame": ["", RESET],
    "half a frame": ['{"type":"re', RESET],
    "JSON with a comment": ['{"type":"reset"} // now', RESET],
    "JSON with a trailing comma": ['{"type":"reset",}', RESET],
    "JSON in single quotes": ["{'type':'reset'}", RESET],
    "two objects in one frame": ['{"type":"reset"}{"type":"reset"}', RESET],
    "a byte order mark": ['\ufeff{"type":"reset"}', RESET],
    "a control character in a string": ['{"type":"re\u0001set"}', RESET],
    "too deep": [DEEP, RESET],
    "a bad escape": ['{"type":"\\x"}', RESET],
    "several lines": ['{\n "type":\n "reset",,\n}', RESET],
    "NaN alone": ["NaN", RESET],
    "array": ["[]", RESET],
    "number": ["1", RESET],
    "string": ['"reset"', RESET],
    "null": ["null", RESET],
    "true": ["true", RESET],
    "binary frame": [b'{"type":"reset"}', RESET],
    "empty binary frame": [b"", RESET],
    "binary frame that is no text": [b"\xff\xfe", RESET],
    "text frame that is no text": [Raw(frame(b"\xff\xfe", opcode=ABNF.OPCODE_TEXT)), RESET],
    "unmasked frame": [Raw(b'\x81\x10{"type":"reset"}'), RESET],
    "unknown opcode": [Raw(frame(b"x", opcode=ABNF.OPCODE_TEXT).replace(b"\x81", b"\x83", 1))],
    "fragments": [
        Raw(
            frame(b'{"type":', fin=0, opcode=ABNF.OPCODE_TEXT)
            + frame(b"", opcode=ABNF.OPCODE_PING)
            + frame(b'"reset"}', opcode=ABNF.OPCODE_CONT),
            replies=2,
        ),
        STATE,
    ],
    "no type": ["{}", RESET],
    "unknown type": ['{"type":"fly"}', RESET],
    "unknown type with quotes": ['{"type":"\\"fly\\\\\\u0007é"}', RESET],
    "type of another case": ['{"type":"RESET"}', RESET],
    "type of a reply": ['{"type":"observation","data":{}}', RESET],
    "empty type": ['{"type":""}', RESET],
    "null type": ['{"type":null}', RESET],
    "number as type": ['{"type":1}', RESET],
    "boolean as type": ['{"type":true}', RESET],
    "object as type": ['{"type":{"a":[1,null]}}', RESET],
    "list as type": ['{"type":["reset"]}', RESET],
    "duplicate keys": ['{"type":"fly","type":"reset"}', STATE],
    "keys in another order": ['{"data":{"seed":2},"type":"reset"}', STATE],
    "whitespace around": ['  {"type" : "reset"}\r\n\t', STATE],
    "escapes in a key": ['{"\\u0074ype":"reset"}', STATE],
    "text beyond ASCII": [reset(episode_id="é😀\u2028"), STATE],
    "a null character": [reset(episode_id="a\0b"), STATE],
    "lone surrogate as type": ['{"type":"fly\\ud800"}', RESET],
    "lone surrogate in an argument": ['{"type":"reset","data":{"episode_id":"\\ud800"}}', STATE],
    "lone surrogate in a key": ['{"type":"reset","\\udfff":1}', RESET],
    "huge integer as type": ['{"type":' + "9" * 400 + "}", RESET],
    "integer beyond the limit of digits": ['{"type":' + "9" * 5_000 + "}", RESET],
    "huge integer in an extra key": ['{"type":"state","x":' + "9" * 400 + "}", RESET],
    "NaN in an argument": ['{"type":"reset","data":{"level":NaN}}', RESET],
    "NaN in an extra key": ['{"type":"state","x":NaN}', STATE],
    "huge frame": [reset(level="a" * 1_000_000), STATE],
    "two at once": [together(RESET, STATE)],
    "many at once": [together(*[RESET, STATE] * 20)],
    "bad ones among good ones at once": [together("x", RESET, "{}", STATE, '{"type":1}', STATE)],
    "a client that goes at once after a request": [together(RESET, replies=0)],
    "mcp without data": ['{"type":"mcp"}', RESET],
    "mcp with null data": ['{"type":"mcp","data":null}', RESET],
    "mcp with a list": ['{"type":"mcp","data":[]}', RESET],
    "mcp with an extra key": ['{"type":"mcp","data":{},"x":1}', RESET],
    "mcp with an empty request": ['{"type":"mcp","data":{}}', RESET],
    "mcp with a wrong version": [
        '{"type":"mcp","data":{"jsonrpc":"1.0","method":"tools/list","id":1}}',
        RESET,
    ],
}


def mcp(method: str, id: Any = 1, **params: Any) -> str:  # noqa: A002
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": id}
    return json.dumps({"type": "mcp", "data": request})


MCP: dict[str, Script] = {
    "tools/list": [mcp("tools/list"), STATE],
    "tools/list with a text as id": [mcp("tools/list", id="a")],
    "tools/list with no id": ['{"type":"mcp","data":{"jsonrpc":"2.0","method":"tools/list"}}'],
    "tools/list with null params": [
        '{"type":"mcp","data":{"jsonrpc":"2.0","method":"tools/list","params":null,"id":1}}',
    ],
    "tools/list with a list as params": [
        '{"type":"mcp","data":{"jsonrpc":"2.0","method":"tools/list","params":[],"id":1}}',
        STATE,
    ],
    "tools/list with an extra key": [
        '{"type":"mcp","data":{"jsonrpc":"2.0","method":"tools/list","id":1,"more":2}}',
    ],
    "tools/call": [mcp("tools/call", name="add", arguments={"amount": 3}), STATE],
    "tools/call twice": [
        mcp("tools/call", name="add", arguments={"amount": 3}),
        mcp("tools/call", id=2, name="add", arguments={"amount": 4}),
        STATE,
    ],
    "tools/call of another session": [
        mcp("tools/call", name="add", arguments={"amount": 3}, session_id="another"),
        STATE,
    ],
    "tools/call of an unknown tool": [mcp("tools/call", name="nothing", arguments={}), STATE],
    "tools/call without a name": [mcp("tools/call", arguments={}), STATE],
    "tools/call without arguments": [mcp("tools/call", name="add"), STATE],
    "tools/call with wrong arguments": [
        mcp("tools/call", name="add", arguments={"amount": "many"}),
        STATE,
    ],
    "tools/call with more arguments": [
        mcp("tools/call", name="add", arguments={"amount": 1, "more": 2}),
        STATE,
    ],
    "tools/call with a list as arguments": [mcp("tools/call", name="add", arguments=[1]), STATE],
    "tools/call with null arguments": [mcp("tools/call", name="add", arguments=None), STATE],
    "tools/call that fails": [
        mcp("tools/call", name="fail", arguments={"reason": "bad luck"}),
        STATE,
    ],
    "unknown method": [mcp("tools/fly"), STATE],
    "empty method": [mcp(""), STATE],
    "initialize": [mcp("initialize", protocolVersion="2025-06-18"), STATE],
    "number as method": ['{"type":"mcp","data":{"jsonrpc":"2.0","method":1,"id":1}}', STATE],
    "object as id": ['{"type":"mcp","data":{"jsonrpc":"2.0","method":"x","id":{}}}', STATE],
    "session/create": [mcp("openenv/session/create"), STATE],
    "session/close": [mcp("openenv/session/close"), STATE],
    "session/close of an unknown session": [
        mcp("openenv/session/close", session_id="00000000-0000-0000-0000-000000000000"),
        STATE,
    ],
    "session/close with a number": [mcp("openenv/session/close", session_id=5), STATE],
    "session/close with a list": [mcp("openenv/session/close", session_id=[1]), STATE],
    "pipelined": [together(mcp("tools/list"), STATE, mcp("tools/list", id=2), RESET)],
}

# For the environments that count.
COUNTING: dict[str, Script] = {
    "step": [RESET, STEP, STATE],
    "step before reset": [STEP, STATE],
    "step thrice": [reset(seed=5), STEP, step(amount=-4), step(amount=2), STATE],
    "step, reset, step": [RESET, STEP, STEP, RESET, STEP, STATE],
    "step that waits": [RESET, step(wait_seconds=0.05), STATE],
    "step with metadata": [step(metadata={"a": [1, None, {"b": 1.5}]})],
    "step with empty metadata": [step(metadata={})],
    "step with wrong metadata": [step(metadata=3), STEP],
    "step with a text beyond ASCII": [step(note="é😀\u2028\x7f</script>")],
    "step with a long text": [step(note="x" * 1_000), step(note="x" * 1_001), STATE],
    "step with a lone surrogate": ['{"type":"step","data":{"note":"\\ud800"}}', STATE],
    "step with a numeric string": [step(amount="4"), STATE],
    "step with a float": [step(amount=4.0), step(amount=4.5), STATE],
    "step with a boolean": [step(amount=True), STATE],
    "step with null": [step(amount=None), STEP],
    "step with a text": [step(amount="many"), STEP],
    "step beyond the limit": [step(amount=101), step(amount=-101), STATE],
    "step with a huge integer": ['{"type":"step","data":{"amount":%s}}' % ("9" * 400), STATE],
    "step with more digits than Python reads": [
        '{"type":"step","data":{"amount":%s}}' % ("9" * 5_000),
        STATE,
    ],
    "step with NaN": ['{"type":"step","data":{"wait_seconds":NaN}}', STEP],
    "step with Infinity": ['{"type":"step","data":{"wait_seconds":Infinity}}', STEP],
    "step with several mistakes": [step(amount="x", note=5, wait_seconds=-1, other=2), STEP],
    "step with an error that JSON cannot hold": [step(note="rude"), STEP],
    "step with the action's type": [step(type="call_tool", tool_name="x", arguments={}), STATE],
    "step that raises": [RESET, step(fail="no such move"), STEP, STATE],
    "step that raises with an empty message": [RESET, step(fail=""), STEP],
    "step that raises with quotes": [step(fail='"quoted" \\ and\nlines é'), STEP],
    "reset that raises": [reset(fail="17"), STATE, RESET, STEP],
    "episode that is done": [RESET, step(last=True), STEP, STATE, RESET, STATE],
    "reset with a seed of another type": [reset(seed="x"), STATE],
    "reset with a note": [reset(note="hello")],
    "reset with a note that is none": [reset(note=[1, 2])],
    "pipelined steps": [together(RESET, *[step(amount=number) for number in range(50)], STATE)],
    "pipelined steps that wait": [
        together(RESET, step(wait_seconds=0.05), step(fail="x"), step(wait_seconds=0.01), STATE)
    ],
    "pipelined, then closed": [together(RESET, STEP, STEP, CLOSE, STEP, replies=4)],
    "state between": [RESET, STATE, STEP, STATE, STEP, STATE],
    "mcp of an environment without tools": [
        mcp("tools/list"),
        mcp("tools/call", name="add", arguments={}),
        STATE,
    ],
}

# For the environment whose actions are tools.
TOOLS: dict[str, Script] = {
    "step that lists": [RESET, step(type="list_tools"), STATE],
    "step that calls": [
        reset(seed=2),
        step(type="call_tool", tool_name="add", arguments={"amount": 5}),
        STATE,
    ],
    "step before reset": [step(type="call_tool", tool_name="add", arguments={"amount": 5}), STATE],
    "step without type": [step(tool_name="add", arguments={"amount": 5}), STATE],
    "step of another type": [step(type="fly"), STATE],
    "step of a list with more": [step(type="list_tools", more=1), STATE],
    "step that calls without a name": [step(type="call_tool"), STATE],
    "step that calls without arguments": [step(type="call_tool", tool_name="add"), STATE],
    "step that calls an unknown tool": [step(type="call_tool", tool_name="nothing", arguments={})],
    "step with wrong arguments": [
        step(type="call_tool", tool_name="add", arguments={"amount": "many"}),
        STATE,
    ],
    "step with a list as arguments": [step(type="call_tool", tool_name="add", arguments=[1])],
    "step that fails": [
        step(type="call_tool", tool_name="fail", arguments={"reason": "bad luck"}),
        STATE,
    ],
    "step and mcp share the environment": [
        step(type="call_tool", tool_name="add", arguments={"amount": 5}),
        mcp("tools/call", name="add", arguments={"amount": 3}),
        STATE,
        reset(seed=1),
        mcp("tools/call", name="add", arguments={"amount": 3}),
    ],
    "the state of the MCP session is kept": [
        mcp("tools/call", name="visits", arguments={}),
        step(type="call_tool", tool_name="visits", arguments={}),
        mcp("tools/call", name="visits", arguments={}),
    ],
    "pipelined calls": [
        together(
            *[mcp("tools/call", id=n, name="add", arguments={"amount": n}) for n in range(20)]
        ),
        STATE,
    ],
}

# For the socket of JSON-RPC, `/mcp`.
RPC: dict[str, Script] = {
    "list": ['{"jsonrpc":"2.0","method":"tools/list","id":1}'],
    "call": [
        json.dumps(
            {
                "jsonrpc": "2.0",
                "method": "tools/call",
                "params": {"name": "add", "arguments": {"amount": amount}},
                "id": amount,
            }
        )
        for amount in (1, 2)
    ],
    "not JSON": ["{", '{"jsonrpc":"2.0","method":"tools/list","id":1}'],
    "an array": ["[]"],
    "an empty object": ["{}", '{"jsonrpc":"2.0","method":"tools/list","id":1}'],
    "unknown method": ['{"jsonrpc":"2.0","method":"fly","id":1}'],
    "binary frame": [b"{}"],
}

# For the environments whose steps concern their task.
TASKS: dict[str, Script] = {
    "the task of a step": [RESET, step(what="task"), STATE],
    "the context of steps": [
        reset(episode_id="first"),
        step(what="context"),
        step(what="context", seconds=0.01),
        step(what="context"),
        RESET,
        step(what="context"),
    ],
    "the context of steps before a reset": [step(what="context"), step(what="context")],
    "turns of the event loop": [RESET, step(what="turns"), step(what="turns")],
    "timeouts": [
        RESET,
        *[step(what="timeout", seconds=seconds) for seconds in (-1, 0, 0.001, 0.02)],
        step(what="task"),
    ],
    "a timeout that does not expire": [
        RESET,
        *[step(what="in_time", seconds=seconds) for seconds in (0, 0.001, 0.02)],
    ],
    "groups of tasks": [RESET, step(what="group"), step(what="group", seconds=0.01)],
    "groups of tasks that fail": [
        RESET,
        step(what="failing_group"),
        step(what="failing_group", seconds=0.01),
        step(what="task"),
    ],
    "futures": [RESET, step(what="finished_future"), step(what="soon"), step(what="task")],
    "no JSON": [RESET, step(what="nothing_to_serialize"), step(what="task")],
    "no JSON after a wait": [
        RESET,
        step(what="nothing_to_serialize", seconds=0.01),
        step(what="task"),
    ],
    "no such step": [RESET, step(what="fly"), step(what="raise"), step(what="task")],
    "pipelined": [
        together(
            RESET,
            step(what="task"),
            step(what="turns"),
            step(what="timeout", seconds=0.001),
            step(what="context"),
            step(what="context", seconds=0.001),
            STATE,
            step(what="task"),
        )
    ],
}
