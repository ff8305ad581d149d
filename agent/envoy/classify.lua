-- What a request is, and whether its claims are within the caller's certificate.
--
-- Writes sidecar-only headers, which are all that the filters behind it decide on. `writ-verdict` is set last and only
-- here: whatever goes wrong before leaves it absent, and an absent verdict is denied. Envoy has stripped every
-- `writ-*` header that an application or a peer may not send before this runs.

local EGRESS = @EGRESS@
local EXACT = @EXACT@      -- ["METHOD path"] = row
local SHAPES = @SHAPES@    -- ["depth/first segment"] = {{pattern, {METHOD = row}}, …}: paths with free parts
local FOLDED = @FOLDED@    -- the same in lower case, with anything where a part is free: {pattern, …}
local PATHS = @PATHS@      -- [path without free parts, in lower case] = true
local CALLS = @CALLS@      -- [protocol] = {[JSON-RPC method] = row}
local CALLED = @CALLED@    -- [protocol] = {[JSON-RPC method in lower case] = true}
local MEMBERS = @MEMBERS@  -- [protocol] = what is wanted of the body of a call
local FALLBACK = @FALLBACK@
local GRPC = @GRPC@

-- Claims. -------------------------------------------------------------------------------------------------------------

-- Each call into Envoy costs more than all the Lua of a claim: what is already right is not written again.
local function write(headers, name, given, value)
  if given ~= value then headers:replace(name, value) end
end

-- A claim that occurs twice comes joined with a comma, and is refused like any other character that has no place in it.
local function plain(claim)
  return claim == nil or #claim >= 1 and #claim <= 48 and not find(claim, "[^a-z0-9-]")
end

-- The only value of an attribute in a subject; nil when there is none, false when there are several.
local function only(subject, unit)
  local first, at = find(subject, "OU=" .. unit .. ":", 1, true)
  if not first then return nil end
  if find(subject, "OU=" .. unit .. ":", at, true) then return false end
  return sub(subject, at + 1, find(subject, ",", at, true) - 1)
end

-- Claims as the certificate completes them, or nil if they are not within it.
local function within(subject, given, claimed, region)
  if not (plain(given) and plain(claimed) and plain(region)) then return nil end
  local purpose = given or only(subject, "purpose")
  if not purpose or not find(subject, "OU=purpose:" .. purpose .. ",", 1, true) then return nil end
  local floor, ceiling = only(subject, "class-floor"), only(subject, "class-ceiling")
  if not floor or not ceiling then return nil end
  local class = claimed or ceiling
  if #class ~= 1 or class < "0" or class > "4" then return nil end
  if class < floor then class = floor end
  if class > ceiling then return nil end
  local area = region or only(subject, "region")
  if area == false then return nil end
  if region and not find(subject, "OU=region:" .. region .. ",", 1, true) then return nil end
  return {purpose = purpose, class = class, area = area}
end

-- What was accepted before, by subject and claims, on which alone it depends. What is refused is not kept: it could be long.
local accepted, kept = {}, 0

local function below(from, key)
  local found = from[key]
  if not found then
    found = {}
    from[key] = found
  end
  return found
end

local function remember(subject, given, claimed, region, found)
  if kept == MAX_KEPT then accepted, kept = {}, 0 end
  kept = kept + 1
  below(below(below(accepted, subject), given or false), claimed or false)[region or false] = found
end

local function remembered(subject, given, claimed, region)
  local found = accepted[subject]
  found = found and found[given or false]
  found = found and found[claimed or false]
  return found and found[region or false]
end

-- Are the claims within the certificate? Then they are written down, completed by what it says.
local function claims(headers, subject)
  local given, claimed = headers:get("writ-purpose"), headers:get("writ-data-class")
  local region = headers:get("writ-subject-region")
  local found = remembered(subject, given, claimed, region)
  if not found then
    found = within(subject, given, claimed, region)
    if not found then return nil end
    remember(subject, given, claimed, region, found)
  end
  write(headers, "writ-purpose", given, found.purpose)
  write(headers, "writ-data-class", claimed, found.class)
  if found.area then write(headers, "writ-subject-region", region, found.area) end
  return true
end

-- One request. --------------------------------------------------------------------------------------------------------

-- Paths that servers read differently: rule (1) of policies.requests.
local function needless(escape)
  if not find(escape, "^%x%x$") then return true end
  local code = tonumber(escape, 16)
  return code < 32 or code == 127 or find(string.char(code), "[A-Za-z0-9._~/\\;%%-]") ~= nil
end

local function overlong(escape, behind)
  return find(escape, "^c[01]$") or find(escape, "^f[5-9a-f]$") or (escape == "e0" and find(behind, "^%%[89]"))
    or (escape == "f0" and behind == "%8")
end

-- The rules of policies.paths, by number, for a path that is not byte for byte one of the table. --------------------

-- (1)
local function ambiguous(path)
  if not find(path, "^/[!-~]*$") or find(path, "[\\;#]") or find(path, "//", 1, true) or find(path .. "/", "/%.%.?/") then
    return true
  end
  for escape, behind in string.gmatch(path .. "  ", "%%(.?.?)()") do
    if needless(escape) or overlong(lower(escape), sub(path, behind, behind + 1)) then return true end
  end
  return false
end

local function shapes(from, path)
  local _, depth = gsub(path, "/", "/")
  return from[depth .. match(path, "^/[^/]*")] or {}
end

-- (2)
local function shaped(method, path)
  for _, shape in ipairs(shapes(SHAPES, path)) do
    local row = shape[2][method]
    local first, _, name = find(path, shape[1])
    if row and first and (not name or #name <= 128) then return row, name or row.name end
  end
end

-- (3)
local function near(path)
  local folded = gsub(lower(path), "/$", "")
  if folded == "" or PATHS[folded] then return folded ~= "" end
  for _, pattern in ipairs(shapes(FOLDED, folded)) do
    if find(folded, pattern) then return true end
  end
  return false
end

local function is_grpc(headers)
  local kind = headers:get("content-type")
  return kind == "application/grpc" or kind == "application/grpc+proto"
end

-- The row of a request, its name as far as the path tells, and whether servers could read the path otherwise.
local function endpoint(headers, method, path)
  local row = EXACT[method .. " " .. path]
  if row then return row, row.name, false end
  if ambiguous(path) then return FALLBACK, nil, true end
  local name
  row, name = shaped(method, path)
  if row then return row, name, false end
  if near(path) then return FALLBACK, nil, true end
  local service = method == "POST" and match(path, "^/([A-Za-z0-9_.]+)/[A-Za-z0-9_]+$")
  if service and #service <= 128 and is_grpc(headers) then return GRPC, service, false end
  return FALLBACK, FALLBACK.name, false
end

-- What a query says of a key: its one value, and whether it says nothing. Any key in a second spelling spoils both.
local function asked(query, wanted)
  if query == "" then return nil, true end
  local value, nothing
  for part in string.gmatch(query, "[^&;]+") do
    local key = match(part, "^[^=]*")
    if find(key, "[%%+%[%]]") then return nil, false end
    if lower(key) == wanted then
      if key ~= wanted or value then return nil, false end
      value = sub(part, #key + 2)
    end
  end
  return value, value == nil
end

local function content(handle)
  local body = handle:body()
  local length = body and body:length() or 0
  return length > 0 and body:getBytes(0, length) or nil
end

local function json(handle, headers, wanted)
  if headers:get("content-encoding") ~= nil then return nil end
  local kind = lower(headers:get("content-type") or "")
  if find(kind, "charset", 1, true) and not find(kind, '^[^;,]*;[ \t]*charset="?utf%-8"?[ \t]*$') then return nil end
  local text = content(handle)
  local found = text and scan(text, wanted)
  return found
end

-- JSON-RPC takes back the id of a call that was denied: only what needs no escaping in an answer.
local function echo(handle, id)
  if id and #id <= 66 and (id == "0" or find(id, "^-?[1-9]%d*$") or find(id, '^"[A-Za-z0-9._:-]*"$')) then
    handle:headers():replace("writ-rpc-id", id)
  end
end

local function named(name)
  return type(name) == "string" and name ~= "" and #name <= 128 and not find(name, "[^A-Za-z0-9._:/-]")
end

-- By source: the name, whether a stream is asked for, and the row that holds.
local READ = {}

function READ.query(_, _, row, query)
  return (asked(query, row.field)), row.stream, row
end

function READ.body(handle, headers, row, query)
  local found = json(handle, headers, row.wanted)
  local _, nothing = asked(query, row.field)
  if not found or not nothing then return nil, false, row end
  return found[row.field], found.stream == true, row
end

function READ.field(handle, headers, row)
  if headers:get("content-encoding") ~= nil or not is_grpc(headers) then return nil, false, row end
  local body = content(handle)
  return body and message(body, row.field), row.stream, row
end

function READ.first(handle, headers, row)
  if headers:get("content-encoding") ~= nil or not is_grpc(headers) then return nil, false, row end
  local found = handle:streamInfo():dynamicMetadata():get("@EXTRACTION@")
  return found and found["@FIELD@"] and found["@FIELD@"][1], row.stream, row
end

-- Of the tool that is called, what rules ask for is written down; false if it could be read in two ways.
local function arguments(handle, tool)
  local known = handle:metadata():get("arguments")
  local wanted = known and known[tool]
  if not wanted then return true end
  local text = told(content(handle), wanted)
  if text then handle:headers():replace("writ-arguments", text) end
  return text ~= nil
end

function READ.call(handle, headers, row)
  local said_method, said_name = headers:get("mcp-method"), headers:get("mcp-name")
  local found = json(handle, headers, MEMBERS[row.protocol])
  if not found then return nil, false, row end
  echo(handle, found.id)
  local method = found.method or ""
  if type(method) ~= "string" then return nil, false, row end
  local call = CALLS[row.protocol][method] or row
  if call == row and CALLED[row.protocol][lower(method)] then return nil, false, row end
  local said = call.field and (found.params or {})[call.field]
  if (said_method and said_method ~= method) or (said_name and said_name ~= said) then return nil, false, call end
  if call.action == "tool" and named(said) and not arguments(handle, said) then return nil, false, call end
  if call.field then return said, call.stream, call end
  return call.name, call.stream, call
end

-- A message that says it is compressed, and is not: servers end the stream.
local BROKEN = "\1\0\0\0\1?"

-- Let pass only whole messages that name what was decided on. Nothing can be answered here any more, so a stream that
-- breaks this is broken for its server too, and stays so.
local function watch(handle, field, name)
  local parts, have, need, broken = {}, 0, 5, false
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 and not broken then
      parts[#parts + 1], have = chunk:getBytes(0, length), have + length
      local passed = ""
      if have >= need then
        passed, parts[1], need, broken = whole_messages(table.concat(parts), field, name)
        parts, have = {parts[1]}, #parts[1]
      end
      broken = broken or need > MAX_MESSAGE
      chunk:setBytes(broken and passed .. BROKEN or passed)
    elseif length > 0 then
      chunk:setBytes("")
    end
  end
end

local function identify(handle)
  if EGRESS then
    local known = handle:metadata()
    return known:get("subject"), known:get("peer")
  end
  local tls = handle:streamInfo():downstreamSslConnection()
  return tls and tls:subjectPeerCertificate(), nil
end

local function request_id(headers)
  local given = not EGRESS and headers:get("writ-request-id") or nil
  if given and #given == 36 and not find(given, "[^0-9a-f-]") then return end
  headers:replace("writ-request-id", headers:get("x-request-id"))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  request_id(headers)
  local subject, peer = identify(handle)
  if not subject then return end
  if peer then headers:replace("writ-peer", peer) end
  local method, target = headers:get(":method"), headers:get(":path")
  local path, query = target, ""
  local mark = find(target, "?", 1, true)
  if mark then path, query = sub(target, 1, mark - 1), sub(target, mark + 1) end
  local row, name, odd = endpoint(headers, method, path)
  headers:replace("writ-path", path)
  headers:replace("writ-protocol", row.protocol)
  headers:replace("writ-action", row.action)
  local verdict, body, stream = "ok", row.body, row.stream
  if odd then verdict, body = "unreadable_body", "unread" end
  if not claims(headers, subject) then verdict = "claim_not_allowed" end
  local read = READ[row.source]
  if read and verdict ~= "ok" then
    body, name, stream = "unread", nil, false
  elseif read then
    local asked_for = row
    name, stream, row = read(handle, headers, row, query)
    headers = handle:headers() -- waiting for the body ends the life of what was taken before
    if row ~= asked_for then headers:replace("writ-action", row.action) end
  end
  if name and not named(name) or read and not name then
    if verdict == "ok" then verdict = "unreadable_body" end
    body, name, stream = "unread", nil, false
  end
  headers:replace("writ-body", body)
  headers:replace("writ-stream", stream and "true" or "false")
  if name then headers:replace("writ-resource", row.kind .. "/" .. name) end
  if not EGRESS then handle:clearRouteCache() end
  headers:replace("writ-verdict", verdict)
  if row.source == "first" and verdict == "ok" then watch(handle, row.field, name) end
end
