-- Sends a request that names a session to the worker that owns it. The id of a session ends with the address
-- and the port of that worker (benchmark/server/engine/session_id.py): <uuid4>.127.0.0.3-8002

-- The worker as Envoy names it, 127.0.0.3:8002 or [fd00::3]:8002.
local function owner(id)
  local address, port = id:match('^[%x-]+%.([%x._]+)-(%d+)$')
  if not address then return nil end
  if address:find('_', 1, true) then address = '[' .. address:gsub('_', ':') .. ']' end
  return address .. ':' .. port
end

-- The position of the quote that ends the JSON string which begins at `start`.
local function closing_quote(text, start)
  local stop = start
  repeat
    stop = text:find('["\\]', stop + 1)
    local escape = stop and text:byte(stop) == 92
    if escape then stop = stop + 1 end
  until not escape
  return stop
end

-- The string params.session_id of a JSON text. This skips everything else instead of building it, because the
-- arguments of a tool can be megabytes, and a tool can have an argument that is called session_id itself.
local function session_of(text)
  local depth, in_params, at = 0, false, 1
  while true do
    local start = text:find('["{}%[%]]', at)
    if not start then return nil end
    local char, stop = text:sub(start, start), start
    if char == '"' then
      stop = closing_quote(text, start)
      if not stop then return nil end
      if depth == 1 or depth == 2 and in_params then
        local value = text:match('^%s*:%s*()', stop + 1)
        local key = value and text:sub(start + 1, stop - 1)
        if depth == 2 and key == 'session_id' then return text:match('^"([^"]*)"', value) end
        if depth == 1 and key then in_params = key == 'params' end
      end
    elseif char == '{' or char == '[' then
      depth = depth + 1
    else
      depth = depth - 1
    end
    at = stop + 1
  end
end

function envoy_on_request(request)
  local headers, id = request:headers(), nil
  if headers:get(':method') == 'POST' then
    local body = request:body()
    id = body and session_of(body:getBytes(0, body:length()))
  else
    id = headers:get(':path'):match('[?&]session_id=([^&#]*)')
  end
  local worker = id and owner(id)
  -- Not strict: Envoy connects to workers of the deployment only, and when this one is not among them or is
  -- not healthy, another worker answers that it does not know the session. Text that is no address is an error,
  -- which would be logged.
  if worker then pcall(request.setUpstreamOverrideHost, request, worker, false) end
end
