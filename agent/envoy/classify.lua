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

-- `writ-key` is put together by Envoy (classifier.key) from all that is read here before a body, but for who is asked: between
-- the parts, and for a header that is not there, stand bytes that no header can bring. Of a header that came several times it
-- has the first value: claims that did are refused by the filter behind (authorize), all else it has in one.
local BETWEEN, NONE = "@BETWEEN@", "@NONE@"
local MAX_KEPT_KEY = 2048

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

-- Are the claims within the certificate? Then they are written down, completed by what it says.
local function claims(headers, asked)
  local found = asked.claims
  if not found then return nil end
  write(headers, "writ-purpose", asked.purpose, found.purpose)
  write(headers, "writ-data-class", asked.class, found.class)
  if found.area then write(headers, "writ-subject-region", asked.region, found.area) end
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

local function is_grpc(kind)
  return kind == "application/grpc" or kind == "application/grpc+proto"
end

-- The row of a request, its name as far as the path tells, and whether servers could read the path otherwise.
local function endpoint(method, path, kind)
  local row = EXACT[method .. " " .. path]
  if row then return row, row.name, false end
  if ambiguous(path) then return FALLBACK, nil, true end
  local name
  row, name = shaped(method, path)
  if row then return row, name, false end
  if near(path) then return FALLBACK, nil, true end
  local service = method == "POST" and match(path, "^/([A-Za-z0-9_.]+)/[A-Za-z0-9_]+$")
  if service and #service <= 128 and is_grpc(kind) then return GRPC, service, false end
  return FALLBACK, FALLBACK.name, false
end

-- What a query says of a key: its one value, and whether it says nothing. Any key in a second spelling spoils both.
local function queried(query, wanted)
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

-- Do the headers say that a body is JSON as it stands?
local function legible(kind, encoding)
  if encoding ~= nil then return false end
  kind = lower(kind or "")
  if find(kind, "charset", 1, true) and not find(kind, '^[^;,]*;[ \t]*charset="?utf%-8"?[ \t]*$') then return false end
  return true
end

local function json(handle, asked, wanted)
  local text = asked.json and content(handle)
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

function READ.query(_, _, asked)
  local row = asked.row
  return (queried(asked.query, row.field)), row.stream, row
end

function READ.body(handle, _, asked)
  local row = asked.row
  local found = json(handle, asked, row.wanted)
  local _, nothing = queried(asked.query, row.field)
  if not found or not nothing then return nil, false, row end
  return found[row.field], found.stream == true, row
end

function READ.field(handle, _, asked)
  local row = asked.row
  local body = asked.grpc and content(handle)
  return body and message(body, row.field), row.stream, row
end

function READ.first(handle, _, asked)
  local row = asked.row
  local found = asked.grpc and handle:streamInfo():dynamicMetadata():get("@EXTRACTION@")
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

function READ.call(handle, headers, asked)
  local row = asked.row
  local said_method, said_name = headers:get("mcp-method"), headers:get("mcp-name")
  local found = json(handle, asked, MEMBERS[row.protocol])
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

local function request_id(headers)
  local given = headers:get("writ-request-id")
  if given and #given == 36 and not find(given, "[^0-9a-f-]") then return end
  headers:replace("writ-request-id", headers:get("x-request-id"))
end

-- Whose certificate counts, and who is asked: at egress the route says both.
local function identify(handle, who)
  if EGRESS then return match(who, "^(%S+) (.+)$") end
  local tls = handle:streamInfo():downstreamSslConnection()
  return nil, tls and tls:subjectPeerCertificate()
end

-- What can be told of a request without its body, and the key that these headers have.
local function look(handle, headers, who)
  local method, target = headers:get(":method"), headers:get(":path")
  local purpose, class = headers:get("writ-purpose"), headers:get("writ-data-class")
  local region = headers:get("writ-subject-region")
  local kind, encoding = headers:get("content-type"), headers:get("content-encoding")
  local peer, subject = identify(handle, who)
  if not subject then return nil end
  local path, query = target, ""
  local mark = find(target, "?", 1, true)
  if mark then path, query = sub(target, 1, mark - 1), sub(target, mark + 1) end
  local asked = {peer = peer, query = query, purpose = purpose, class = class, region = region}
  asked.row, asked.name, asked.odd = endpoint(method, path, kind)
  asked.claims = within(subject, purpose, class, region)
  asked.json, asked.grpc = legible(kind, encoding), encoding == nil and is_grpc(kind)
  local parts = {method, target, purpose or NONE, class or NONE, region or NONE, kind or NONE, encoding or NONE}
  return asked, table.concat(parts, BETWEEN) .. BETWEEN .. (EGRESS and "" or subject)
end

-- The same, from what was found out before if a request with this key went the same way. A key that is not, byte for byte,
-- what the headers make (one of them came twice, say) is not kept, nor is a long one.
local known, kept = {}, 0

local function ask(handle, headers)
  local who = ""
  if EGRESS then who = handle:metadata():get("who") end
  if not who then return nil end
  local key = headers:get("@KEY@")
  local found = known[who] and known[who][key]
  if found then return found end
  local asked, made = look(handle, headers, who)
  if asked and key == made and #key <= MAX_KEPT_KEY then
    if kept == MAX_KEPT then known, kept = {}, 0 end
    known[who] = known[who] or {}
    known[who][key], kept = asked, kept + 1
  end
  return asked
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if not EGRESS then request_id(headers) end
  local asked = ask(handle, headers)
  if not asked then return end
  local peer, row, name = asked.peer, asked.row, asked.name
  if peer then headers:replace("writ-peer", peer) end
  headers:replace("writ-protocol", row.protocol)
  headers:replace("writ-action", row.action)
  local verdict, body, stream = "ok", row.body, row.stream
  if asked.odd then verdict, body = "unreadable_body", "unread" end
  if not claims(headers, asked) then verdict = "claim_not_allowed" end
  local read = READ[row.source]
  if read and verdict ~= "ok" then
    body, name, stream = "unread", nil, false
  elseif read then
    name, stream, row = read(handle, headers, asked)
    headers = handle:headers() -- waiting for the body ends the life of what was taken before
    if row ~= asked.row then headers:replace("writ-action", row.action) end
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
